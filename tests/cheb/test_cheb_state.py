"""State of a ChebTucker between calls and in files, its plans, and its behaviour with PyTorch tensors."""

import copy
import pickle

import numpy as np
import pytest

import quatrefoil as qf
from cheb.scattered.cases import random_tensor
from checks import check_rejected
from quatrefoil._backends import native
from quatrefoil._call import call
from quatrefoil._memo import Memo
from quatrefoil.cheb.scattered import TUCKER_EVAL

SIZES, RANKS = (9, 6, 7), (4, 3, 5)


def frozen(rng, dtype=np.float64):
    core, factors = random_tensor(rng, SIZES, RANKS, dtype)
    for a in (core, *factors):
        a.flags.writeable = False
    return core, factors


def points(rng, dtype=np.float64):
    return rng.uniform(-1, 1, (300, 3)).astype(dtype)


def memo_of(ct):
    return ct._extras[0]._now[1]


needs_native = pytest.mark.skipif(native.reason() is not None, reason="no compiled kernels")


@needs_native
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_packed_once_and_no_bit_changes(rng, dtype):
    core, factors = frozen(rng, dtype)
    ct, X = qf.cheb.ChebTucker(core, factors), points(rng, dtype)
    with qf.use_backend("numba"):
        ct(X)
    assert memo_of(ct) is None
    with qf.use_backend("native"):
        expected = qf.cheb.tucker_eval(core, factors, X)
        np.testing.assert_array_equal(ct(X), expected)
        first = memo_of(ct)
        assert first is not None
        np.testing.assert_array_equal(ct(X, num_threads=2), expected)
        assert memo_of(ct) is first
    with pytest.raises(ValueError, match=r"X\[0, 1\] is nan"):
        ct(np.full((1, 3), [0, np.nan, 0], dtype))
    assert ct(X[:0]).shape == (0,)


def test_arrays_are_read_only_for_good(backend, rng, tmp_path):
    """If an owner could unlock an array, change it and lock it again, the array would look unchanged and its packed copy be outdated."""
    C = rng.standard_normal((5, 4))
    ChebTucker = qf.cheb.ChebTucker
    tensors = [t := ChebTucker.from_coeffs(C), ChebTucker.from_values(C), ChebTucker.from_cp(np.ones(2), [*rng.standard_normal((2, 5, 2))])]
    tensors += [ChebTucker.fit(rng.uniform(-1, 1, (40, 2)), np.ones(40), n=3), ChebTucker.from_function(lambda x, y: x * y, [(-1, 1)] * 2)]
    t.save(tmp_path / "tensor")
    tensors += [ChebTucker.load(tmp_path / "tensor"), copy.copy(t), copy.deepcopy(t), pickle.loads(pickle.dumps(t)), t.diff(0), t + 1]
    tensors.append(qf.cheb.potential(rng.uniform(-1, 1, (9, 3)), np.ones(9), n=9, domain=(-1, 1), tol=1e-3))
    tensors.append(pickle.loads(pickle.dumps(tensors[-1])))
    for ct in tensors:
        ct(np.full((1, len(ct.n)), 0.5))
        assert (memo_of(ct) is None) == (backend != "native")
        for a in (ct.core, *ct.factors):
            with pytest.raises(ValueError, match="read-only"):
                a *= 2
            with pytest.raises(ValueError, match="cannot set WRITEABLE flag"):
                a.flags.writeable = True
            with pytest.raises(ValueError, match="cannot set WRITEABLE flag"):
                a[...].flags.writeable = True


def test_another_array_in_its_place_is_read_anew(backend, rng):
    """Even a read-only array is read every time, because its owner may unlock it."""
    ct, X = qf.cheb.ChebTucker(*frozen(rng)), points(rng)
    ct(X)
    ct.core = core = frozen(rng)[0]
    np.testing.assert_array_equal(ct(X), qf.cheb.tucker_eval(core, ct.factors, X))
    core.flags.writeable = True
    core *= 2
    core.flags.writeable = False
    np.testing.assert_array_equal(ct(X), qf.cheb.tucker_eval(core, ct.factors, X))


@needs_native
def test_an_interrupt_while_packing(rng):
    ct, X = qf.cheb.ChebTucker(*random_tensor(rng, (24, 24, 24), (24, 24, 24))), points(rng)
    plan = ct.plan(1e-6)
    assert plan.method == "grid"
    with qf.use_backend("native"):
        expected = qf.cheb.tucker_eval(ct.core, ct.factors, X)
        for one, memo in ((ct, ct._extras[0]), (plan, plan._memo[0])):
            make = memo._make

            def stop(*arrays):
                raise KeyboardInterrupt

            memo._make = stop
            for _ in range(2):
                with pytest.raises(KeyboardInterrupt):
                    one(X)
            memo._make = make
            np.testing.assert_allclose(one(X), expected, atol=1e-5 * np.abs(expected).max())


def test_a_basis_is_read_only_for_good(rng):
    x = rng.standard_normal(30)
    basis = qf.cheb.orthopoly.from_samples(x, 3)
    expected, x[...] = basis(x), 0
    assert basis.samples.any()
    for one in (basis, copy.deepcopy(basis), pickle.loads(pickle.dumps(basis))):
        np.testing.assert_array_equal(one(basis.samples), expected)
        for a in (one.a, one.b, one.samples):
            with pytest.raises(ValueError, match="cannot set WRITEABLE flag"):
                a.flags.writeable = True


@needs_native
def test_foreign_memos_are_rejected(rng):
    core, factors = frozen(rng)
    X = points(rng)
    single = native.core().cheb.Packed(core.astype(np.float32), [U.astype(np.float32) for U in factors])
    for foreign, text in (("packed", "packed is str"), (single, "packed was built from a core of a different dtype")):
        memo = Memo(foreign, "native", (core, *factors))
        with pytest.raises(TypeError, match=rf"cheb\.tucker_eval: {text}"):
            call(TUCKER_EVAL, (core, *factors, X), ((-1.0, 1.0) * 3,), (memo,), None, "native")


@pytest.mark.torch
def test_a_tensor_that_changed_is_read_anew(backend, rng):
    torch = pytest.importorskip("torch")
    core, factors = frozen(rng)
    X, ct = points(rng), qf.cheb.ChebTucker(torch.tensor(core), [torch.tensor(U) for U in factors])
    np.testing.assert_array_equal(ct(torch.tensor(X)).numpy(), qf.cheb.tucker_eval(core, factors, X))
    ct.core.mul_(2)
    np.testing.assert_array_equal(ct(torch.tensor(X)).numpy(), qf.cheb.tucker_eval(2 * core, factors, X))


def test_files(rng, tmp_path):
    core, factors = random_tensor(rng, (6, 3), (4, 2))
    ct = qf.cheb.ChebTucker(core, factors, domain=(0, 1))
    for name in ("plain", "with.suffix.npz"):
        ct.save(tmp_path / name)
        again = qf.cheb.ChebTucker.load(str(tmp_path / name))
        assert repr(again) == "ChebTucker(n=(6, 3), rank=(4, 2), domain=((0.0, 1.0), (0.0, 1.0)), float64)"
    np.savez(tmp_path / "other.npz", x=core)
    with pytest.raises(ValueError, match=r"contains \['x'\]"):
        qf.cheb.ChebTucker.load(tmp_path / "other.npz")


@pytest.mark.torch
def test_tensors_keep_their_graph(rng):
    torch = pytest.importorskip("torch")
    core, factors = random_tensor(rng, (6, 3, 4), (4, 2, 3))
    leaves = [torch.tensor(a, requires_grad=True) for a in (core, *factors)]
    ct = qf.cheb.ChebTucker(leaves[0], leaves[1:])
    x = [torch.tensor(rng.uniform(-1, 1, m)) for m in (5, 2, 3)]
    assert torch.autograd.gradcheck(lambda c, *U: qf.cheb.ChebTucker(c, U).grid(*x), leaves)
    assert torch.autograd.gradcheck(lambda V: qf.cheb.vals2coeffs(V), leaves[0])
    assert torch.autograd.gradcheck(lambda c, *U: qf.cheb.ChebTucker(c, U).to_full(), leaves)
    calls = [lambda: qf.cheb.tucker(leaves[0], tol=1e-3), lambda: qf.cheb.tucker(leaves[0], rank=2), lambda: ct.round(0.1)]
    calls += [lambda: qf.cheb.ChebTucker.from_values(leaves[0]), lambda: ct.grid(x[0].requires_grad_(), *x[1:])]
    check_rejected([(call, NotImplementedError, "no gradient") for call in calls])
    assert isinstance(qf.cheb.ChebTucker.from_values(torch.tensor(core)).core, torch.Tensor)
    with pytest.raises(TypeError, match="expected a torch array of float64, like core"):
        ct.grid(*[np.zeros(2)] * 3)
    with pytest.raises(TypeError, match="torch"):
        qf.cheb.ChebTucker(torch.tensor(core), factors)


DOMAIN = ((100.0, 100.5), (-3.0, 1.0), (0.0, 7.0))


def dense(rng, dtype=np.float64, domain=DOMAIN, n=(33, 24, 32), r=(33, 24, 24)):
    """A tensor with ranks so high that a plan is faster."""
    core, factors = random_tensor(rng, n, r, dtype, decay=1.0)
    ct = qf.cheb.ChebTucker(core, factors, domain=domain)
    lo, hi = np.array(domain).T
    X = lo + (hi - lo) * rng.random((3000, len(n)))
    X[:10], X[10:20] = lo, hi
    return ct, np.clip(X.astype(dtype), lo.astype(dtype), hi.astype(dtype))


def test_error(backend, rng):
    ct, X = dense(rng)
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
    ct, X = dense(rng, np.float32, domain=((-1, 1),) * 3)
    expected = ct(X)
    got = ct.plan(1e-4)(X)
    assert got.dtype == np.float32
    assert np.linalg.norm(got - expected) <= 1e-4 * np.linalg.norm(expected)
    assert ct.plan(1e-6).method == "contraction"


def test_where_a_plan_does_not_pay_it_is_the_tensor(backend, rng):
    small, X = dense(rng, n=(9, 8, 7), r=(3, 2, 4))
    large, _ = dense(rng)
    for ct, eps in ((small, 1e-3), (large, 1e-13)):
        plan = ct.plan(eps)
        assert plan.method == "contraction"
        np.testing.assert_array_equal(plan(X), ct(X))
    core, factors = random_tensor(rng, (9, 9, 9, 9), (9, 9, 9, 9))
    assert qf.cheb.ChebTucker(core, factors).plan(1e-3).method == "contraction"


def test_bad_input(rng):
    ct, X = dense(rng)
    plan, beyond = ct.plan(1e-4), X[:9].copy()
    beyond[5, 1] = 1.1
    bad = [(lambda eps=eps: ct.plan(eps), ValueError, "eps is") for eps in (0, 1.0, np.nan)]
    bad += [(lambda: ct.plan("1"), TypeError, "eps is"), (lambda: plan(X[:, :2]), ValueError, "X has shape")]
    bad += [(lambda: plan(beyond), ValueError, r"X\[5, 1\] is 1.1.*, expected a number within the domain \[-3, 1\] of axis 1")]
    check_rejected(bad)


@needs_native
def test_the_grid_is_made_once(rng, monkeypatch):
    calls = []
    ct, X = dense(rng)
    grid = qf.cheb.models.plan._grid
    monkeypatch.setattr(qf.cheb.models.plan, "_grid", lambda *a: calls.append(1) or grid(*a))
    plan = ct.plan(1e-5)
    for _ in range(3):
        plan(X, backend="native")
    assert calls == [1]


@pytest.mark.torch
def test_gradients(backend, rng):
    torch = pytest.importorskip("torch")
    ct, X = dense(rng)
    arrays = [torch.tensor(a, requires_grad=True) for a in (ct.core, *ct.factors, X[:300])]
    ct = qf.cheb.ChebTucker(arrays[0], arrays[1:4], domain=DOMAIN)
    weights = torch.tensor(rng.standard_normal(300))
    got = torch.autograd.grad(ct.plan(1e-10)(arrays[4]), arrays, weights)
    for g, e in zip(got, torch.autograd.grad(ct(arrays[4]), arrays, weights)):
        torch.testing.assert_close(g, e, rtol=0, atol=1e-8 * float(e.abs().max()))
