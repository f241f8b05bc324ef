"""What the tests of torch layers share, and what every noun's layer.py says of its own."""

import importlib
from pathlib import Path

import torch

NOUNS = [importlib.import_module(f"ssm.{path.parent.name}.layer") for path in sorted(Path(__file__).parent.glob("*/layer.py"))]


def shapes(layer):
    return {name: tuple(value.shape) for name, value in layer.state_dict().items()}


def same(x, y, tolerance=1e-10):
    torch.testing.assert_close(x, y, atol=tolerance, rtol=tolerance)


def output_of(layer, u):
    y = layer(u)
    return y[0] if isinstance(y, tuple) else y
