"""What the tests of torch layers share, and what every noun's layer.py says of its own."""

import importlib
import itertools
from pathlib import Path

import torch

NOUNS = [importlib.import_module(f"ssm.{path.parent.name}.layer") for path in sorted(Path(__file__).parent.glob("*/layer.py"))]


def shapes(layer):
    return {name: tuple(value.shape) for name, value in layer.state_dict().items()}


def same(x, y, tolerance=1e-10):
    torch.testing.assert_close(x, y, atol=tolerance, rtol=tolerance)


def check_pieces_and_steps(layer, u, cuts):
    """Pieces of u up to the last of ``cuts``, then single steps, over one cache, give what the whole does; steps write to their cache."""
    whole = layer(u)
    cache = layer.allocate_inference_cache(*u.shape[:2])
    with torch.no_grad():
        pieces = [layer(u[:, a:b], cache=cache) for a, b in itertools.pairwise(cuts)]
        for t in range(cuts[-1], u.shape[1]):
            y, *after = layer.step(u[:, t : t + 1], *cache)
            assert all(a is b for a, b in zip(after, cache))
            pieces.append(y)
    same(torch.cat(pieces, 1), whole, 1e-11)


def check_block(block, hidden):
    """A block's values and gradients are those of its ``reference``."""
    y, expected = block(hidden), block.reference(hidden)
    torch.testing.assert_close(y, expected, rtol=1e-11, atol=1e-12)
    weight, wanted = torch.randn_like(y), [hidden, *block.parameters()]
    for g, e in zip(torch.autograd.grad((y * weight).sum(), wanted), torch.autograd.grad((expected * weight).sum(), wanted), strict=True):
        torch.testing.assert_close(g, e, rtol=1e-10, atol=1e-11)


def output_of(layer, u):
    y = layer(u)
    return y[0] if isinstance(y, tuple) else y
