"""Gated KalmaNet: states under PyTorch in all its modes, and what bad input gets."""

import numpy as np
import pytest

import quatrefoil as qf

Q = np.zeros((2, 5, 3, 4))
GATE = np.zeros((2, 5, 3))
STATE = np.zeros((2, 3, 4, 4))


BAD = [
    (lambda: qf.ssm.gka(Q[0], Q[0], Q[0]), ValueError, r"ssm\.gka: q has shape \(5, 3, 4\), expected \(B, T, H, D\)"),
    (
        lambda: qf.ssm.gka(Q, Q[:1], Q),
        ValueError,
        r"ssm\.gka: k has shape \(1, 5, 3, 4\), expected \(B, T, H, D\) with B = 2, T = 5, H = 3, D = 4 as in q",
    ),
    (lambda: qf.ssm.gka(Q, Q, Q[..., :3]), ValueError, r"v has shape \(2, 5, 3, 3\), expected \(B, T, H, D\) with .* D = 4 as in q"),
    (
        lambda: qf.ssm.gka(Q, Q, Q, GATE[:, :4]),
        ValueError,
        r"alpha has shape \(2, 4, 3\), expected \(B, T, H\) with B = 2, T = 5, H = 3 as in q",
    ),
    (lambda: qf.ssm.gka(Q, Q, Q, None, GATE[..., None]), ValueError, "g has shape"),
    (lambda: qf.ssm.gka(Q, Q, Q, None, None, GATE[0]), ValueError, "gk has shape"),
    (
        lambda: qf.ssm.gka(Q, Q, Q, initial_state=(STATE[:1], STATE)),
        ValueError,
        r"initial_state\[0\] has shape \(1, 3, 4, 4\)",
    ),
    (lambda: qf.ssm.gka(Q, Q, Q, initial_state=(STATE, STATE[..., :3])), ValueError, r"initial_state\[1\] has shape"),
    (lambda: qf.ssm.gka(Q, Q, Q, initial_state=STATE), TypeError, "initial_state must be a pair of arrays .*, got ndarray"),
    (lambda: qf.ssm.gka(Q, Q, Q, initial_state=(STATE,) * 3), TypeError, "initial_state must be a pair of arrays .*, got 3 of them"),
    (lambda: qf.ssm.gka(Q, Q, Q, solver="cg"), ValueError, r"ssm\.gka: solver is 'cg', expected one of 'chebyshev', 'exact'"),
    (lambda: qf.ssm.gka(Q, Q, Q, solver=None), ValueError, "solver is None"),
    (lambda: qf.ssm.gka(Q, Q, Q, num_iter=-1), ValueError, "num_iter is -1, expected at least 0"),
    (lambda: qf.ssm.gka(Q, Q, Q, num_iter=2**40), ValueError, "num_iter"),
    (lambda: qf.ssm.gka(Q, Q, Q, num_iter=3.0), TypeError, r"num_iter is 3\.0, expected an integer"),
    (lambda: qf.ssm.gka(Q, Q, Q, ridge_strength=-0.1), ValueError, r"ridge_strength is -0\.1, expected a finite number, at least 0"),
    (lambda: qf.ssm.gka(Q, Q, Q, ridge_strength=np.nan), ValueError, "ridge_strength"),
    (lambda: qf.ssm.gka(Q, Q, Q, ridge_strength=np.inf), ValueError, "ridge_strength"),
    (lambda: qf.ssm.gka(Q, Q, Q, ridge_strength="0.1"), TypeError, "ridge_strength is '0.1', expected a real number"),
    (lambda: qf.ssm.gka(Q, Q, Q, ridge_strength=1j), TypeError, "ridge_strength is 1j, expected a real number"),
    (lambda: qf.ssm.gka(Q, Q.astype(np.float32), Q), TypeError, "k has dtype float32 but q has float64"),
    (lambda: qf.ssm.gka(Q, Q, Q, GATE.astype(np.float32)), TypeError, "alpha has dtype float32 but q has float64"),
    (lambda: qf.ssm.gka(Q, Q, Q, out=np.zeros((2, 5, 3, 5))), ValueError, "out has shape"),
    (lambda: qf.ssm.gka(Q, Q, Q, out=np.zeros_like(Q), output_final_state=True), TypeError, "out= is for calls that return one array"),
    (lambda: qf.ssm.gka_vjp(Q, Q), TypeError, "expected the inputs"),
    (lambda: qf.ssm.gka_vjp(), TypeError, "expected the inputs"),
    (lambda: qf.ssm.gka_vjp(Q, Q, Q, Q[:1]), ValueError, "grad_y has shape"),
    (lambda: qf.ssm.gka_vjp(Q, Q, Q, Q, output_final_state=True), ValueError, "grad_H_T is missing"),
    (lambda: qf.ssm.gka_vjp(Q, Q, Q, (Q, STATE, STATE)), ValueError, "grad_H_T has shape .*, expected none"),
    (lambda: qf.ssm.gka_vjp(Q, Q, Q, Q, solver="cg"), ValueError, r"ssm\.gka_vjp: solver"),
]


def test_bad_input():
    for call, error, text in BAD:
        print(text)
        for _ in range(2):  # a remembered signature must not be a hole
            with pytest.raises(error, match=text):
                call()


def test_numbers_of_any_type_are_taken(backend, rng):
    q, k, v = rng.standard_normal((3, 1, 4, 2, 5))
    expected = qf.ssm.gka(q, k, v, ridge_strength=1.0, num_iter=5)
    np.testing.assert_array_equal(qf.ssm.gka(q, k, v, ridge_strength=1, num_iter=np.int32(5)), expected)
    np.testing.assert_array_equal(qf.ssm.gka(q, k, v, ridge_strength=np.float32(1), num_iter=5), expected)


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
def test_gradcheck_with_states(rng):
    torch, given = tensors(rng)
    assert torch.autograd.gradcheck(with_states, given, eps=1e-6, atol=1e-6)


@pytest.mark.torch
def test_every_mode_of_torch_with_states(rng):
    torch, given = tensors(rng)

    def energy(*arrays):
        return sum((x * x).sum() for x in with_states(*arrays))

    expected = torch.autograd.grad(energy(*given), given)
    plain = [x.detach() for x in given]
    for got, e in zip(torch.func.grad(energy, argnums=tuple(range(8)))(*plain), expected):
        torch.testing.assert_close(got, e, rtol=0, atol=0)
    compiled = torch.compile(energy, backend="aot_eager", fullgraph=True)
    for got, e in zip(torch.autograd.grad(compiled(*given), given), expected):
        torch.testing.assert_close(got, e, rtol=1e-14, atol=1e-14)


@pytest.mark.torch
def test_gradient_of_one_result_alone(rng):
    """y, H_T or U_T may be all that a loss sees."""
    torch, given = tensors(rng)
    together = [torch.autograd.grad(with_states(*given)[i].sum(), given, allow_unused=True) for i in range(3)]
    total = torch.autograd.grad(sum(r.sum() for r in with_states(*given)), given)
    for parts, whole in zip(zip(*together), total):
        torch.testing.assert_close(sum(p for p in parts if p is not None), whole)


@pytest.mark.torch
def test_second_derivative_raises(rng):
    torch, given = tensors(rng)
    first = torch.autograd.grad(sum((x * x).sum() for x in with_states(*given)), given[0], create_graph=True)[0]
    with pytest.raises(NotImplementedError, match="second derivative"):
        torch.autograd.grad((first * first).sum(), given[1])
