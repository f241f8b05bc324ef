"""Invalid and tolerated inputs of the Chebyshev-Tucker functions, and the error messages."""

import itertools

import numpy as np
import pytest

import quatrefoil as qf
from case import precisions

CORE, FACTORS, X = np.ones((2, 3)), [np.ones((4, 2)), np.ones((5, 3))], np.zeros((6, 2))


def with_point(value):
    changed = X.copy()
    changed[3, 1] = value
    changed[5, 0] = value
    return changed


def test_points_outside_are_named(backend):
    for value, dtype in itertools.product([np.nan, np.inf, -np.inf, 1 + 1e-12, -1.5], precisions(backend)):
        print(value, dtype)
        if dtype == np.float32 and abs(value) < 1.1:
            value = 1 + 1e-5
        arrays = CORE.astype(dtype), [U.astype(dtype) for U in FACTORS], with_point(value).astype(dtype)
        for _ in range(2):
            with pytest.raises(ValueError, match=r"cheb.tucker_eval: X\[3, 1\] is .*within the domain \[-1, 1\] of axis 1"):
                qf.cheb.tucker_eval(*arrays)
            with pytest.raises(ValueError, match=r"cheb.tucker_eval_vjp: X\[3, 1\]"):
                qf.cheb.tucker_eval_vjp(*arrays, np.ones(6, dtype))


def test_the_first_bad_point_is_named_whatever_the_threads(rng):
    points = rng.uniform(-1, 1, (100_000, 2))
    points[[70_001, 99_999]] = np.nan
    core, factors = rng.standard_normal((9, 9)), [rng.standard_normal((20, 9)) for _ in range(2)]
    for threads in (1, 3):
        with pytest.raises(ValueError, match=r"X\[70001, 0\] is nan"):
            qf.cheb.tucker_eval(core, factors, points, num_threads=threads)


def test_rounding_at_the_ends_is_forgiven(backend):
    """A coordinate that is beyond an end only by a rounding error is accepted, and gives the value at the end."""
    for lo, hi in [(-1.0, 1.0), (0.1, 0.7), (100.0, 100.5), (-3e8, 1e-3)]:
        print(lo, hi)
        core, U = np.ones(2), np.array([[1.0, 0.5], [2.0, -1.0]])
        ends = np.array([[lo], [hi]])
        beyond = np.array([[np.nextafter(lo, -np.inf)], [np.nextafter(hi, np.inf)]])
        expected = qf.cheb.tucker_eval(core, [U], ends, domain=(lo, hi))
        np.testing.assert_allclose(expected, [0.5, 2.5], rtol=1e-14)
        np.testing.assert_allclose(qf.cheb.tucker_eval(core, [U], beyond, domain=(lo, hi)), expected, rtol=1e-14)
        single = [a.astype(np.float32) for a in (core, U, ends)]
        np.testing.assert_allclose(qf.cheb.tucker_eval(single[0], [single[1]], single[2], domain=(lo, hi)), expected, rtol=1e-6)


ChebTucker = qf.cheb.ChebTucker
ct = ChebTucker(CORE, FACTORS)
BAD = [
    (lambda: qf.cheb.tucker_eval(CORE, [], X), ValueError, "at least one array"),
    (lambda: qf.cheb.tucker_eval(CORE, FACTORS[0], X), TypeError, "list or tuple"),
    (lambda: qf.cheb.tucker_eval(CORE, FACTORS, X, domain=(1, 1)), ValueError, "domain of axis 0"),
    (lambda: qf.cheb.tucker_eval(CORE, FACTORS, X, domain=(0, 1, 2)), ValueError, "expected .lo, hi. or 2 such pairs"),
    (lambda: qf.cheb.tucker_eval(CORE, FACTORS, X, domain="ab"), TypeError, "domain is str"),
    (lambda: qf.cheb.tucker_eval(CORE, FACTORS, X, domain=(0, 1j)), TypeError, "real numbers"),
    (lambda: qf.cheb.tucker_eval_vjp(CORE, FACTORS, X), TypeError, "expected core, factors, X and grad"),
    (lambda: qf.cheb.chebpts(0), ValueError, "n is 0, expected at least 1"),
    (lambda: qf.cheb.vals2coeffs(X, axes=2), ValueError, "distinct axes"),
    (lambda: qf.cheb.vals2coeffs(X, axes=(0, -2)), ValueError, "distinct axes"),
    (lambda: qf.cheb.vals2coeffs(X[:0]), ValueError, "no points"),
    (lambda: qf.cheb.tucker(CORE), ValueError, "neither tol nor rank"),
    (lambda: qf.cheb.tucker(CORE, tol=-1e-3), ValueError, "tol is -0.001, expected a finite nonnegative number"),
    (lambda: qf.cheb.tucker(CORE, rank=3), ValueError, "expected at most the shape of C"),
    (lambda: qf.cheb.tucker(CORE, rank=0), ValueError, "at least 1"),
    (lambda: qf.cheb.tucker(CORE, rank=(1, 1, 1)), ValueError, "one per axis"),
    (lambda: qf.cheb.tucker(CORE, tol=1e-3, method="als"), ValueError, "method is 'als', expected one of 'sthosvd', 'hooi', 'rsvd'"),
    (lambda: qf.cheb.tucker(X[:0], tol=1e-3), ValueError, "no empty axis"),
    (lambda: ChebTucker(CORE, FACTORS[::-1]), ValueError, "core has shape"),
    (lambda: ChebTucker(CORE, [FACTORS[0][:0], FACTORS[1]]), ValueError, "at least one coefficient"),
    (lambda: ct(with_point(7)), ValueError, r"X\[3, 1\] is 7"),
    (lambda: ct.eval(X, 3), ValueError, r"cheb\.ChebTucker\.eval: order is"),
    (lambda: ct.eval(X, True), TypeError, r"cheb\.ChebTucker\.eval: order is"),
    (lambda: ct.grid(X[:, 0]), ValueError, "expected 2"),
    (lambda: ct.grid(X[:, 0], with_point(2)[:, 1]), ValueError, "point 3 of axis 1 is 2"),
    (lambda: ct.grid(X, X), ValueError, r"expected \(m,\)"),
    (lambda: ct.grid(X[:, 0], X[:, 1].astype(np.float32)), TypeError, r"points\[1\] is .* of float32"),
    (lambda: ct.grid([X[:, 0], X[:, 1]]), ValueError, r"1 axes, expected 2; .* as separate arguments: grid\(\*points\)"),
    (lambda: ct(np.zeros((2, 3, 5))), ValueError, r"shape \(2, 3, 5\), .*; pass arrays of coordinates as \*X"),
    (lambda: ct.diff((0, 1)), TypeError, r"axis is \(0, 1\), .* ct.diff\(0\).diff\(1\)"),
    (lambda: ct.grad(X), AttributeError, r"ChebTucker has no attribute 'grad'; use value_and_grad\(X\), or"),
    (lambda: ct.ranks, AttributeError, "use rank"),
    (lambda: ct.diff(dim=0), TypeError, "diff has no argument 'dim'; use axis"),
    (lambda: ct.integrate(0, 1), TypeError, "takes axis by position, got 2 arguments; expected at most 1"),
    (lambda: ct.round(), TypeError, "cheb.ChebTucker.round: tol is missing; such as"),
    (lambda: ct.eval(0, 0, 0), TypeError, r"X \(P, d\); ct\(x, y, z\) takes coordinates"),
    (lambda: ChebTucker(np.sin, (0, 1)), TypeError, r"core is a function; use ChebTucker.from_function\(f, domain\)"),
    (lambda: ChebTucker(np.sin, (0, 1), tol=1e-6), TypeError, r"no argument 'tol'; build one by ChebTucker.from_function\(f, domain\)"),
    (lambda: ChebTucker().fit(X, X), TypeError, r"core, factors are missing; build one by .*, ChebTucker.fit\(X, y\) or"),
    (lambda: ChebTucker.from_function(np.sin, 0, 1), TypeError, r"takes f, domain by position, got 3 .* domain as \[\(lo, hi\), ..."),
    (lambda: ChebTucker.from_function(np.hypot, ([0] * 3, [1] * 3)), ValueError, r"two corners, .*; pass list\(zip\(lo, hi\)\)"),
    (lambda: ChebTucker.fit(X), TypeError, r"y is missing; expected ChebTucker.fit\(X, y\)"),
    (lambda: ChebTucker.from_values(with_point(np.nan)), ValueError, r"V\[3, 1\] is nan"),
    (lambda: ChebTucker.from_coeffs(with_point(np.nan)), ValueError, r"C\[3, 1\] is nan"),
    (lambda: ChebTucker.from_function(np.sin, (0, 1), n=5, tol=-1), ValueError, "tol is -1.0, expected a finite nonnegative number"),
]
