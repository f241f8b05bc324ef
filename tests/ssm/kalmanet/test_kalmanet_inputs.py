"""Gated KalmaNet: states under PyTorch in all its modes, and what bad input gets."""

import numpy as np
import pytest

import quatrefoil as qf
from checks import check_refused

Q = np.zeros((2, 5, 3, 4))
STATE = np.zeros((2, 3, 4, 4))


BAD = [
    (lambda: qf.ssm.gka(Q, Q, Q, initial_state=(STATE[:1], STATE)), ValueError, r"initial_state\[0\] has shape \(1, 3, 4, 4\)"),
    (lambda: qf.ssm.gka(Q, Q, Q, initial_state=STATE), TypeError, "initial_state must be a pair of arrays .*, got ndarray"),
    (lambda: qf.ssm.gka(Q, Q, Q, initial_state=(STATE,) * 3), TypeError, "initial_state must be a pair of arrays .*, got 3 of them"),
    (lambda: qf.ssm.gka(Q, Q, Q, solver="cg"), ValueError, r"ssm\.gka: solver is 'cg', expected one of 'chebyshev', 'exact'"),
    (lambda: qf.ssm.gka(Q, Q, Q, num_iter=-1), ValueError, "num_iter is -1, expected at least 0"),
    (lambda: qf.ssm.gka(Q, Q, Q, ridge_strength=-0.1), ValueError, r"ridge_strength is -0\.1, expected a finite number, at least 0"),
    (lambda: qf.ssm.gka(Q, Q, Q, ridge_strength="0.1"), TypeError, "ridge_strength is '0.1', expected a real number"),
    (lambda: qf.ssm.gka_vjp(Q, Q, Q, Q, output_final_state=True), ValueError, "grad_H_T is missing"),
    (lambda: qf.ssm.gka_vjp(Q, Q, Q, Q, solver="cg"), ValueError, r"ssm\.gka_vjp: solver"),
]


def test_bad_input():
    check_refused(BAD)


def tensors(rng):
    torch = pytest.importorskip("torch")
    shape, square = (1, 3, 2, 3), (1, 2, 3, 3)
    keys = rng.standard_normal((1, 2, 3, 5))
    arrays = [rng.standard_normal(shape) for _ in range(3)] + [rng.uniform(-0.5, 0, shape[:3]) for _ in range(3)]
    arrays += [keys @ keys.swapaxes(-1, -2), rng.standard_normal(square)]
    return torch, [torch.from_numpy(x).requires_grad_() for x in arrays]


def with_states(*given):
    y, (H, U) = qf.ssm.gka(*given[:6], solver="exact", ridge_strength=0.1, initial_state=given[6:], output_final_state=True)
    return y, H, U


@pytest.mark.torch
def test_states_in_every_mode_of_torch(rng):
    _, given = tensors(rng)
    from ssm.modes_of_torch import check_every_mode

    check_every_mode(with_states, given)


@pytest.mark.torch
def test_gradient_of_one_result_alone(rng):
    """y, H_T or U_T may be all that a loss sees."""
    torch, given = tensors(rng)
    together = [torch.autograd.grad(with_states(*given)[i].sum(), given, allow_unused=True) for i in range(3)]
    total = torch.autograd.grad(sum(r.sum() for r in with_states(*given)), given)
    for parts, whole in zip(zip(*together), total):
        torch.testing.assert_close(sum(p for p in parts if p is not None), whole)
