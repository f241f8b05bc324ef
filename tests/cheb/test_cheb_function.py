"""Functions as Chebyshev-Tucker tensors: special functions, memory, and errors for functions that cannot be resolved."""

import itertools
import tracemalloc

import numpy as np
import pytest
from numpy.polynomial import chebyshev

import quatrefoil as qf
from cheb.recorded import Recorded
from checks import check_rejected

ChebTucker = qf.cheb.ChebTucker
CUBE = ((-1, 1),) * 3


def points(rng, domain, count=500):
    lo, hi = np.array(domain, dtype=float).T
    return lo + (hi - lo) * rng.random((count, len(lo)))


def test_a_tight_tolerance(rng):
    ct = ChebTucker.from_function(lambda x, y, z: np.cos(x + 2 * y + 3 * z), CUBE, tol=1e-14)
    X = points(rng, CUBE)
    np.testing.assert_allclose(ct(X), np.cos(X @ [1, 2, 3]), atol=2e-13)
    assert ct.rank == (2, 2, 2)


def test_cost_of_high_ranks():
    """A ridge on the diagonal: ranks are near n / 2, and sampling takes at most 1.5 times the values of the whole grid."""
    counted = Recorded(lambda x, y, z: np.exp(-2 * ((x - y) ** 2 + (y - z) ** 2 + (z - x) ** 2)))
    ct = ChebTucker.from_function(counted, CUBE, tol=1e-9)
    assert min(ct.rank) > 12
    assert max(ct.n) <= 33
    assert ct.n_evaluations == len(counted.seen) <= 1.5 * 33**3
    again = ChebTucker.from_function(counted.f, CUBE, n=33, tol=1e-9)
    assert (ct - again).norm() <= 3e-9 * again.norm()


def test_constants_of_any_kind():
    for value in (3, 0.0, -1e-200, np.int8(3), np.full((), 3.0), None):
        f = (lambda x, y: np.full(np.broadcast(x, y).shape, 3, np.uint16)) if value is None else (lambda x, y, value=value: value)
        ct = ChebTucker.from_function(f, ((0, 1), (5, 6)))
        assert ct.rank == (1, 1)
        assert max(ct.n) <= 3
        np.testing.assert_allclose(ct(np.array([[0.3, 5.5]])), [3 if value is None else value], rtol=1e-14)
        assert ct.error_estimate < 1e-14


def test_aliases_are_seen(rng):
    """T_32(x) and T_64(x) T_32(y) are 1 on the first grid of 17 points; the test at random points detects this."""
    for f in (lambda x, y: np.cos(32 * np.arccos(x)) + 0 * y, lambda x, y: np.cos(64 * np.arccos(x)) * np.cos(32 * np.arccos(y))):
        ct = ChebTucker.from_function(f, ((-1, 1), (-1, 1)))
        X = points(rng, ((-1, 1),) * 2)
        np.testing.assert_allclose(ct(X), f(*X.T), atol=1e-9)
        assert ct.rank == (1, 1)


@pytest.mark.parametrize("n", [None, 33])
def test_several_outputs(rng, n):
    """f is called once for all outputs, and each output is resolved relative to its own scale."""

    def f(x, y, z):
        return np.sin(x + y + z), 1e-8 * np.exp(x * y), z

    counted = Recorded(f)
    tensors = ChebTucker.from_function(counted, CUBE, n=n)
    X = points(rng, CUBE)
    assert isinstance(tensors, list)
    for ct, expected in zip(tensors, f(*X.T), strict=True):
        np.testing.assert_allclose(ct(X), expected, rtol=0, atol=1e-9 * np.abs(expected).max())
        assert ct.n_evaluations == len(counted.seen)
    assert [ct.rank[2] for ct in tensors] == [2, 1, 1]
    (only,) = ChebTucker.from_function(lambda x: [x], (0, 1), n=n)
    np.testing.assert_allclose(only(np.array([[0.25]])), [0.25])


NOT_SMOOTH = {
    "a plane of kinks": (lambda x, y, z: np.abs(x + y + z), CUBE, 1e-6),
    "a jump": (lambda x, y, z: np.sign(x) + y + z, CUBE, 1e-6),
    "a jump, loosely": (lambda x, y: (x > 0.37) + y, ((0, 1), (0, 1)), 1e-3),
    "one kink": (lambda x: np.abs(x - 0.3), ((0, 1),), 1e-8),
    "a line of kinks": (lambda x, y: np.abs(x - 0.3) + y, ((0, 1), (0, 1)), 1e-8),
    "a kink that fades": (lambda x, y: np.maximum(x - 0.37, 0) * y, ((0, 1), (0, 1)), 1e-8),
    "a root": (lambda x, y: np.sqrt(x) * y, ((0, 1), (0, 1)), 1e-8),
}


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n == "a plane of kinks" else n for n in NOT_SMOOTH])
def test_functions_that_are_not_smooth_raise(name):
    f, domain, tol = NOT_SMOOTH[name]
    with pytest.raises(ValueError, match=r"f is not resolved to tol = .* expected a smooth function; pass n"):
        ChebTucker.from_function(f, domain, tol=tol)


@pytest.mark.slow
def test_kinks_are_resolved_to_a_loose_tolerance(rng):
    """The coefficients of a kink become small long before its error, which is largest next to the kink, where random points are rare."""
    X = rng.random((3000, 2))
    X[:1000, 0] = 0.3 + 10 ** rng.uniform(-10, -1, 1000) * rng.choice([-1, 1], 1000)
    for f, tol in itertools.product((lambda x, y: np.abs(x - 0.3) + y, lambda x, y: np.sqrt(np.abs(x - 0.3)) * x + y), (1e-2, 1e-4, 1e-6)):
        try:
            ct = ChebTucker.from_function(f, ((0, 1), (0, 1)), tol=tol)
        except ValueError:
            assert tol < 1e-5
            continue
        missed = np.abs(ct(X) - f(*X.T)).max() / f(*X.T).max()
        # the test in from_function allows 10 tol at two points of the worst cell; between them the error at a kink may be a few times that
        assert missed <= min(50 * tol, 10 * ct.error_estimate), (tol, missed, ct.error_estimate)


def test_a_grid_that_is_too_coarse_causes_a_warning():
    for f in (lambda x, y, z: np.abs(x + y + z), lambda x, y, z: np.cos(30 * x + y) * z):
        with pytest.warns(RuntimeWarning, match=r"n = \(17, 17, 17\) does not resolve f: at random points"):
            ct = ChebTucker.from_function(f, CUBE, n=17)
        assert ct.error_estimate > 1e-4
        assert ct.n == (17, 17, 17)
        assert ct.n_evaluations == 17**3 + 30
    ChebTucker.from_function(lambda x, y: x**4 * y**2, ((-1, 1),) * 2, n=(5, 3))  # exact: no warning


WRONG_RESULTS = [
    (lambda x, y: 1 / x, ValueError, r"f\(0, .*\) is -?inf, expected a finite number"),
    (lambda x, y: np.where(x > 0.9, np.nan, y), ValueError, r"f\(.*\) is nan"),
    (lambda x, y: (x + y, np.where(y < 0, np.nan, x)), ValueError, r"f\(.*\)\[1\] is nan"),
    (lambda x, y: 1j * x, TypeError, "complex128 values, expected real numbers"),
    (lambda x, y: np.ones(7), ValueError, r"f returned shape \(7,\) for 5 points, expected shape \(5,\); return several outputs as"),
    (lambda x, y: (), ValueError, "f returned 0 outputs, expected at least 1"),
    (lambda x, y: (x,) * (1 + (x.size != 5)), ValueError, "f returned . outputs, expected"),
    (lambda x, y: x > y, TypeError, "bool values, expected real numbers"),
    (lambda x, y: ([[1, 2], [3]], x), TypeError, "f returned list, which is not an array of numbers"),
    (lambda x, y: np.ones((3, 1, 1)), ValueError, r"f returned shape \(3, 1, 1\) for 5 points, expected"),
    (lambda x, y: {}["mine"], KeyError, "mine"),
]


@pytest.mark.filterwarnings("ignore:divide by zero")
def test_invalid_results_of_f():
    check_rejected([(lambda f=f: ChebTucker.from_function(f, ((-1, 1), (-1, 1))), error, text) for f, error, text in WRONG_RESULTS])


@pytest.fixture
def peak():
    def measure(run):
        run()  # imports and compilation do not count
        tracemalloc.start()
        try:
            run()
            return tracemalloc.get_traced_memory()[1] / 1e6
        finally:
            tracemalloc.stop()

    return measure


def peaks(x):
    return 1 / (1e-6 + (x - 0.1) ** 2)


@pytest.mark.slow
def test_a_long_axis_takes_memory_of_its_length(rng, peak):
    """8193 points: a square matrix would take 537 MB."""
    line = ChebTucker.from_function(peaks, (-1, 1), tol=1e-6)
    assert line.n[0] > 7000
    assert peak(lambda: ChebTucker.from_function(peaks, (-1, 1), tol=1e-6)) < 5
    x = rng.uniform(-1, 1, 500)
    np.testing.assert_allclose(line(x[:, None]), peaks(x), atol=1e-5 * peaks(0.1))
    assert peak(lambda: ChebTucker.from_function(lambda x, y: peaks(x) * np.exp(x * y), ((-1, 1), (0, 1)), tol=1e-4)) < 60


def test_what_is_computed_of_a_long_axis_takes_memory_of_its_length(rng, peak):
    n = 8193
    U, V, points = rng.standard_normal((n, 2)) / np.arange(1, n + 1)[:, None] ** 2, rng.standard_normal((3, 2)), np.linspace(-1, 1, 300)
    line, plane = ChebTucker(np.ones(2), [U]), ChebTucker(np.eye(2), [U, V])
    every = {
        "grid": lambda: line.grid(qf.cheb.chebpts(n)[::8]),
        "grid of two axes": lambda: plane.grid(points, points),
        "from values": lambda: ChebTucker.from_values(U[:, 0]),
        "from coefficients": lambda: ChebTucker.from_coeffs(plane.to_full()),
        "canonical": lambda: ChebTucker.from_cp(np.ones(2), [U, U]),
        "samples": lambda: ChebTucker.from_cp(np.ones(2), [U, U], grid=[np.linspace(-1, 1, n)] * 2),
        "slope": lambda: line.diff(0, 2),
        "integral": line.integrate,
        "norm": plane.norm,
        "sum": lambda: plane + plane,
        "product": lambda: plane * plane,
        "rounded": lambda: plane.round(1e-3),
        "estimate": lambda: plane.error_estimate,
        "planned": lambda: line.plan(1e-6)(points[:, None]),
        "slopes": lambda: line.eval(points[:, None], 2),
    }
    for name, run in every.items():
        assert peak(run) < 50, name
    np.testing.assert_allclose(line.grid(points), chebyshev.chebval(points, U.sum(axis=1)), atol=1e-12)
