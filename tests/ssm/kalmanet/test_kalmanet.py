"""Tests specific to Gated KalmaNet: iteration, initial states, accuracy, resets, all modes of PyTorch, bad input."""

import itertools

import numpy as np
import pytest

import quatrefoil as qf
from checks import check_float32, close
from ssm.kalmanet.cases import gka
from ssm.kalmanet.oracle import gka as oracle


def problem(rng, B, T, heads, D, dtype=np.float64, gates="alpha g gk"):
    arrays, _ = gka(B, T, heads, D, gates)(rng)
    return [None if x is None else x.astype(dtype) for x in arrays]


def some_state(rng, B, heads, D, dtype=np.float64):
    keys = rng.standard_normal((B, heads, D, D + 2)) / D
    H = keys @ keys.swapaxes(-1, -2)
    return ((H + H.swapaxes(-1, -2)) / 2).astype(dtype), rng.standard_normal((B, heads, D, D)).astype(dtype)


def part(arrays, begin, end):
    return [None if x is None else x[:, begin:end] for x in arrays]


def test_many_steps_are_the_exact_solution(backend, rng):
    arrays = problem(rng, 1, 50, 2, 20)
    close(qf.ssm.gka(*arrays, num_iter=10_000), qf.ssm.gka(*arrays, solver="exact"), 1e-12)
    close(qf.ssm.gka(*arrays, num_iter=10_001), oracle(*arrays, solver="exact"), 1e-12)


def test_folded_polynomial_equals_the_iteration(backend, rng):
    """The folded polynomial equals the plain iteration, in both parities and far from convergence."""
    for steps, ridge in itertools.product([1, 2, 3, 4, 29, 30, 31, 120], [0, 1e-6, 0.02, 5.0]):
        print(ridge, steps)
        arrays = problem(rng, 1, 12, 2, 9)
        expected = oracle(*arrays, ridge_strength=ridge, num_iter=steps)
        # errors grow with the condition number, (1 + ridge) / ridge, or with steps^2 if that is smaller
        close(qf.ssm.gka(*arrays, ridge_strength=ridge, num_iter=steps), expected, 1e-14 * (10 + steps**2))


def test_long_float32_does_not_drift(rng):
    for decay in (0.0, 0.05):
        arrays = problem(rng, 1, 3000, 1, 16, np.float32)
        arrays[4:] = [np.full((1, 3000, 1), -decay, np.float32)] * 2
        check_float32(lambda *a: qf.ssm.gka(*a)[:, -500:], arrays, 4e-6)


def test_a_reset_is_exact(backend, rng):
    """gk = g = -inf at a token: the remaining tokens are bitwise equal to a run that begins there, and no gradient flows across it."""
    arrays = problem(rng, 1, 30, 2, 7)
    for gate in arrays[4:]:
        gate[:, 12] = -np.inf
    y = qf.ssm.gka(*arrays)
    np.testing.assert_array_equal(y[:, 12:], qf.ssm.gka(*part(arrays, 12, 30)))
    grad = np.zeros_like(y)
    grad[:, 20:] = 1
    for gradient in qf.ssm.gka_vjp(*arrays, grad):
        assert np.abs(gradient[:, :12]).max() == 0
        assert np.isfinite(gradient).all()


def test_scale_of_the_keys_changes_no_digit(best_backend, rng):
    for power in [-15, 15]:
        print(power)
        q, k, v, _, g, gk = problem(rng, 1, 20, 2, 17, np.float32)
        scale = np.float32(2.0**power)
        np.testing.assert_array_equal(qf.ssm.gka(q, scale * k, v, None, g, gk) * scale, qf.ssm.gka(q, k, v, None, g, gk))


def test_only_the_symmetric_part_of_an_initial_H_is_used(backend, rng):
    arrays = problem(rng, 1, 6, 2, 5)
    H0, U0 = some_state(rng, 1, 2, 5)
    twist = rng.standard_normal(H0.shape)
    skew = H0 + twist - twist.swapaxes(-1, -2)
    close(qf.ssm.gka(*arrays, initial_state=(skew, U0)), qf.ssm.gka(*arrays, initial_state=(H0, U0)), 1e-12)
    dH0 = qf.ssm.gka_vjp(*arrays, skew, U0, arrays[0])[6]
    close(dH0, dH0.swapaxes(-1, -2), 1e-15)


def test_gradient_at_thirty_steps_is_that_of_the_linear_system(backend, rng):
    """The gradient differs from the derivative of the iteration by no more than about the iteration's own error."""
    inputs = problem(rng, 1, 30, 1, 12)
    direction, grad = rng.standard_normal(inputs[1].shape), rng.standard_normal(inputs[1].shape)
    unrolled = [oracle(inputs[0], inputs[1] + s * direction, *inputs[2:], num_iter=30) for s in (1e-6, -1e-6)]
    expected = np.vdot(grad, unrolled[0] - unrolled[1]) / 2e-6
    dk = qf.ssm.gka_vjp(*inputs, grad)[1]
    difference = abs(np.vdot(dk, direction) - expected) / (np.linalg.norm(dk) * np.linalg.norm(direction))
    assert difference < 2e-3


def test_gradients_are_accurate_while_keys_are_few(best_backend, rng):
    """In directions without a key, solves amplify errors by 1 / ridge_strength, so right-hand sides are not rounded to float32."""
    for T, D in [(3, 64), (10, 128)]:
        print(T, D)
        inputs = problem(rng, 1, T, 2, D, np.float32, "alpha")
        grad = rng.standard_normal(inputs[0].shape).astype(np.float32)
        check_float32(lambda *a: qf.ssm.gka_vjp(*a)[::3], [*inputs, grad], 2e-7)  # q, alpha


def test_long_sequences_in_segments(rng):
    """Values and gradients agree with those of two shorter runs joined by their states."""
    for T, D, dtype in [(3500, 64, np.float32), (6000, 30, np.float64)]:
        print(T, D)
        arrays = problem(rng, 1, T, 1, D, dtype)
        tolerance = 1e-5 if dtype == np.float32 else 1e-12
        whole = qf.ssm.gka(*arrays)
        middle, state = qf.ssm.gka(*part(arrays, 0, 1200), output_final_state=True)
        close(whole, np.concatenate([middle, qf.ssm.gka(*part(arrays, 1200, T), initial_state=state)], axis=1), tolerance)
        grad = rng.standard_normal(whole.shape).astype(dtype)
        *second, dH, dU = qf.ssm.gka_vjp(*part(arrays, 1200, T), *state, grad[:, 1200:])
        first = qf.ssm.gka_vjp(*part(arrays, 0, 1200), (grad[:, :1200], dH, dU), output_final_state=True)
        close(qf.ssm.gka_vjp(*arrays, grad), [np.concatenate(parts, axis=1) for parts in zip(first, second)], 5 * tolerance)


def test_zero_keys_give_zero_x(backend, rng):
    arrays = problem(rng, 1, 8, 2, 6)
    arrays[1][:, :5] = 0
    U0 = rng.standard_normal((1, 2, 6, 6))
    for solver in ("chebyshev", "exact"):
        y = qf.ssm.gka(*arrays, solver=solver, initial_state=(None, U0))
        close(y, oracle(*arrays, None, U0, solver=solver).astype(float), 1e-13)
        for gradient in qf.ssm.gka_vjp(*arrays, None, U0, y, solver=solver):
            assert np.isfinite(gradient).all()


WITH_STATES = [
    ({"ridge_strength": 0.1, "num_iter": 64}, (True, True)),
    ({"solver": "exact"}, (True, True)),
    ({"num_iter": 0}, (True, False)),
    ({"solver": "exact"}, (False, True)),
]


def test_values_and_gradients_of_and_through_states(backend, rng):
    for options, present in WITH_STATES:
        print(options, present)
        options = options | {"output_final_state": True}
        inputs = problem(rng, 2, 7, 2, 5) + [s if is_present else None for s, is_present in zip(some_state(rng, 2, 2, 5), present)]
        directions = [None if x is None else rng.standard_normal(x.shape) for x in inputs]

        def run(step, inputs=inputs, directions=directions, options=options):
            return oracle(*[None if x is None else x + step * d for x, d in zip(inputs, directions)], **options)

        y, states = qf.ssm.gka(*inputs[:6], initial_state=tuple(inputs[6:]), **options)
        close((y, *states), [x.astype(float) for x in run(0.0)], 1e-12)
        grads = tuple(rng.standard_normal(r.shape) for r in (y, *states))
        expected = sum(np.vdot(g, (a - b) / 2e-6) for g, a, b in zip(grads, run(1e-6), run(-1e-6)))
        gradients = qf.ssm.gka_vjp(*inputs, grads, **options)
        pairs = list(zip(gradients, [d for d in directions if d is not None], strict=True))
        size = sum(np.linalg.norm(g) * np.linalg.norm(d) for g, d in pairs)
        assert abs(sum(np.vdot(g, d) for g, d in pairs) - expected) <= 2e-8 * size
        by_keyword = qf.ssm.gka_vjp(*inputs[:6], (grads[0], grads[1:]), initial_state=tuple(inputs[6:]), **options)
        np.testing.assert_equal(gradients, by_keyword)


@pytest.mark.parametrize(("T", "heads", "D"), [(1024, 2, 64), (256, 2, 128), (300, 3, 16), (120, 2, 33)])
def test_float32_is_within_two_millionths(best_backend, rng, T, heads, D):
    """Errors are relative to the largest value of the result or gradient; the reference is the float64 run on the same values."""
    for gates, states, solver in (("", False, "chebyshev"), ("alpha g gk", True, "chebyshev"), ("alpha g gk", True, "exact")):
        print(gates, solver)
        T = T if best_backend == "native" else min(T, 2048 // D)
        inputs = problem(rng, 1, T, heads, D, np.float32, gates) + (list(some_state(rng, 1, heads, D, np.float32)) if states else [])
        grad = rng.standard_normal(inputs[0].shape).astype(np.float32)
        check_float32(lambda *a, solver=solver: qf.ssm.gka(*a[:6], initial_state=a[6:] or None, solver=solver), inputs, 2e-6)
        check_float32(qf.ssm.gka_vjp, [*inputs, grad], 2e-6, solver=solver)


Q = np.zeros((2, 5, 3, 4))
STATE = np.zeros((2, 3, 4, 4))
BAD = [
    (lambda: qf.ssm.gka(Q, Q, Q, initial_state=(STATE[:1], STATE)), ValueError, r"initial_state\[0\] has shape \(1, 3, 4, 4\)"),
    (lambda: qf.ssm.gka(Q, Q, Q, initial_state=STATE), TypeError, "initial_state must be a pair of arrays .*, got ndarray"),
    (lambda: qf.ssm.gka(Q, Q, Q, initial_state=(STATE,) * 3), TypeError, "must be a pair of arrays .*, got tuple of length 3"),
    (lambda: qf.ssm.gka_vjp(Q, Q, Q, None, None, None, STATE, Q, initial_state=(STATE, STATE)), TypeError, "passed twice"),
    (lambda: qf.ssm.gka(Q, Q, Q, solver="cg"), ValueError, r"ssm\.gka: solver is 'cg', expected one of 'chebyshev', 'exact'"),
    (lambda: qf.ssm.gka(Q, Q, Q, num_iter=-1), ValueError, "num_iter is -1, expected at least 0"),
    (lambda: qf.ssm.gka(Q, Q, Q, ridge_strength=-0.1), ValueError, r"ridge_strength is -0\.1, expected a finite nonnegative number"),
    (lambda: qf.ssm.gka(Q, Q, Q, ridge_strength="0.1"), TypeError, "ridge_strength is '0.1', expected a real number"),
    (lambda: qf.ssm.gka_vjp(Q, Q, Q, Q, output_final_state=True), ValueError, "grad_H_T is None"),
    (lambda: qf.ssm.gka_vjp(Q, Q, Q, Q, solver="cg"), ValueError, r"ssm\.gka_vjp: solver"),
]


def tensors(rng):
    torch = pytest.importorskip("torch")
    arrays = [*problem(rng, 1, 3, 2, 3), *some_state(rng, 1, 2, 3)]
    return torch, [torch.from_numpy(x).requires_grad_() for x in arrays]


def with_states(*inputs):
    y, (H, U) = qf.ssm.gka(*inputs[:6], solver="exact", ridge_strength=0.1, initial_state=inputs[6:], output_final_state=True)
    return y, H, U


@pytest.mark.torch
def test_states_in_every_mode_of_torch(rng):
    _, inputs = tensors(rng)
    from ssm.modes_of_torch import check_every_mode

    check_every_mode(with_states, inputs)


@pytest.mark.torch
def test_gradient_of_one_result_alone(rng):
    """A loss may depend only on y, H_T or U_T."""
    torch, inputs = tensors(rng)
    separate = [torch.autograd.grad(with_states(*inputs)[i].sum(), inputs, allow_unused=True) for i in range(3)]
    total = torch.autograd.grad(sum(r.sum() for r in with_states(*inputs)), inputs)
    for parts, whole in zip(zip(*separate), total):
        torch.testing.assert_close(sum(p for p in parts if p is not None), whole)
