"""Batches of Kronecker matrices, against one product per item."""

import itertools

import numpy as np
import pytest

import stand_in
from checks import check_refused
from kron.dense import close
from quatrefoil import kron
from quatrefoil.kron.product import batches

LEADS = [  # of two factors and x
    [(3,), (3,), (3,)],
    [(3,), (), ()],
    [(3,), (1,), (4, 3)],
    [(2, 1), (3,), (2, 3)],
    [(2, 3), (2, 3), (5, 2, 3)],
    [(3,), (3,), (1,)],
    [(0,), (), ()],
    [(2,), (2,), (0, 2)],
]
SHAPES = [[(4, 3), (2, 5)], [(3, 4), (5, 5)], [(1, 3), (2, 2)], [(0, 3), (2, 2)], [(2, 0), (2, 2)]]


def loop(factors, x, transpose):
    lead = np.broadcast_shapes(*[f.shape[:-2] for f in factors], x.shape[:-1])
    factors, x = [np.broadcast_to(f, (*lead, *f.shape[-2:])) for f in factors], np.broadcast_to(x, (*lead, x.shape[-1]))
    M = int(np.prod([f.shape[-1 if transpose else -2] for f in factors]))
    out = np.empty((*lead, M))
    for at in np.ndindex(lead):
        dense = np.kron(*[f[at] for f in factors])
        out[at] = (dense.T if transpose else dense) @ x[at]
    return out


@pytest.mark.parametrize("leads", LEADS)
@pytest.mark.parametrize("small", [0, batches._SMALL])
def test_products(rng, monkeypatch, leads, small):
    monkeypatch.setattr(batches, "_SMALL", small)
    for shapes, transpose in itertools.product(SHAPES, (False, True)):
        factors = [rng.standard_normal((*lead, *shape)) for lead, shape in zip(leads, shapes)]
        x = rng.standard_normal((*leads[2], int(np.prod([m if transpose else n for m, n in shapes]))))
        for dtype in (np.float64, np.float32):
            given = [a.astype(dtype) for a in (*factors, x)]
            got = kron.matvec(given[:2], given[2], transpose=transpose)
            assert got.dtype == dtype
            close(got, loop(*[[a.astype(float) for a in given[:2]], given[2].astype(float)], transpose), 64, dtype)


def test_strides_and_backends(rng):
    A, B, x = rng.standard_normal((5, 4, 3)).transpose(1, 2, 0), rng.standard_normal((8, 3, 2))[::2], rng.standard_normal((4, 20))[:, ::2]
    expected = loop([A, B], x, False)
    for backend in (None, "array", "numba"):
        close(kron.matvec([A, B], x, backend=backend), expected)


def test_refused(rng):
    A, B, x = rng.standard_normal((3, 2, 2)), rng.standard_normal((2, 2)), rng.standard_normal((3, 4))
    check_refused([
        (lambda: kron.matvec([A, B], x[:2]), ValueError, r"x has shape \(2, 4\), whose leading axes do not broadcast with .*, \(3,\)"),
        (lambda: kron.matvec([A, A[:2]], x), ValueError, "broadcast"),
        (lambda: kron.matvec([A, B], x[:, :3]), ValueError, r"x has shape \(3, 3\), expected \(\.\.\., 4\)"),
        (lambda: kron.matvec([A, B.astype("f")], x), TypeError, "float32"),
        (lambda: kron.matvec([A, B], x.astype(int)), TypeError, "int64"),
        (lambda: kron.matvec([A, B[0]], x), ValueError, r"factors\[1\] has shape \(2,\)"),
        (lambda: kron.matvec([A, B], x, out=x), ValueError, "out is for factors that are matrices"),
    ])  # fmt: skip


@pytest.mark.torch
@pytest.mark.parametrize("small", [0, batches._SMALL])
def test_tensors(rng, monkeypatch, small):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(batches, "_SMALL", small)
    for leads in LEADS:
        given = [torch.from_numpy(rng.standard_normal(s)).requires_grad_() for s in ((*leads[0], 2, 3), (*leads[1], 2, 2), (*leads[2], 6))]
        got = kron.matvec(given[:2], given[2])
        close(got.detach().numpy(), loop(*[[a.detach().numpy() for a in given[:2]], given[2].detach().numpy()], False))
        if got.numel():
            assert torch.autograd.gradcheck(lambda A, B, x: kron.matvec([A, B], x), given)


def test_on_a_device(cupy, rng):
    factors, x = [rng.standard_normal((3, 4, 2)), rng.standard_normal((3, 3))], rng.standard_normal((3, 6))
    with stand_in.nothing_read_back():
        got = kron.matvec(cupy(factors), cupy(x))
    close(got.get(), loop(factors, x, False))


def test_in_jax(rng):
    jax = pytest.importorskip("jax")
    factors, x = [a.astype(np.float32) for a in (rng.standard_normal((3, 4, 2)), rng.standard_normal((3, 3)))], np.ones((3, 6), np.float32)
    got = jax.jit(lambda A, B, x: kron.matvec([A, B], x))(*map(jax.numpy.asarray, (*factors, x)))
    close(np.asarray(got), loop(factors, x, False), 64, np.float32)
