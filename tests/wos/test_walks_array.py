"""Random walks by backend "array" in domains that the cases of the ops do not come into, where kernels take bounds of distances, and what
they ask of a user's functions and of a device."""

import itertools
import os

import numpy as np
import pytest

import quatrefoil as qf
from children import run_python
from quatrefoil import _array_tools, _backends, wos
from quatrefoil.wos.walk import composition_paths, composition_philox
from wos.domains import DOMAINS, ON_HOST, arrays_of, problem
from wos.ops import walk


def compare(seed):
    """Every problem, walk by walk, values and gradients: a walk's decisions are turned by rounding once in 1e9."""
    cases = [*zip(DOMAINS, itertools.cycle(({}, {"gradient": True}))), ("half discs", {"cache": "harmonic"})]
    for name, more in cases:
        if name in ON_HOST:
            continue
        rng = np.random.default_rng(seed)
        boundary, X, options = problem(name, rng)
        options |= {"rng": int(rng.integers(2**31)), **more}
        runs = [wos.solve(boundary, X, **options, backend=backend) for backend in ("array", "numba")]
        got, expected = ([r.value, r.stderr, r.grad, r.state.counts] for r in runs)
        if "cache" not in options and not any(isinstance(given, list) for given in options.values()):
            grad = rng.standard_normal(runs[0].value.shape)
            both = zip((got, expected), ("array", "numba"))
            got, expected = ([*of, wos.solve_vjp(boundary, X, grad, **options, backend=b)] for of, b in both)
        for g, e in zip(arrays_of(got), arrays_of(expected), strict=True):
            np.testing.assert_allclose(g, e, rtol=1e-9, atol=1e-9 * np.nanmax(np.abs(e), initial=0), err_msg=name)


@pytest.mark.skipif(_backends.reason("numba") is not None, reason="numba is missing")
def test_walk_by_walk(rng):
    """Against the plain loops, which know distances as exactly. Not compiled: that would take longer than so few walks."""
    seed = int(rng.integers(2**31))
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    places = os.pathsep.join([here, os.path.dirname(os.path.dirname(qf.__file__)), os.environ.get("PYTHONPATH", "")])
    run = f"import warnings; warnings.simplefilter('ignore'); from wos import test_walks_array as t; t.compare({seed})"
    run_python(run, NUMBA_DISABLE_JIT=1, PYTHONPATH=places)


def test_words():
    """Philox4x32-10 by halves of words: the known answers."""
    full = 2**32 - 1
    for counter, key, answer in (
        ((0, 0, 0, 0), 0, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((full,) * 4, 2**64 - 1, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    ):
        c0, *rest = counter
        lanes = composition_philox.Lanes(*(np.array([c], np.int64) for c in rest), key - 2**64 if key >= 2**63 else key)
        assert tuple(int(w[0]) for w in lanes.words(np, c0)[0]) == answer


def test_a_device_is_asked_rarely(monkeypatch):
    """Once before the walks, and every 32 steps."""
    asked = []
    is_any = _array_tools.is_any
    monkeypatch.setattr(_array_tools, "is_any", lambda xp, flags: asked.append(1) or is_any(xp, flags))
    start, frame = np.full((1, 3, 2), 0.3), np.array([[0.0, 0.0, 1.0, 1e-3]])
    _, _, counts = walk(start, frame, None, None, np.ones((1, 1)), walks=64, max_steps=100, seed=1, backend="array")
    assert 100 >= counts[0, :, 0].max() / 64 > 5
    assert len(asked) <= 1 + 1 + 100 // composition_paths.LOOK


def test_compiled_functions():
    numba = pytest.importorskip("numba")
    compiled = numba.njit(lambda X: X[:, 0])
    with pytest.raises(
        TypeError, match=r"wos.walk: backend 'array' calls functions of arrays, .* compiled by Numba; give the Python function"
    ):
        wos.solve(wos.Ball([0.0, 0.0], 1.0), np.zeros((1, 2)), dirichlet=compiled, backend="array")
    with pytest.raises(NotImplementedError, match="backend 'array' calls no compiled function of distances"):
        wos.solve(wos.SDF(lambda X: np.hypot(*X.T) - 1, box=((-1.1, -1.1), (1.1, 1.1))), np.zeros((1, 2)), dirichlet=1.0, backend="array")


@pytest.mark.torch
def test_functions_of_tensors(rng):
    """They get what the walks are made of."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("array_api_compat")
    seen = []

    def f(instance, X):
        seen.append(type(X))
        return X[:, 0] + instance

    start, frame = rng.uniform(-0.5, 0.5, (2, 3, 2)), np.array([[0.0, 0.0, 1.0, 1e-2], [1.0, 0.0, 2.0, 1e-2]])
    options = {"dirichlet_kind": "function", "source_kind": "function", "g": f, "f": f, "walks": 8, "seed": 3}
    expected = walk(start, frame, **options, backend="array")
    assert set(seen) == {np.ndarray}
    seen.clear()
    got = walk(torch.from_numpy(start), torch.from_numpy(frame), **options, backend="array")
    assert set(seen) == {torch.Tensor}
    for g, e in zip(got, expected):
        np.testing.assert_allclose(g.numpy(), e, rtol=1e-12, atol=1e-12)
