"""What the tests of torch layers share, and what every noun's layer.py says of its own."""

import importlib
import itertools
from pathlib import Path
from types import SimpleNamespace

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


def check_steps_and_splits(layer, u, axis, cut):
    """One sample at a time, or in two pieces with the state handed on: the same output."""
    whole = output_of(layer, u)
    state, ys = layer.default_state(len(u)), []
    for sample in u.unbind(axis):
        y, state = layer.step(sample, state)
        ys.append(y)
    same(torch.stack(ys, axis), whole)
    first, middle = layer(u.narrow(axis, 0, cut), layer.default_state(len(u)))
    second, last = layer(u.narrow(axis, cut, u.shape[axis] - cut), middle)
    same(torch.cat([first, second], axis), whole)
    same(last, state)


def inference(**known):
    """mamba-ssm's inference_params."""
    return SimpleNamespace(key_value_memory_dict={}, **{"seqlen_offset": 0, "max_seqlen": 20, "max_batch_size": 3, **known})


def output_of(layer, u):
    y = layer(u)
    return y[0] if isinstance(y, tuple) else y
