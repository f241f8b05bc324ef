"""What is particular to rational filters: SciPy's, states, pieces, poles at the unit circle, what coefficients may be; PyTorch."""

import numpy as np
import pytest
import scipy.signal

import quatrefoil as qf
from checks import check_refused

filter, vjp = qf.ssm.arma_filter, qf.ssm.arma_filter_vjp


def coefficients(rng, Q, P, radius=0.9):
    roots = radius * rng.uniform(0.3, 1, P - 1) * rng.choice([-1, 1], P - 1)
    return rng.standard_normal(Q), np.atleast_1d(np.poly(roots)) * rng.uniform(0.5, 2)


def test_it_is_lfilter(backend, rng):
    for Q, P in [(1, 2), (3, 1), (2, 4), (6, 3), (10, 13)]:
        print(Q, P)
        b, a = coefficients(rng, Q, P)
        x, zi = rng.standard_normal((2, 3, 300)), rng.standard_normal((2, 3, max(P, Q) - 1))
        expected, zf = scipy.signal.lfilter(b, a, x, zi=zi)
        got, state = filter(b, a, x, zi)
        scale = abs(expected).max()  # the poles magnify the rounding of both
        np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-10 * scale)
        np.testing.assert_allclose(state, zf, rtol=1e-9, atol=1e-10 * max(scale, abs(zf).max()))
        np.testing.assert_allclose(filter(b, a, x), scipy.signal.lfilter(b, a, x), rtol=1e-9, atol=1e-10 * scale)


def test_any_cut_with_states_is_one_run(backend, rng):
    for cuts in [[1], [256], [2, 3, 257], [0, 599, 600]]:
        print(cuts)
        b, a = coefficients(rng, 4, 3)
        x, zi = rng.standard_normal((5, 600)), rng.standard_normal((5, 3))
        whole, end = filter(b, a, x, zi)
        pieces = []
        for part in np.split(x, cuts, axis=1):
            y, zi = filter(b, a, part, zi)
            pieces.append(y)
        np.testing.assert_array_equal(np.concatenate(pieces, axis=1), whole)
        np.testing.assert_array_equal(zi, end)


def test_float32_is_good_to_2e_6_where_the_poles_remember_thousands_of_samples(best_backend, rng):
    """Coefficients of few digits, so that they are the same in both precisions: the filter computes in double precision."""
    a = np.array([1, -1.99609375, 0.99609761], np.float32)
    b = np.array([0.125, 0.25, 0.125], np.float32)
    x = rng.standard_normal((3, 5000)).astype(np.float32)
    exact = filter(b.astype(float), a.astype(float), x.astype(float))
    assert abs(filter(b, a, x) - exact).max() <= 2e-6 * abs(exact).max()
    gradients = vjp(b, a, x, x)
    for got, expected in zip(gradients, vjp(b.astype(float), a.astype(float), x.astype(float), x.astype(float))):
        assert abs(got - expected).max() <= 5e-6 * abs(expected).max()


def test_coefficients_may_differ_from_row_to_row_in_one_of_the_two(backend, rng):
    x = rng.standard_normal((2, 3, 40))
    b, a = rng.standard_normal((2, 3, 3)), np.array([coefficients(rng, 1, 4)[1] for _ in range(6)]).reshape(2, 3, 4)
    for b_rows, a_rows in ((True, False), (False, True), (True, True)):
        got = filter(b if b_rows else b[0, 0], a if a_rows else a[0, 0], x)
        for i in np.ndindex(2, 3):
            alone = filter(b[i] if b_rows else b[0, 0], a[i] if a_rows else a[0, 0], x[i])
            np.testing.assert_array_equal(got[i], alone)
        db, da, _ = vjp(b if b_rows else b[0, 0], a if a_rows else a[0, 0], x, x)
        assert db.shape == (b.shape if b_rows else (3,))
        assert da.shape == (a.shape if a_rows else (4,))


def test_a_nan_stays_in_its_row_from_its_time_on(backend, rng):
    b, a = coefficients(rng, 3, 3)
    x = rng.standard_normal((9, 300))
    clean = filter(b, a, x)
    x[4, 100] = np.nan
    dirty = filter(b, a, x)
    assert np.isnan(dirty[4, 100:]).all()
    dirty[4, 100:] = clean[4, 100:]
    np.testing.assert_array_equal(dirty, clean)


def test_out(backend, rng):
    b, a = coefficients(rng, 2, 2)
    x, room = rng.standard_normal((2, 30)), np.full((2, 30), np.nan)
    assert filter(b, a, x, out=room) is room
    np.testing.assert_array_equal(room, filter(b, a, x))
    with pytest.raises(TypeError, match="several"):
        filter(b, a, x, np.zeros((2, 1)), out=room)


B, A, X = np.ones(2), np.array([2.0, 1.0]), np.zeros((3, 5))


BAD = [
    (lambda: filter(B[:0], A, X), ValueError, r"ssm\.arma_filter: b has shape \(0,\), expected at least one coefficient"),
    (lambda: filter(B, A[:0], X), ValueError, r"a has shape \(0,\), expected at least one"),
    (lambda: filter(np.ones((2, 2)), A, X), ValueError, r"b has shape \(2, 2\), expected one axis"),
    (lambda: filter(B, A, X, np.zeros((3, 2))), ValueError, r"zi has shape \(3, 2\), expected \(3, 1\)"),
    (lambda: filter(B, A, X, np.zeros(1)), ValueError, r"zi has shape \(1,\), expected \(3, 1\)"),
    (lambda: filter(B, A, X.astype(np.float32)), TypeError, "x has dtype float32 but b has float64"),
    (lambda: filter(B, A.astype(complex), X), TypeError, "a has dtype complex128"),
    (lambda: vjp(B, A, X), TypeError, "expected the inputs"),
]


def test_bad_input():
    check_refused(BAD)


def test_a_leading_coefficient_of_zero(backend):
    for a in (0 * A, np.array([[1.0, 1], [0, 1], [1, 1]])):
        for _ in range(2):
            with pytest.raises(ValueError, match=r"a\[..., 0\] is 0, expected a number to divide by"):
                filter(B, a, X)


@pytest.mark.torch
def test_gradients_and_compilation_in_torch(rng):
    torch = pytest.importorskip("torch")
    given = [
        torch.from_numpy(v).requires_grad_() for v in (*coefficients(rng, 3, 4), rng.standard_normal((2, 9)), rng.standard_normal((2, 3)))
    ]
    assert torch.autograd.gradcheck(filter, tuple(given))
    assert torch.autograd.gradcheck(filter, tuple(given[:3]))
    torch._dynamo.reset()
    for got, expected in zip(torch.compile(filter, fullgraph=True, backend="aot_eager")(*given), filter(*given)):
        torch.testing.assert_close(got, expected)
    half = [v.detach().to(torch.bfloat16) for v in given[:3]]
    y = filter(*half)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y, filter(*[v.float() for v in half]).to(torch.bfloat16))
