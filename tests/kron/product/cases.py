import functools
import math

import numpy as np

import quatrefoil as qf
from case import Case


def _product(shapes, batch=(), transpose=False):
    def make(rng):
        size = math.prod(s[0 if transpose else 1] for s in shapes)
        keywords = {"transpose": True} if transpose else {}
        return [[rng.standard_normal(s) for s in shapes], rng.standard_normal((*batch, size))], keywords

    return make


def _case(name, shapes, batch=(), **options):
    shapes = [(s, s) if isinstance(s, int) else s for s in shapes]
    return Case("matvec", name, _product(shapes, batch, **options))


# If one sum determines many entries of the result, the batch is long, so that the largest of 40 sums does not come from cancellation.
CASES = [
    *[_case(f"one-{n}", [n], (3,)) for n in (1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 33, 64, 67)],
    *[
        _case(f"two-{m}x{n}", [m, n], (2,))
        for m, n in ((1, 5), (5, 1), (2, 3), (4, 4), (3, 29), (29, 3), (8, 8), (16, 16), (23, 37), (64, 32))
    ],
    _case("three", [5, 7, 16]),
    _case("three-odd", [13, 11, 9], (3,)),
    _case("four", [8, 8, 8, 8]),
    _case("four-tiny", [4, 2, 4, 3], (2, 2)),
    _case("five-tiny", [2, 3, 2, 5, 2], (3,)),
    _case("five-ones", [1, 1, 6, 1, 1], (2,)),
    _case("rows-and-columns", [(9, 1), (1, 9)], (40,)),
    _case("columns-and-rows", [(1, 12), (12, 1)], (40,)),
    _case("shrinks", [(2, 9), (3, 11)], (4,)),
    _case("grows", [(17, 3), (9, 2)], (4,)),
    _case("shrinks-and-grows", [(3, 8), (6, 6), (11, 2)], (2,)),
    _case("grows-and-shrinks", [(20, 3), (4, 4), (2, 19)], (2,)),
    _case("to-a-number", [(1, 6), (1, 7)], (40,)),
    _case("transposed", [(3, 8), (6, 6), (11, 2)], (2,), transpose=True),
    _case("transposed-square", [8, 12, 5], transpose=True),
    _case("long-sum", [(5, 300), (2, 3)]),
    _case("long-last-sum", [(2, 3), (5, 300)], (2,)),
    _case("empty-batch", [4, 5], (0,)),
    _case("empty-inner-batch", [4, 5], (2, 0, 3)),
    _case("no-columns", [(3, 0), (2, 4)], (2,)),
    _case("no-rows", [(0, 3), (2, 4)], (2,)),
    _case("no-rows-transposed", [(0, 3), (2, 4)], (2,), transpose=True),
    _case("one-vector", [6, 5, 4]),
]
ROWS = {"matvec": "..1"}


def attack_operator(rng, backend):
    """Compare every method of an operator with its dense matrix."""
    sizes = [int(n) for n in rng.choice([1, 2, 3, 5, 8], rng.integers(1, 4))]
    roots = [rng.standard_normal((n, n + 2)) for n in sizes]
    factors, precision = [a @ a.T + 0.1 * np.eye(len(a)) for a in roots], rng.choice(["float64", "float32"])
    factors = [f.astype(precision) for f in factors]
    K, noise = qf.kron.KroneckerOperator(factors, backend=backend), float(rng.choice([0, 0.3]))
    dense = functools.reduce(np.kron, [f.astype(float) for f in factors])
    X = rng.standard_normal((len(dense), int(rng.integers(0, 4)))).astype(precision)
    noisy = dense + noise * np.eye(len(dense))
    eps = 1e3 * np.finfo(precision).eps

    def near(got, expected, condition=1.0, what=""):
        got = np.asarray(got)
        assert got.shape == expected.shape, what
        assert np.abs(got - expected).max(initial=0) <= eps * condition * max(np.abs(expected).max(initial=0), 1), what

    near(K.to_dense(), dense, what="to_dense")
    near(K @ X, dense @ X, len(dense), "K @ X")
    near(X.T @ K, X.T @ dense, len(dense), "X @ K")
    near(K.diagonal(), np.diag(dense), what="diagonal")
    if X.shape[1]:
        near(K @ X[:, 0], dense @ X[:, 0], len(dense), "K @ x")
        near(K.T @ X[::-1, 0], dense.T @ X[::-1, 0], len(dense), "K.T @ x")
        near(K.solve(X[:, 0], noise), np.linalg.solve(noisy, X[:, 0]), np.linalg.cond(noisy), "solve")
    near(K.logdet(noise), np.asarray(np.linalg.slogdet(noisy)[1]), np.linalg.cond(noisy), "logdet")


ATTACKS = [attack_operator]
