"""Tests specific to potentials of charges: sums of Gaussians, their bandwidths and split, the long and the short part, the cells."""

import itertools
import pickle

import numpy as np
import pytest
from numpy.polynomial import chebyshev

import quatrefoil as qf
from cheb.particles import oracle
from cheb.particles.cases import CUBE, LONG_BOX, charges, relative
from checks import changed
from quatrefoil.cheb.models.longrange import bandwidth, kernel_by_parity


def test_1_over_r_to_eps(rng):
    """Equation (1), at distances that the search has not used, in any unit of length."""
    for rmax, eps in itertools.product([1.0, 2 * 3**0.5, 1e-250, 1e290], [1e-2, 1e-7, 1e-14]):
        print(eps, rmax)
        rmin = rmax * 10 ** -rng.uniform(0.5, 4)
        sog = qf.cheb.coulomb_sog(eps, rmin, rmax)
        r = np.concatenate([np.exp(rng.uniform(np.log(rmin), np.log(rmax), 3000)), [rmin, rmax]])
        assert np.abs(1 - r * sog(r)).max() <= eps * 1.01 + 1e-15
        assert sog.n_long == sog.t.size
        u = np.arcsinh(sog.t * rmax)
        np.testing.assert_allclose(np.diff(u), u[1], rtol=1e-9)
        weights = 2 / np.pi**0.5 * u[1] * np.cosh(u) / rmax
        np.testing.assert_allclose(sog.w, weights * np.where(u == 0, 0.5, 1), rtol=1e-9)


def test_known_steps_of_the_trapezoidal_rule():
    """Known relative errors of the trapezoidal rule with h = 0.2663 and 0.2, for r up to 1."""
    for eps, h in ((4.1e-8, 0.2663), (8.8e-11, 0.2)):
        assert np.arcsinh(qf.cheb.coulomb_sog(eps, 1e-3, 1.0).t[1]) == pytest.approx(h, rel=0.03)


def test_split_and_cutoff(rng):
    """The last long term is at the split; both parts add up to 1/r; beyond the cutoff the short part is negligible."""
    for split, eps in itertools.product([0.0, 0.1, 3.0, 40.0], [1e-3, 1e-7, 1e-13]):
        print(eps, split)
        sog = qf.cheb.coulomb_sog(eps, 0.01, 4.0, split=split)
        assert sog.t[sog.n_long - 1] == pytest.approx(split, rel=1e-12)
        assert sog.n_long < sog.t.size
        r = np.exp(rng.uniform(np.log(1e-3), np.log(4), 2000))
        np.testing.assert_allclose(sog.long(r) + sog.short(r), 1 / r, rtol=1e-14)
        assert sog.short(0.0) == -sog.long(0.0)
        assert 0 < sog.cutoff <= 4.0
        far = rng.uniform(sog.cutoff, 4, 2000)
        assert sog.cutoff == 4.0 or np.abs(far * sog.short(far)).max() <= 2.01 * eps
        near = sog.cutoff * rng.random(2000) ** 0.5
        polynomial = np.polynomial.polynomial.polyval(2 * (near / sog.cutoff) ** 2 - 1, sog.polynomial)
        assert np.abs(polynomial - sog.long(near)).max() <= 2e-3 * eps / sog.cutoff + 2e-14 * sog.long(0.0)


def test_sums_that_do_not_approximate_1_over_r():
    sog = qf.cheb.SumOfGaussians(np.array([1.0]), np.array([1.0]), 1, 1e-6, 1.0, 100.0)
    with pytest.raises(ValueError, match="differs from 1/r by more than 2 eps / r at r = 8, eps = 1e-06"):
        _ = sog.cutoff
    no_long_part = qf.cheb.SumOfGaussians(np.array([1.0]), np.array([1.0]), 0, 1e-6, 1.0, 3.0)
    assert (no_long_part.cutoff, no_long_part.polynomial) == (3.0, (0.0,))


def test_bandwidth_is_sufficient_and_tight(rng):
    """Equation (5), in x and in y."""

    def error(size, t, x, y):
        half = (size + 1) // 2
        A = np.zeros((2 * half, 2 * half))
        A[::2, ::2], A[1::2, 1::2] = kernel_by_parity(t, half)
        A[size:] = A[:, size:] = 0
        values = chebyshev.chebvander(x, 2 * half - 1) @ A @ chebyshev.chebvander(y, 2 * half - 1).T
        return np.abs(values - np.exp(-((t * np.subtract.outer(x, y)) ** 2))).max()

    for eps, t in itertools.product((1e-2, 1e-6, 1e-10, 1e-13), (0.25, 1.0, 4.0, 16.0, 60.0)):
        print(eps, t)
        size = bandwidth(t, eps)
        x, y = rng.uniform(-1, 1, (2, 60))
        y[:3], x[:3] = (0, 1, -1), (0, 1, -1)
        assert error(size, t, x, y) <= 2 * eps
        if size > 20:
            assert error(int(0.75 * size), t, x, y) > eps


def test_the_long_part(rng):
    for (n, domain), tol in itertools.product([(33, CUBE), ((33, 65, 16), LONG_BOX), (9, CUBE), ((4, 20, 1), CUBE)], [1e-4, 1e-8, 1e-12]):
        print(n, tol)
        X, q = charges(rng, 300, domain, neutral=n != (4, 20, 1))  # n = (4, 20, 1) resolves little more than the total charge
        V = qf.cheb.potential(X, q, n=n, domain=domain, tol=tol)
        assert V.n == ((n,) * 3 if isinstance(n, int) else n)
        assert V.domain == tuple((float(a), float(b)) for a, b in domain)
        targets = charges(rng, 500, domain)[0]
        expected = oracle.long_part(X, q, targets, V.sog)
        # If n allows only wide Gaussians, the terms cancel; truncation and rounding errors of each term do not.
        terms = np.linalg.norm(q) * V.sog.long(0.0) * 500**0.5
        rounding = 2e-14 * np.abs(q).sum() * V.sog.long(0.0) * 500**0.5
        assert np.linalg.norm(V(targets) - expected) <= tol * (np.linalg.norm(expected) + terms) + rounding


def test_few_and_many_charges_agree(backend, rng):
    X, q = charges(rng, 3000 if backend == "native" else 300, CUBE)
    C = qf.cheb.potential(X, q, n=24, domain=CUBE, tol=1e-9).to_full()
    parts = [qf.cheb.potential(X[s], q[s], n=24, domain=CUBE, tol=1e-9).to_full() for s in (slice(5), slice(5, None))]
    assert relative(sum(parts), C) <= 2e-9


def test_no_charge():
    assert qf.cheb.potential(np.zeros((0, 3)), np.zeros(0)).domain == ((-1.0, 1.0),) * 3
    empty = qf.cheb.potential(np.zeros((0, 3)), np.zeros(0), n=9, domain=CUBE, tol=1e-6)
    assert empty.rank == (1, 1, 1)
    np.testing.assert_array_equal(empty(np.zeros((2, 3))), [0, 0])


def test_a_split_that_n_does_not_resolve(rng):
    X, q = charges(rng, 100, CUBE)
    sog = qf.cheb.potential(X, q, n=33, domain=CUBE, tol=1e-7).sog
    t = sog.t[sog.n_long - 1]
    with pytest.warns(RuntimeWarning, match=r"n = \(33, 33, 33\) does not resolve split = .* which needs n = \((\d+), \1, \1\)") as caught:
        qf.cheb.potential(X, q, n=33, domain=CUBE, tol=1e-7, split=2 * t)
    needed = int(str(caught[0].message).split("needs n = (")[1].split(",")[0])
    V = qf.cheb.potential(X, q, n=needed, domain=CUBE, tol=1e-7, split=2 * t)  # no warning
    targets = charges(rng, 200, CUBE)[0]
    assert relative(V(targets), oracle.long_part(X, q, targets, V.sog)) <= 3e-7
    smaller = qf.cheb.potential(X, q, n=33, domain=CUBE, tol=1e-7, split=t / 2).sog
    assert smaller.cutoff > sog.cutoff


def test_many_neighbours(backend, rng):
    """More neighbours than fit in the buffer; five copies of each charge give five times the sum."""
    X, q, targets = rng.uniform(0, 1, (1000, 3)), 1 + rng.random(1000), rng.uniform(0, 1, (3, 3))
    one, five = (qf.cheb.short_range(np.tile(X, (k, 1)), np.tile(q, k), targets, sog=SOG, backend=backend) for k in (1, 5))
    np.testing.assert_allclose(five, 5 * one, rtol=1e-9)


def test_targets_beyond_all_charges(backend, rng):
    sog = qf.cheb.coulomb_sog(1e-8, 0.01, 4.0, split=5.0)
    X, q = charges(rng, 300, CUBE)
    edge = sog.cutoff
    targets = np.array([[1 + edge / 2, 0, 0], [50.0, 0, 0], [0, -1e300, 1e300], [0, 0, -1 - edge / 3]])
    got = qf.cheb.short_range(X, q, targets, sog=sog)
    expected = oracle.short_range(X, q, targets, sog=sog)
    assert np.abs(got - expected).max() <= 1e-9  # dozens of pairs, each accurate to 1e-11
    assert got[1] == got[2] == 0
    X[0] = 1e300, -1e300, 0  # one charge, after which axes 0 and 1 are too long for cells
    expected = oracle.short_range(X[1:], q[1:], targets, sog=sog)[[0, 3]]
    assert np.abs(qf.cheb.short_range(X, q, targets, sog=sog)[[0, 3]] - expected).max() <= 1e-9


def test_on_a_charge(backend):
    """The 1/r of the charge is left out and its long part subtracted, and likewise for another charge at the same position."""
    sog = qf.cheb.coulomb_sog(1e-9, 0.1, 5.0, split=1.0)
    X, q = np.array([[0.0, 0, 0], [0, 0, 0], [0.5, 0, 0]]), np.array([1.0, 2.0, 3.0])
    got = qf.cheb.short_range(X, q, X, sog=sog)
    np.testing.assert_allclose(got[:2], 3 * sog.short(0.0) + 3 * sog.short(0.5), rtol=1e-11)
    dX, dq, dtargets = qf.cheb.short_range_vjp(X, q, X, np.ones(3), sog=sog)
    assert np.isfinite(dX).all()
    assert np.isfinite(dtargets).all()
    np.testing.assert_allclose(dq[0], 2 * sog.short(0.0) + sog.short(0.5), rtol=1e-11)
    np.testing.assert_allclose(dX[2, 0], q[2] * dtargets[2, 0] * 2 / 3, rtol=1e-9)  # two targets of weight 1, two charges of 1 and 2


def test_sog_survives_pickling_and_saving(tmp_path, rng):
    X, q = charges(rng, 50, CUBE)
    V = qf.cheb.potential(X, q, n=12, domain=CUBE, tol=1e-6)
    V.save(tmp_path / "V")
    for again in (pickle.loads(pickle.dumps(V)), qf.cheb.Potential.load(tmp_path / "V")):
        np.testing.assert_array_equal(again(X), V(X))
        assert repr(again.sog) == repr(V.sog)
        assert not again.sog.t.flags.writeable
        np.testing.assert_array_equal(qf.cheb.short_range(X, q, X, sog=again.sog), qf.cheb.short_range(X, q, X, sog=V.sog))
    for other in (2 * V, V.diff(0)):
        with pytest.raises(AttributeError, match="was derived from a potential"):
            _ = other.sog
    with pytest.raises(AttributeError):
        V.sog.n_long = 3


X5, Q5 = np.linspace(-0.9, 0.9, 15).reshape(5, 3), np.ones(5)
SOG = qf.cheb.coulomb_sog(1e-6, 0.1, 4.0, split=1.0)


def test_a_nan_charge_affects_only_its_neighbours(backend):
    X, q = np.array([[0.0, 0, 0], [3.0, 0, 0]]), np.array([1.0, np.nan])
    sog = qf.cheb.coulomb_sog(1e-6, 0.1, 4.0, split=5.0)
    assert list(np.isnan(qf.cheb.short_range(X, q, X + 0.1, sog=sog))) == [False, True]


def potential(X=X5, q=Q5, **options):
    return lambda: qf.cheb.potential(X, q, **{"n": 9, "domain": (-1, 1), "tol": 1e-6} | options)


def sog(eps=1e-6, rmin=0.1, rmax=1, **options):
    return lambda: qf.cheb.coulomb_sog(eps, rmin, rmax, **options)


def sums(t=X5[:, 0] + 1, w=Q5, n_long=5):
    return lambda: qf.cheb.SumOfGaussians(t, w, n_long, 1e-6, 0.1, 1)


OUTSIDE = changed(changed(X5, (3, 0), -1.5), (2, 1), 1.01)
BAD = [
    (potential(X5[:, :2]), ValueError, r"potential: X has shape \(5, 2\), expected \(P, 3\)"),
    (potential(changed(X5, (2, 1), np.nan)), ValueError, r"potential: X\[2, 1\] is nan"),
    (potential(OUTSIDE), ValueError, r"potential: X\[2, 1\] is 1.01.*, expected a number within the domain \[-1, 1\] of axis 1"),
    (potential(n=0), ValueError, "potential: n is 0"),
    (potential(n=(9, 9)), ValueError, "potential: n has 2 entries, expected 3"),
    (potential(tol=0), ValueError, "potential: tol is 0"),
    (potential(domain=(1, -1)), ValueError, "potential: the domain of axis 0"),
    (potential(split=-1.0), ValueError, "potential: split is -1.0"),
    (lambda: qf.cheb.potential(X5, Q5, X5), TypeError, "takes X, q by position, got 3 arguments; pass a box around .*short_range"),
    (potential(targets=X5), TypeError, r"no argument 'targets'; pass a box around the targets: V = potential\(X, q, domain"),
    (potential(split="far"), TypeError, "potential: split is 'far'"),
    (lambda: qf.cheb.short_range(X5, Q5, X5, sog=None), TypeError, "short_range: sog is NoneType, expected a SumOfGaussians"),
    (lambda: qf.cheb.short_range(changed(X5, (2, 1), np.nan), Q5, X5, sog=SOG), ValueError, r"short_range: X\[2, 1\] is nan"),
    (lambda: qf.cheb.short_range(X5, Q5, changed(X5, (4, 2), np.inf), sog=SOG), ValueError, r"short_range: targets\[4, 2\] is inf"),
    (sog(eps=0), ValueError, "coulomb_sog: eps is 0"),
    (sog(eps=1e-15), ValueError, "coulomb_sog: eps is 1e-15, expected a number of at least 1e-14"),
    (sog(rmin=1), ValueError, "coulomb_sog: rmin is 1.0 and rmax is 1.0"),
    (sog(rmin=1e-20), ValueError, "expected 1e-15 rmax <= rmin"),
    (sog(rmax=np.inf), ValueError, "coulomb_sog: rmax is inf"),
    (sog(split=np.nan), ValueError, "coulomb_sog: split is nan"),
    (sums(t=Q5), ValueError, "SumOfGaussians: t must be nonnegative and strictly increasing"),
    (sums(w=Q5[:4]), ValueError, "SumOfGaussians: w has shape"),
    (sums(n_long=6), ValueError, "SumOfGaussians: n_long is 6"),
]
