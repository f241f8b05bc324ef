import math

import numpy as np

import quatrefoil as qf
from case import Case
from kron.dense import EPS, near


def _wishart(rng, n, shift):
    """Symmetric matrices with eigenvalues from ``shift`` to about ``shift`` + 4."""
    a = rng.standard_normal((n, n)) / max(n, 1) ** 0.5
    return a @ a.T + shift * np.eye(n)


def _indefinite(rng, n):
    """Symmetric matrices with eigenvalues of both signs in [-1, 1]."""
    a = rng.standard_normal((n, n))
    return (a + a.T) / (6 * max(n, 1) ** 0.5)


def _matrices(rng, M, N, kind):
    """K1, K2, S1, S2 whose sum is positive definite with a small condition number."""
    S = [_wishart(rng, n, 1.5) for n in (M, N)]
    if kind == "identity":  # repeated eigenvalues
        return [np.eye(M), 2 * np.eye(N), *S]
    if kind == "multitask":
        return [_wishart(rng, M, 0), _wishart(rng, N, 0), S[0], np.eye(N)]
    if kind == "low-rank":
        a, b = rng.standard_normal((M, 1)), rng.standard_normal((N, 1))
        return [a @ a.T / M, b @ b.T / N, *S]
    return [(_indefinite if kind == "indefinite" else lambda rng, n: _wishart(rng, n, 0.2))(rng, n) for n in (M, N)] + S


def _sum(name, M, N, batch=(), kind="positive"):
    def solve(rng):
        return [*_matrices(rng, M, N, kind), rng.standard_normal((*batch, M, N))], {}

    def logdet(rng):
        return _matrices(rng, M, N, kind), {}

    def symmetric(arguments):
        return [*((a + a.mT) / 2 for a in arguments[:4]), *arguments[4:]]

    cases = [Case("sum_solve", name, solve, valid=symmetric)]
    return cases if batch else [*cases, Case("sum_logdet", name, logdet, valid=symmetric)]


def _sylvester(name, M, N, batch=(), kind="general"):
    """Matrices A and B with well separated spectra of A and -B."""

    def make(rng):
        if kind == "symmetric":
            A, B = _wishart(rng, M, 0.5), _wishart(rng, N, 0.5)
        elif kind == "rotations":  # only pairs of complex eigenvalues
            A, B = (np.kron(np.eye(n // 2), np.array([[1.0, 3.0], [-3.0, 1.0]])) for n in (M, N))
        elif kind == "mixed":
            A, B = _wishart(rng, M, 0.5), rng.standard_normal((N, N)) / (2 * max(N, 1) ** 0.5) + 1.5 * np.eye(N)
        else:
            A, B = (rng.standard_normal((n, n)) / (2 * max(n, 1) ** 0.5) + 1.5 * np.eye(n) for n in (M, N))
        return [A, B, rng.standard_normal((*batch, M, N))], {}

    return [Case("sylvester_solve", name, make, longest=257)]  # an axis of 1024 takes 1.4 s per call, and there are a dozen random calls


CASES = [
    *_sum("one-number", 1, 1),
    *_sum("one-row", 1, 7),
    *_sum("one-column", 6, 1),
    *_sum("odd", 5, 3),
    *_sum("prime", 13, 7),
    *_sum("wide", 2, 31),
    *_sum("long", 40, 33),
    *_sum("indefinite", 6, 5, kind="indefinite"),
    *_sum("identity", 4, 3, kind="identity"),
    *_sum("multitask", 3, 9, kind="multitask"),
    *_sum("low-rank", 5, 6, kind="low-rank"),
    *_sum("stacked", 4, 3, (5,)),
    *_sum("stacked-twice", 3, 4, (2, 3)),
    *_sum("empty-batch", 3, 4, (0,)),
    *_sum("no-rows", 0, 3),
    *_sum("no-columns", 3, 0),
    *_sylvester("one-number", 1, 1),
    *_sylvester("one-row", 1, 7),
    *_sylvester("one-column", 6, 1),
    *_sylvester("small", 3, 4),
    *_sylvester("prime", 13, 7),
    *_sylvester("long", 40, 33),
    *_sylvester("long-symmetric", 101, 2, kind="symmetric"),
    *_sylvester("symmetric", 6, 5, kind="symmetric"),
    *_sylvester("mixed", 5, 6, kind="mixed"),
    *_sylvester("rotations", 4, 6, kind="rotations"),
    *_sylvester("batch", 4, 3, (2, 2)),
    *_sylvester("symmetric-batch", 4, 3, (5,), kind="symmetric"),
    *_sylvester("empty-batch", 3, 4, (0, 2)),
    *_sylvester("no-rows", 0, 3),
    *_sylvester("no-columns", 3, 0),
]
ROWS = {"sum_solve": "..1", "sylvester_solve": "..1"}


def _drawn(make, kinds):
    def draw(rng):
        M, N = (int(rng.choice([1, 2, 3, 5, 8, 13, 17])) for _ in range(2))
        return make("drawn", M, N, tuple(rng.choice([0, 1, 2, 3], rng.integers(0, 3))), str(rng.choice(kinds)))

    return draw


KINDS = ("positive", "indefinite", "identity", "multitask", "low-rank")
# matrices of other sizes repeat the case's entries, and are singular
DRAWN = {
    "sum_solve": lambda rng: _drawn(_sum, KINDS)(rng)[0],
    "sum_logdet": lambda rng: _sum("drawn", *map(int, rng.integers(1, 18, 2)), (), str(rng.choice(KINDS)))[1],
    "sylvester_solve": lambda rng: _drawn(_sylvester, ("general", "symmetric", "mixed"))(rng)[0],
}


def attack_two_terms(rng, backend):
    """Compare two terms and Sylvester's equation with the oracle in any units."""
    backend = str(rng.choice([backend, "array"]))
    M, N = (int(n) for n in rng.integers(1, 8, 2))
    first, second = 10.0 ** rng.uniform(-150, 150, 2)
    K1, S1 = (a @ a.T + np.eye(M) for a in rng.standard_normal((2, M, M)))
    K2, S2 = (a @ a.T + np.eye(N) for a in rng.standard_normal((2, N, N)))
    B, whole = rng.standard_normal((M, N)), np.kron(K1, K2) + np.kron(S1, S2)
    X = qf.kron.sum_solve(K1 * first, K2 * second, S1 * first, S2 * second, B * first, backend=backend)
    near(X * second, np.linalg.solve(whole, B.reshape(-1)).reshape(M, N), 1e3 * EPS * np.linalg.cond(whole), "two terms")
    logdet = qf.kron.sum_logdet(K1 * first, K2 * second, S1 * first, S2 * second, backend=backend)
    near(logdet, np.linalg.slogdet(whole)[1] + M * N * (math.log(first) + math.log(second)), 1e-12, "logdet", M * N * 100)
    A, D = rng.standard_normal((M, M)) + 4 * np.eye(M), rng.standard_normal((N, N)) + 4 * np.eye(N)
    if rng.random() < 0.5:
        A, D = A @ A.T, D @ D.T
    whole = np.kron(A, np.eye(N)) + np.kron(np.eye(M), D.T)
    unit, height = 10.0 ** rng.uniform(-300, 300, 2)
    X = qf.kron.sylvester_solve(A * unit, D * unit, B * unit, backend=backend)
    tolerance = 1e3 * EPS * np.linalg.cond(whole)
    expected = np.linalg.solve(whole, B.reshape(-1)).reshape(M, N)
    near(X, expected, tolerance, "Sylvester's equation")
    near(qf.kron.sylvester_solve(A, D, B * height, backend=backend) / height, expected, tolerance, "Sylvester's right-hand side")
    gradients = qf.kron.sylvester_solve_vjp(A * unit, D * unit, B * unit, B * unit, backend=backend)
    for got, plain in zip(gradients, qf.kron.sylvester_solve_vjp(A, D, B, B, backend=backend), strict=True):
        near(got, plain, 10 * tolerance, "Sylvester's gradients")


ATTACKS = [attack_two_terms]
