"""Plans: as exact as they say, for any domain, with the gradients of the tensor."""

import copy
import pickle

import numpy as np
import pytest

import quatrefoil as qf
from cheb.scattered.cases import random_tensor
from checks import check_refused
from quatrefoil._backends import native

needs_native = pytest.mark.skipif(native.reason() is not None, reason="the compiled part is missing")
DOMAIN = ((100.0, 100.5), (-3.0, 1.0), (0.0, 7.0))


def tensor(rng, dtype=np.float64, domain=DOMAIN, n=(33, 24, 32), r=(33, 24, 24)):
    """Of ranks so high that a plan pays."""
    core, factors = random_tensor(rng, n, r, dtype, decay=1.0)
    ct = qf.cheb.ChebTucker(core, factors, domain=domain)
    lo, hi = np.array(domain).T
    X = lo + (hi - lo) * rng.random((3000, len(n)))
    X[:10], X[10:20] = lo, hi
    return ct, np.clip(X.astype(dtype), lo.astype(dtype), hi.astype(dtype))


def test_error(backend, rng):
    ct, X = tensor(rng)
    for eps in [1e-3, 1e-6, 1e-10]:
        print(eps)
        plan, expected = ct.plan(eps), ct(X)
        assert plan.method == ("grid" if backend == "native" or native.reason() is None else "contraction")
        for _ in range(2):
            assert np.linalg.norm(plan(X) - expected) <= eps * np.linalg.norm(expected)
        if backend == "numba":
            np.testing.assert_array_equal(plan(X), expected)
        np.testing.assert_array_equal(plan(X[7:9]), plan(X)[7:9])
        for again in (copy.copy(plan), copy.deepcopy(plan), pickle.loads(pickle.dumps(plan))):
            assert again.method == plan.method
            np.testing.assert_array_equal(again(X), plan(X))


@needs_native
def test_single_precision(rng):
    ct, X = tensor(rng, np.float32, domain=((-1, 1),) * 3)
    expected = ct(X)
    got = ct.plan(1e-4)(X)
    assert got.dtype == np.float32
    assert np.linalg.norm(got - expected) <= 1e-4 * np.linalg.norm(expected)
    assert ct.plan(1e-6).method == "contraction"


def test_where_a_plan_does_not_pay_it_is_the_tensor(backend, rng):
    small, X = tensor(rng, n=(9, 8, 7), r=(3, 2, 4))
    large, _ = tensor(rng)
    for ct, eps in ((small, 1e-3), (large, 1e-13)):
        plan = ct.plan(eps)
        assert plan.method == "contraction"
        np.testing.assert_array_equal(plan(X), ct(X))
    core, factors = random_tensor(rng, (9, 9, 9, 9), (9, 9, 9, 9))
    assert qf.cheb.ChebTucker(core, factors).plan(1e-3).method == "contraction"


def test_bad_input(rng):
    ct, X = tensor(rng)
    plan, beyond = ct.plan(1e-4), X[:9].copy()
    beyond[5, 1] = 1.1
    bad = [(lambda eps=eps: ct.plan(eps), ValueError, "eps is") for eps in (0, 1.0, np.nan)]
    bad += [(lambda: ct.plan("1"), TypeError, "eps is"), (lambda: plan(X[:, :2]), ValueError, "X has shape")]
    bad += [(lambda: plan(beyond), ValueError, r"X\[5, 1\] is 1.1.*, expected a number within the domain \[-3, 1\] of axis 1")]
    check_refused(bad)


@needs_native
def test_the_grid_is_made_once(rng, monkeypatch):
    made = []
    ct, X = tensor(rng)
    grid = qf.cheb.models.plan._grid
    monkeypatch.setattr(qf.cheb.models.plan, "_grid", lambda *a: made.append(1) or grid(*a))
    plan = ct.plan(1e-5)
    for _ in range(3):
        plan(X, backend="native")
    assert made == [1]


@pytest.mark.torch
def test_gradients(backend, rng):
    torch = pytest.importorskip("torch")
    ct, X = tensor(rng)
    arrays = [torch.tensor(a, requires_grad=True) for a in (ct.core, *ct.factors, X[:300])]
    ct = qf.cheb.ChebTucker(arrays[0], arrays[1:4], domain=DOMAIN)
    weights = torch.tensor(rng.standard_normal(300))
    got = torch.autograd.grad(ct.plan(1e-10)(arrays[4]), arrays, weights)
    for g, e in zip(got, torch.autograd.grad(ct(arrays[4]), arrays, weights)):
        torch.testing.assert_close(g, e, rtol=0, atol=1e-8 * float(e.abs().max()))
