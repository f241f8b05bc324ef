"""Random programs on Chebyshev-Tucker tensors, compared with dense coefficients and numpy.polynomial.chebyshev.

A program builds a known polynomial by a random constructor, in random units of values and axes, and computes with it. The caller's arrays
are overwritten afterwards. Constructions and operations are interrupted at random places; the next ones must give the same bits.
"""

import contextlib
import copy
import functools
import pickle
import tempfile
import warnings
from pathlib import Path
from unittest import mock

import numpy as np
from numpy.polynomial import chebyshev

import quatrefoil as qf
from cheb.particles import oracle
from cheb.tucker.oracle import full, tails
from quatrefoil.cheb.models import algebra, canonical, construction, function, leastsquares, sampling
from quatrefoil.cheb.tucker import methods, unfolding

ChebTucker = qf.cheb.ChebTucker
INNER = [
    (construction, ("tucker", "vals2coeffs")),
    (algebra, ("tucker", "mode_product", "vals2coeffs", "coeffs2vals")),
    (canonical, ("principal", "vals2coeffs")),
    (leastsquares, ("polynomials",)),
    (methods, ("principal",)),
    (unfolding, ("gram",)),
    (np.linalg, ("qr", "svd")),
    (sampling, ("vals2coeffs", "tucker_eval")),
    (function, ("chebpts",)),
]


class Stopped(BaseException):
    """Behaves like KeyboardInterrupt, but is raised only here."""


@contextlib.contextmanager
def stopping(rng):
    module, names = INNER[rng.integers(len(INNER))]
    name, left = str(rng.choice(names)), int(rng.integers(3))
    inner = getattr(module, name)

    def stops(*args, **keywords):
        nonlocal left
        left -= 1
        if left < 0:
            raise Stopped
        return inner(*args, **keywords)

    with mock.patch.object(module, name, stops), contextlib.suppress(Stopped):
        yield


def bits(ct):
    return [a.tobytes() for a in (ct.core, *ct.factors)]


class Model:
    """The expected tensor: dense coefficients on a box, and a bound on the sum of their errors."""

    def __init__(self, C, domain, error, eps):
        self.C, self.domain, self.error, self.eps = C, [tuple(map(float, pair)) for pair in domain], float(error), eps
        self.size = float(np.abs(C).sum())

    def values(self, X):
        lo, hi = np.array(self.domain, np.longdouble).T
        t = np.clip(((2 * X.astype(np.longdouble) - lo - hi) / (hi - lo)).astype(float), -1, 1)
        total = self.C[None]
        for x, m in zip(t.T, self.C.shape):
            total = np.einsum("pm...,pm->p...", total, chebyshev.chebvander(x, m - 1))
        return total

    def near(self, got, expected, what, more=0.0):
        """Check values. Coordinates lose digits in proportion to the distance of the box from 0; slopes are at most n^2 times the size."""
        digits = max(1 + max(abs(lo), abs(hi)) / (hi - lo) for lo, hi in self.domain)
        allowed = self.error + more + 100 * self.eps * digits * self.size * max(self.C.shape) ** 2
        off = np.abs(np.asarray(got, float) - expected).max(initial=0)
        assert np.shape(got) == np.shape(expected), what
        assert off <= allowed, f"{what}: off by {off:.2e}, allowed {allowed:.2e}, size {self.size:.2e}"


def points(rng, domain, count, dtype):
    lo, hi = np.array(domain).T
    return (lo + (hi - lo) * rng.uniform(0.01, 0.99, (count, len(lo)))).astype(dtype)


def polynomial(weights, columns, domain, spoils):
    """A sum of products of these series, as a function. With ``spoils``, it overwrites its arguments and earlier results."""
    returned = []

    def f(*x):
        rows = [chebyshev.chebval(((a - lo) - (hi - a)) / (hi - lo), U) for a, U, (lo, hi) in zip(x, columns, domain)]
        value = sum(w * functools.reduce(np.multiply, [row[r] for row in rows]) for r, w in enumerate(weights))
        if spoils:
            for a in (*x, *returned):
                a[...] = np.nan
            returned.append(value)
        return value

    return f


def built(rng, domain, dtype, scale):
    """A tensor from a random constructor, and its model."""
    d, eps = len(domain), float(np.finfo(dtype).eps)
    n = [int(m) for m in rng.choice([1, 2, 3, 4, 5, 9] if d < 4 else [1, 2, 3, 4], d)]
    R, tol = int(rng.integers(1, 4)), max(1e-13, 4 * eps)
    weights = (rng.uniform(0.5, 1, R) * scale).astype(dtype)
    columns = [(rng.uniform(-1, 1, (m, R)) * 0.6 ** np.arange(m)[:, None]).astype(dtype) for m in n]
    diagonal = np.zeros((R,) * d, dtype)
    diagonal[(np.arange(R),) * d] = weights
    C, arrays = full(diagonal, columns), []

    def own(a):
        arrays.append(np.array(a, dtype))
        return arrays[-1]

    nodes = [np.sin(np.pi * np.arange(1 - m, m, 2) / (2 * max(m - 1, 1))) for m in n]
    V = full(C, [chebyshev.chebvander(x, m - 1) for x, m in zip(nodes, n)])
    grid = [m + int(rng.integers(3)) for m in n] if rng.random() < 0.4 else None
    spoils = rng.random() < 0.5
    X = points(rng, domain, 8 * min(C.size, 60) + 20, dtype)
    y, w = Model(C, domain, 0, eps).values(X), rng.uniform(0.5, 2, len(X))
    ways = {  # constructors, and the factors by which they amplify rounding and tolerances
        "parts": (lambda: ChebTucker(own(diagonal), [own(U) for U in columns], domain=domain), 1),
        "coeffs": (lambda: ChebTucker.from_coeffs(own(C), domain=domain, tol=tol), 1),
        "values": (lambda: ChebTucker.from_values(own(V), domain=domain, tol=tol), max(n)),
        "cp": (lambda: ChebTucker.from_cp(own(weights), [own(U) for U in columns], domain=domain, tol=tol), 1),
    }
    if C.size <= 60:
        ways["fit"] = lambda: ChebTucker.fit(own(X), own(y), n=n, domain=domain, weights=own(w), tol=tol), 3e3
    if dtype == np.float64:
        ways["function"] = lambda: ChebTucker.from_function(polynomial(weights, columns, domain, spoils), domain, n=grid, tol=1e-11), 3e3
    how = str(rng.choice(list(ways)))
    build, factor = ways[how]
    ct = build()
    with stopping(rng):
        build()
    assert bits(build()) == bits(ct), f"{how}: other bits after an interrupt"
    for a in arrays:
        a[...] = np.nan
    assert ct.domain == tuple(domain)
    model = Model(C, domain, np.sqrt(C.size) * (4 * tol + 100 * eps) * factor * np.abs(C).sum(), eps)
    return ct, model, how


# ---------------------------------------------------------------- operations: (rng, tensor, model, builder of another) -> (tensor, model)


def slope(ct, model, axis, m):
    lo, hi = model.domain[axis]
    C = chebyshev.chebder(model.C, m, scl=2 / (hi - lo), axis=axis) if m < model.C.shape[axis] else np.take(model.C, [0], axis) * 0
    grown = (2 / (hi - lo) * max(*ct.n, *model.C.shape) ** 2) ** m
    return Model(C, model.domain, (model.error + 100 * model.eps * model.size) * grown, model.eps)


def differentiated(rng, ct, model, other):
    axis, m = int(rng.integers(-len(ct.n), len(ct.n))), int(rng.integers(3))
    result = ct.diff(axis, np.int32(m))
    assert result.n[axis] == max(1, ct.n[axis] - m)
    return result, slope(ct, model, axis, m)


def integrated(rng, ct, model, other):
    d = len(ct.n)
    axes = sorted(int(k) for k in rng.choice(d, int(rng.integers(0, d)), replace=False))
    for k in reversed(axes):
        lo, hi = model.domain[k]
        F = np.moveaxis(chebyshev.chebint(model.C, scl=(hi - lo) / 2, axis=k), k, 0)
        error = (model.error + 100 * model.eps * model.size) * (hi - lo)
        left = [pair for j, pair in enumerate(model.domain) if j != k]
        model = Model(chebyshev.chebval(1, F) - chebyshev.chebval(-1, F), left, error, model.eps)
    axis = [axes, tuple(axes), np.array(axes, int)][rng.integers(3)]
    return ct.integrate(axis), model


def _padded(C, shape):
    return np.pad(C, [(0, max(0, m - have)) for m, have in zip(shape, C.shape)])


def summed(rng, ct, model, other):
    more, theirs = other()
    shape = np.maximum(model.C.shape, theirs.C.shape)
    sign = rng.choice([-1, 1])
    C = _padded(model.C, shape) + sign * _padded(theirs.C, shape)
    rounding = 4 * algebra.EXACT[ct.core.dtype.name] * np.sqrt(np.prod(np.maximum(ct.n, more.n)))
    error = model.error + theirs.error + rounding * (model.size + theirs.size)
    return (ct + more if sign > 0 else ct - more), Model(C, model.domain, error, model.eps)


def multiplied(rng, ct, model, other):
    more, theirs = other()
    C = np.zeros([a + b - 1 for a, b in zip(model.C.shape, theirs.C.shape)])
    nodes = [np.cos(np.pi * (np.arange(m) + 0.5) / m) for m in C.shape]
    values = [full(A, [chebyshev.chebvander(x, m - 1) for x, m in zip(nodes, A.shape)]) for A in (model.C, theirs.C)]
    back = [chebyshev.chebvander(x, x.size - 1).T * np.where(np.arange(x.size) == 0, 1, 2)[:, None] / x.size for x in nodes]
    C = full(values[0] * values[1], back)
    rounding = 4 * (algebra.EXACT[ct.core.dtype.name] + 50 * model.eps) * np.sqrt(np.prod(np.add(ct.n, more.n)))
    error = model.error * (theirs.size + theirs.error) + theirs.error * model.size + rounding * model.size * theirs.size
    return ct * more, Model(C, model.domain, error, model.eps)


def scaled(rng, ct, model, other):
    a, b = (float(ct.core.dtype.type(x)) for x in (10 ** rng.uniform(-3, 3), rng.standard_normal() * model.size))
    C = model.C * a
    C.flat[0] += b
    error = model.error * a + 4 * algebra.EXACT[ct.core.dtype.name] * np.sqrt(np.prod(ct.n)) * (model.size * a + abs(b))
    return (a * ct + b if rng.random() < 0.5 else b - ct * -a), Model(C, model.domain, error, model.eps)


def rounded(rng, ct, model, other):
    tol = 10 ** rng.uniform(-12, -2)
    return ct.round(tol), Model(model.C, model.domain, model.error + tol * np.sqrt(np.prod(ct.n)) * (model.size + model.error), model.eps)


def stored(rng, ct, model, other):
    again = [copy.copy(ct), copy.deepcopy(ct), pickle.loads(pickle.dumps(ct))]
    with tempfile.TemporaryDirectory() as folder:
        ct.save(Path(folder) / "tensor")
        again.append(ChebTucker.load(Path(folder) / "tensor"))
    assert all(bits(one) == bits(ct) and one.domain == ct.domain for one in again)
    return again[rng.integers(4)], model


OPERATIONS = [differentiated, integrated, summed, multiplied, scaled, rounded, stored]


def check(rng, ct, model):
    dtype, eps = ct.core.dtype, model.eps
    assert {np.finfo(a.dtype).eps for a in (ct.core, *ct.factors)} == {eps}
    X = points(rng, model.domain, int(rng.choice([0, 1, 7, 40])), dtype)
    truth, k = model.values(X), int(rng.integers(len(ct.n)))
    model.near(ct(X), truth, "values")
    model.near(ct.plan(max(1e-7, 100 * eps))(X), truth, "plan", 10 * max(1e-7, 100 * eps) * model.size)
    model.near(ct.grid(*X.T)[(np.arange(len(X)),) * len(ct.n)], truth, "grid")
    nodes = [x.astype(dtype) for x in qf.cheb.chebpts(ct.n, ct.domain)]
    model.near(ct.grid(*nodes), qf.cheb.coeffs2vals(ct.to_full()), "grid of Chebyshev points")
    shape = np.maximum(ct.n, model.C.shape)
    model.near(_padded(ct.to_full(), shape), _padded(model.C, shape), "coefficients")
    slopes, (f, g, H) = slope(ct, model, k, 1), ct.eval(X, 2)
    model.near(f, truth, "value next to its derivatives")
    slopes.near(g[:, k], slopes.values(X), "gradient")
    assert np.array_equal(H, H.transpose(0, 2, 1))
    volume = float(np.prod([hi - lo for lo, hi in model.domain]))
    nodes, weights = zip(*(np.polynomial.legendre.leggauss(m) for m in model.C.shape))
    values = full(model.C, [chebyshev.chebvander(x, m - 1) for x, m in zip(nodes, model.C.shape)])
    square = full((values / (model.size or 1)) ** 2, [w[None] / 2 for w in weights]).item()
    allowed = model.error + 100 * eps * model.size
    assert abs(ct.norm() / np.sqrt(volume) - np.sqrt(square) * model.size) <= allowed, "norm"
    mean = full(values, [w[None] / 2 for w in weights]).item()
    assert abs(ct.integrate() / volume - mean) <= allowed * max(ct.n), "integral"


def attack_program(rng, backend):
    d, dtype = int(rng.choice([1, 2, 3, 4], p=[0.3, 0.3, 0.3, 0.1])), np.float32 if rng.random() < 0.2 else np.float64
    decades = 12 if dtype == np.float64 else 2
    widths = 10 ** rng.uniform(-decades, decades, d)
    domain = [(float(a), float(a + w)) for a, w in zip(widths * rng.uniform(-2, 2, d), widths)]
    scale, done = 10 ** rng.uniform(-decades, decades), []
    if dtype == np.float64 and rng.random() < 0.4:
        scale = 10 ** (rng.choice([-1, 1]) * rng.uniform(150, 170))  # the square of this scale is out of range
    with qf.use_backend(backend), warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            ct, model, how = built(rng, domain, dtype, scale)
            done.append(f"{how} {ct.n} {ct.core.dtype} {domain}")
            check(rng, ct, model)
            for _ in range(int(rng.integers(1, 5))):
                operation = OPERATIONS[rng.integers(len(OPERATIONS))]
                if operation is multiplied and not 1e-140 < model.size < 1e140:
                    operation = summed
                done.append(operation.__name__)

                def other(ct=ct, model=model):
                    return built(rng, model.domain, ct.core.dtype, scale)[:2]

                before = bits(ct)
                if rng.random() < 0.3:
                    with stopping(rng):
                        operation(np.random.default_rng(0), ct, model, other)
                result, model = operation(rng, ct, model, other)
                assert bits(ct) == before, "an operand has changed"
                ct = result
                if not 1e-200 < model.size < 1e200 or np.prod(ct.n) > 20000:
                    break
                check(rng, ct, model)
        except Exception as error:
            error.add_note(" -> ".join(done))
            raise


def attack_tucker(rng, backend):
    d = int(rng.integers(1, 5))
    shape = [int(m) for m in rng.choice([1, 2, 3, 7, 12, 30] if d < 3 else [1, 2, 5, 11], d)]
    shape[rng.integers(d)] *= int(rng.choice([1, 1, 9 if d < 3 else 4]))
    decay = sum(np.ix_(*[np.arange(m) for m in shape])) * rng.uniform(0, 1)
    C, unit = rng.standard_normal(shape) * np.exp(-decay), 2.0 ** rng.integers(-1000, 1000)
    dtype = np.float32 if abs(np.log2(unit)) < 100 and rng.random() < 0.5 else np.float64
    C = C.astype(dtype)
    eps, method = float(np.finfo(dtype).eps), str(rng.choice(["sthosvd", "hooi", "rsvd"]))
    ranks, backend = [int(rng.integers(1, m + 1)) for m in shape], str(rng.choice([backend, "array"]))
    tol = 10 ** rng.uniform(np.log10(8 * eps), -0.1)
    for request in ({"tol": tol}, {"rank": ranks}, {"tol": tol, "rank": ranks}):
        result = qf.cheb.tucker(C * dtype(unit), method=method, backend=backend, **request)
        error = np.linalg.norm(C - full(result.core / dtype(unit), result.factors)) / np.linalg.norm(C.astype(float))
        for U in result.factors:
            assert np.abs(U.T @ U - np.eye(U.shape[1])).max() <= 200 * eps, "orthonormal"
        best = np.sqrt(tails(C.astype(float), result.core.shape)) / np.linalg.norm(C.astype(float))
        limit = tol if "rank" not in request else best + 0.1 * request.get("tol", 0)  # bases have an error of up to a tenth of tol
        assert error <= (limit if method != "rsvd" else 2 * limit) + 50 * eps, f"{request} {shape} {method}: {error:.2e} for {limit:.2e}"
        assert "rank" not in request or all(r <= m for r, m in zip(result.core.shape, ranks))


def attack_orthopoly(rng, backend):
    """Check that bases are orthonormal over any samples, and that a unit that is a power of two changes no bit."""
    N, degree = int(rng.choice([1, 2, 5, 30, 300])), int(rng.integers(0, 7))
    kinds = [rng.standard_normal(N), rng.exponential(size=N), rng.integers(0, 12, N) / 4, np.full(N, 3.0) + 1e-6 * rng.random(N)]
    x = kinds[rng.integers(4)]
    degree = min(degree, np.unique(x).size - 1)
    unit = 2.0 ** rng.integers(-990, 990)
    plain, basis = qf.cheb.orthopoly.from_samples(x, degree), qf.cheb.orthopoly.from_samples(x * unit, degree)
    P = basis(x * unit)
    assert np.array_equal(P, plain(x)), "units"
    nudged = plain(np.nextafter(x, np.inf))  # for samples that nearly coincide: the effect of rounding each one
    limit = 1e-6 + 100 * np.abs(nudged.T @ nudged - P.T @ P).max() / N
    assert np.abs(P.T @ P / N - np.eye(degree + 1)).max() <= limit, "orthonormal"
    again = pickle.loads(pickle.dumps(basis))
    assert np.array_equal(again(x * unit), P)
    points, weights = qf.cheb.orthopoly.optimal_samples(basis, degree + 3, method="volume", rng=1)
    expected = qf.cheb.orthopoly.optimal_samples(plain, degree + 3, method="volume", rng=1)
    assert np.array_equal(points, expected[0] * unit)
    assert np.array_equal(weights, expected[1])


def attack_charges(rng, backend):
    """Compare both parts of a potential with the direct sum, for lengths and charges in any unit."""
    dtype = np.float32 if rng.random() < 0.4 else np.float64
    exponent, tol = (50, 1e-4) if dtype == np.float32 else (480, 10 ** rng.uniform(-10, -3))
    L, unit = 2.0 ** rng.integers(-exponent, exponent), 2.0 ** rng.integers(-exponent, exponent)
    unit = unit if abs(np.log2(unit / L)) < exponent else L
    P, lo, width = int(rng.choice([1, 3, 40, 300])), rng.uniform(-2, 1, 3), 10 ** rng.uniform(-1, 1, 3)
    lo = lo * width
    X = rng.uniform(lo, lo + width, (P, 3)).astype(dtype)
    q, at = rng.uniform(0.5, 1.5, P).astype(dtype), np.concatenate([rng.uniform(lo, lo + width, (10, 3)).astype(dtype), X[:3]])
    domain = [((a - 0.01 * w) * L, (a + 1.01 * w) * L) for a, w in zip(lo, width)]
    expected, gradient = oracle.direct(X.astype(float), q.astype(float), at.astype(float))
    with qf.use_backend(backend):
        arrays = X * dtype(L), q * dtype(unit), at * dtype(L)
        V = qf.cheb.potential(*arrays[:2], n=tuple(int(m) for m in rng.integers(1, 25, 3)), domain=domain, tol=tol)
        short, (long, slope) = qf.cheb.short_range(*arrays, sog=V.sog), V.value_and_grad(arrays[2])
        dX, dq, dat = qf.cheb.short_range_vjp(*arrays, np.ones(len(at), dtype), sog=V.sog)
    total, allowed = (long.astype(float) + short) * (L / unit), 4 * tol + 1e3 * np.finfo(dtype).eps
    off = np.linalg.norm(total - expected)
    size = np.linalg.norm(expected) + np.linalg.norm(long * (L / unit))
    assert off <= allowed * size, f"{dtype.__name__} L={L:.1e} q={unit:.1e}: {off:.2e}"
    slopes = [(a.astype(float) * L) * (L / unit) for a in (slope, dat, dX)]
    size = sum(np.linalg.norm(a) for a in slopes)
    assert np.linalg.norm(slopes[0] + slopes[1] - gradient) <= 20 * allowed * size, "slopes"
    assert np.linalg.norm(slopes[1].sum(axis=0) + slopes[2].sum(axis=0)) <= allowed * size, "all moved together"
    assert abs(dq.astype(float) * L @ q - short.sum() * (L / unit)) <= allowed * np.abs(dq * L).sum(), "all charges multiplied"


ATTACKS = [attack_program, attack_tucker, attack_orthopoly, attack_charges]
