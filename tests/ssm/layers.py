"""Helpers for the tests of PyTorch layers."""

import itertools
from types import SimpleNamespace

import torch

from quatrefoil.torch import nn

# name: (function that creates a layer, shape of its input)
LAYERS = {
    "GatedKalmaNet": (lambda: nn.GatedKalmaNet(6, 4, 2, solver_type="exact"), (2, 6, 6)),
    "DeltaNet": (lambda: nn.DeltaNet(hidden_size=6, num_heads=2), (2, 7, 6)),
    "GatedDeltaNet": (lambda: nn.GatedDeltaNet(6, head_dim=3, num_heads=1, num_v_heads=2), (2, 7, 6)),
    "KimiDeltaAttention": (lambda: nn.KimiDeltaAttention(6, head_dim=3, num_heads=2), (2, 7, 6)),
    "S4D": (lambda: nn.S4D(3, 4), (2, 3, 12)),
    "S4D-real": (lambda: nn.S4D(3, 4, is_real=True), (2, 3, 12)),
    "S4D-bidirectional": (lambda: nn.S4D(3, 4, bidirectional=True), (2, 3, 12)),
    "S5": (lambda: nn.S5(3, 8), (2, 12, 3)),
    "S5-bidirectional": (lambda: nn.S5(3, 8, bidirectional=True), (2, 12, 3)),
    "Mamba": (lambda: nn.Mamba(6, d_state=3, dt_rank=2), (2, 7, 6)),
    "Mamba-bias": (lambda: nn.Mamba(5, d_state=2, d_conv=1, bias=True, conv_bias=False, dt_init="constant"), (2, 7, 5)),
    "Mamba2": (lambda: nn.Mamba2(6, d_state=3, headdim=4, ngroups=3), (2, 7, 6)),
    "Mamba2-parts": (lambda: nn.Mamba2(6, d_state=3, headdim=2, d_ssm=8, ngroups=2, D_has_hdim=True, norm_before_gate=True), (2, 7, 6)),
    "Mamba2-bare": (lambda: nn.Mamba2(4, d_state=2, headdim=4, rmsnorm=False, bias=True, dt_limit=(0.01, 0.05)), (2, 7, 4)),
}


def shapes(layer):
    return {name: tuple(value.shape) for name, value in layer.state_dict().items()}


def same(x, y, tolerance=1e-10):
    torch.testing.assert_close(x, y, atol=tolerance, rtol=tolerance)


def check_chunks_and_steps(layer, u, cuts):
    """With one cache, chunks of u up to the last of ``cuts``, then single steps, give the same as one call. Steps update the cache."""
    whole = layer(u)
    cache = layer.allocate_inference_cache(*u.shape[:2])
    with torch.no_grad():
        outputs = [layer(u[:, a:b], cache=cache) for a, b in itertools.pairwise(cuts)]
        for t in range(cuts[-1], u.shape[1]):
            y, *after = layer.step(u[:, t : t + 1], *cache)
            assert all(a is b for a, b in zip(after, cache))
            outputs.append(y)
    same(torch.cat(outputs, 1), whole, 1e-11)


def check_steps_and_splits(layer, u, axis, cut):
    """One sample at a time, and two chunks with the state passed on, give the same output."""
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
