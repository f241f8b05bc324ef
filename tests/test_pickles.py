"""Pickles and copies of every picklable object, in every protocol."""

import copy
import pickle

import numpy as np
import pytest

import quatrefoil as qf

SQUARE, X = np.array([[0, 0], [1, 0], [1, 1], [0, 1.0]]), np.array([[0.5, 0.5], [0.2, 0.7]])
CORE, FACTORS = np.arange(4.0).reshape(2, 2), [np.ones((3, 2)), np.arange(6.0).reshape(3, 2)]


def solve(boundary=None, dirichlet=1.0):
    return qf.wos.solve(qf.wos.Polygon(SQUARE) if boundary is None else boundary, X, dirichlet=dirichlet, walks=4, rng=0).value


# name: (function that creates an object, function that computes values with it)
OBJECTS = {
    "ChebTucker": (lambda: qf.cheb.ChebTucker(CORE, FACTORS, domain=(0, 2)), lambda ct: (ct(X), ct.grid(X[:, 0], X[:, 1]))),
    "KroneckerOperator": (lambda: qf.kron.KroneckerOperator([SQUARE.T @ SQUARE, np.eye(3)]), lambda K: (K @ np.arange(6.0), K.to_dense())),
    "SlimKL": (
        lambda: qf.kron.SlimKL(means=np.arange(4.0), noise=0.1).fit(X, X[:, 0]),
        lambda m: (m.weights_, m.objective_, m.predict(X)),
    ),
    "GPHM": (
        lambda: qf.kron.GPHM(qf.kron.AllenCahn(source=lambda x: x, boundary=1.0), [np.arange(5.0)], components=2).fit(2),
        lambda gp: (*gp.state_dict().values(), gp.value_and_grad()[1]["U"], gp.predict([X[:, 0]])),
    ),
    "Poisson": (lambda: qf.kron.Poisson(source=SQUARE, boundary=SQUARE), lambda pde: (pde.source, pde.boundary)),
    "Polygon": (lambda: qf.wos.Polygon(SQUARE), solve),
    "Polygons": (lambda: qf.wos.Polygon(np.stack([SQUARE, 2 * SQUARE])), solve),
    "Star": (lambda: qf.wos.Star(np.array([0.1, 0.2]), 0.0, segments=40), lambda star: (repr(star), *solve(star))),
    "Ball": (lambda: qf.wos.Ball([0.5, 0.5], 2), solve),
    "Box": (lambda: qf.wos.Box([0, -0.5], [2, 2]), solve),
    "SDF": (lambda: qf.wos.SDF(np.pad(np.full((2, 3), -0.4), 1, constant_values=0.4), ([-1, -1], [3, 3])), solve),
    "Fourier": (lambda: qf.wos.Fourier(np.arange(5.0)), lambda g: (g(X), solve(dirichlet=g))),
    "PerVertex": (lambda: qf.wos.PerVertex(np.arange(4.0)), lambda g: solve(dirichlet=g)),
    "Gaussians": (lambda: qf.wos.Gaussians(np.ones(1), X[:1], 0.5), lambda g: (g(X), solve(dirichlet=g))),
    "Problem": (
        lambda: qf.wos.Problem(qf.wos.Polygon(SQUARE), dirichlet=qf.wos.PerVertex(np.arange(4.0)), neumann=(np.arange(4) < 2, 1.0)),
        lambda p: p.solve(X, walks=4, rng=0).value,
    ),
    "Result": (
        lambda: qf.wos.solve(qf.wos.Polygon(SQUARE), X, dirichlet=qf.wos.Fourier(np.arange(3.0)), source=1.0, walks=4, rng=0),
        lambda r: (r.value, r.stderr, r.n_walks, r.mean_steps, r.resume(4).value),
    ),
    "TuckerTensor": (lambda: qf.cheb.tucker(CORE, tol=1e-3), lambda t: (t.core, *t.factors)),
    "PTD": (lambda: qf.ssm.ptd_init(3, method="random", rng=0), lambda p: (p.Lambda, p.V)),
}  # fmt: skip
WAYS = [lambda x, p=p: pickle.loads(pickle.dumps(x, p)) for p in range(pickle.HIGHEST_PROTOCOL + 1)] + [copy.copy, copy.deepcopy]


def arrays(x):
    return x if isinstance(x, tuple) else (x,)


@pytest.mark.parametrize("name", OBJECTS)
def test_copies_give_the_same_values(name):
    make, compute = OBJECTS[name]
    expected = arrays(compute(make()))
    for i, copied in enumerate(WAYS):
        original = make()
        for _ in range(2):  # before and after it has filled its caches
            print(i)
            duplicate = copied(original)
            assert type(duplicate) is type(original)
            np.testing.assert_equal(arrays(compute(duplicate)), expected)
            compute(original)


@pytest.mark.torch
def test_copies_of_tensors():
    torch = pytest.importorskip("torch")
    x = torch.from_numpy(X)
    ct = qf.cheb.ChebTucker(torch.from_numpy(CORE), list(map(torch.from_numpy, FACTORS)), domain=(0, 2))
    K = qf.kron.KroneckerOperator([x, torch.eye(3, dtype=torch.float64)])
    y = torch.arange(6.0).double()
    for copied in WAYS:
        assert torch.equal(copied(ct)(x), ct(x))
        assert torch.equal(copied(K) @ y, K @ y)
