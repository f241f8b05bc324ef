"""What is particular to state-space convolution: long rows, NaN, other forms of the kernel, bad input."""

import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import quatrefoil as qf
from case import precisions
from ssm.convolution import oracle


def test_nan_stays_in_its_row(backend, rng):
    for length, dtype in itertools.product([50, 100, 1024], precisions(backend)):
        print(length, dtype)
        u, k = rng.standard_normal((3, 4, length)).astype(dtype), rng.standard_normal((4, length)).astype(dtype)
        clean = qf.ssm.fft_conv(u, k)
        u[1, 2, length // 2] = np.nan
        k[0, 3] = np.inf
        dirty = qf.ssm.fft_conv(u, k)
        assert np.isnan(dirty[1, 2]).any()
        untouched = np.ones((3, 4), bool)
        untouched[1, 2] = untouched[:, 0] = False
        np.testing.assert_array_equal(dirty[untouched], clean[untouched])


def test_long_rows_whose_spectrum_lies_in_the_result(best_backend, rng):
    """Where the result lies in memory changes how, not what: the spectrum takes its place only if that is aligned."""
    for dtype, length in [(np.float32, 65536), (np.float64, 32768), (np.float32, 3 << 15)]:
        print(length)
        u, k, D = (rng.standard_normal(s).astype(dtype) for s in ((2, 3, length), (3, length), (3,)))
        memory = np.full(u.size + 80, np.nan, dtype)
        start = -memory.ctypes.data % 64 // u.itemsize
        results = [memory[start + off : start + off + u.size].reshape(u.shape) for off in (0, 5)]
        aligned, shifted = (qf.ssm.fft_conv(u, k, D, out=out).copy() for out in results)
        np.testing.assert_array_equal(aligned, shifted)
        expected = np.fft.irfft(np.fft.rfft(u.astype(float), 2 * length) * np.fft.rfft(k.astype(float), 2 * length))[..., :length]
        expected += D.astype(float)[:, None] * u
        assert np.abs(aligned - expected).max() <= (5e-7 if dtype == np.float32 else 1e-14) * np.abs(expected).max()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_shape(backend, data):
    batch = tuple(data.draw(st.lists(st.integers(0, 3), max_size=3)))
    H, L = data.draw(st.integers(0, 5)), data.draw(st.integers(0, 300))
    Lk, Lr = data.draw(st.integers(0, 400)), data.draw(st.none() | st.integers(0, 400))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    u, k = rng.standard_normal((*batch, H, L)), rng.standard_normal((H, Lk))
    r = None if Lr is None else rng.standard_normal((H, Lr))
    np.testing.assert_allclose(qf.ssm.fft_conv(u, k, k_reverse=r), oracle.fft_conv(u, k, k_reverse=r).astype(float), atol=1e-10)


F = np.zeros((3, 70))
BAD_CONV = [
    ((F, np.zeros((2, 70))), ValueError, r"ssm\.fft_conv: k has shape \(2, 70\), expected \(H, Lk\) with H = 3 as in u"),
    ((F[0], F), ValueError, r"k has shape \(3, 70\) and u \(70,\)"),
    ((F, F, np.zeros(2)), ValueError, "D has shape"),
    ((F, F[None]), ValueError, "k has shape"),
    ((F, F.astype(np.float32)), TypeError, "k has dtype float32 but u has float64"),
    ((F.astype(np.float16), F), TypeError, "k has dtype float64 but u has float16; expected float32 or float16 or bfloat16"),
    ((F.astype(np.int16), F), TypeError, "u has dtype int16, expected float32 or float64 or float16 or bfloat16"),
    ((F.astype(complex), F), TypeError, "u has dtype complex128"),
    ((F.astype(int), F), TypeError, "u has dtype int64"),
    ((F > 0, F), TypeError, "bool"),
    ((F.astype(object), F), TypeError, "object"),
    ((F.astype(">f8"), F), TypeError, ">f8"),
    ((F.astype("U3"), F), TypeError, "u has dtype str"),
    ((np.ma.masked_array(F, F > 0), F), TypeError, "masked"),
    ((np.zeros((3, 70), [("x", float)]), F), TypeError, "u has dtype void"),
    ((F.tolist(), F), TypeError, "list"),
    ((F, None), TypeError, "k is None"),
    ((None, F), TypeError, "u is None"),
    (("u", F), TypeError, "str"),
    (({}, F), TypeError, "dict"),
    ((object(), F), TypeError, "object"),
    ((np.float64(3), F), TypeError, "float64"),
]


def test_bad_input_of_fft_conv():
    for arguments, error, text in BAD_CONV:
        print(text)
        for _ in range(2):  # a remembered signature must not be a hole
            with pytest.raises(error, match=text):
                qf.ssm.fft_conv(*arguments)


BAD_OPTIONS = [
    (lambda: qf.ssm.fft_conv(F, F, backend="fortran"), ValueError, "unknown backend 'fortran'"),
    (lambda: qf.ssm.fft_conv(F, F, backend="cuda"), ValueError, "CUDA"),
    (lambda: qf.ssm.fft_conv(F, F, num_threads=0), ValueError, "at least 1"),
    (lambda: qf.ssm.fft_conv(F, F, num_threads=-1), ValueError, "at least 1"),
    (lambda: qf.ssm.fft_conv(F, F, num_threads=1.5), TypeError, "integer"),
    (lambda: qf.ssm.fft_conv(F, F, num_threads="2"), TypeError, "integer"),
    (lambda: qf.ssm.fft_conv(F, F, out=np.zeros((3, 71))), ValueError, "out has shape"),
    (lambda: qf.ssm.fft_conv(F, F, out=np.zeros((3, 70), np.float32)), TypeError, "out has dtype"),
    (lambda: qf.ssm.fft_conv(F, F, out=F), ValueError, "out overlaps u"),
    (lambda: qf.ssm.fft_conv(F, F, out=np.zeros((70, 3)).T), ValueError, "C-contiguous"),
    (lambda: qf.ssm.fft_conv(F, F, out=[0.0]), TypeError, "out is list"),
    (lambda: qf.ssm.fft_conv(*[F.astype(np.float16)] * 2, out=F.astype(np.float16)), TypeError, "out="),
    (lambda: qf.ssm.fft_conv_vjp(F, F), TypeError, "expected the inputs"),
    (lambda: qf.ssm.fft_conv_vjp(F, F, np.zeros((3, 71))), ValueError, "grad has shape"),
]


def test_bad_options():
    for call, error, text in BAD_OPTIONS:
        print(text)
        with pytest.raises(error, match=text):
            call()


def test_overlapping_out_is_refused_even_when_strided(rng):
    memory = np.zeros(2 * 210)
    with pytest.raises(ValueError, match="overlaps"):
        qf.ssm.fft_conv(memory[:210].reshape(3, 70), F, out=memory[100:310].reshape(3, 70))


FORMS = {  # u, k: as the op has them, of which the result and its gradients are those of the first
    "row": ((70,), (50,)),
    "shared": ((2, 3, 70), (50,)),
    "shared-by-channels": ((3, 70), (90,)),
    "per-item": ((2, 3, 70), (2, 3, 50)),
    "per-item-of-many": ((2, 2, 3, 70), (2, 2, 3, 80)),
}


def test_other_forms_of_the_kernel(backend, rng):
    """As a call for every channel of every item alone, summed where a kernel is shared."""
    for form, reverse, skip in itertools.product(FORMS, [False, True], [False, True]):
        print(form, reverse, skip)
        u, k = (rng.standard_normal(s) for s in FORMS[form])
        r = rng.standard_normal((*k.shape[:-1], 40)) if reverse else None
        D = np.asarray(rng.standard_normal(u.shape[:-1][-1:])) if skip else None
        grad = rng.standard_normal(u.shape)
        got = qf.ssm.fft_conv(u, k, D, k_reverse=r)
        assert got.shape == u.shape
        made = qf.ssm.fft_conv_vjp(u, k, D, r, grad)
        gradients = dict(zip(["u", "k", *["D"] * skip, *["r"] * reverse], made, strict=True))
        sums = {name: np.zeros(x.shape) for name, x in (("k", k), ("D", D), ("r", r)) if x is not None}
        for i in np.ndindex(u.shape[:-1]):
            of = i if k.ndim > 1 else ()
            alone = [u[i][None], k[of][None], None if D is None else D[i[-1:]].reshape(1), None if r is None else r[of][None]]
            np.testing.assert_allclose(got[i], qf.ssm.fft_conv(*alone[:3], k_reverse=alone[3])[0], rtol=1e-11, atol=1e-12)
            du, dk, *rest = qf.ssm.fft_conv_vjp(*alone, grad[i][None])
            np.testing.assert_allclose(gradients["u"][i], du[0], rtol=1e-11, atol=1e-12)
            sums["k"][of] += dk[0]
            if skip:
                sums["D"][i[-1:]] += rest.pop(0)[0]
            if reverse:
                sums["r"][of] += rest[0][0]
        for name, total in sums.items():
            assert gradients[name].shape == total.shape
            np.testing.assert_allclose(gradients[name], total, rtol=1e-10, atol=1e-11)
        room = np.full(u.shape, np.nan)
        assert qf.ssm.fft_conv(u, k, D, k_reverse=r, out=room) is room
        np.testing.assert_array_equal(room, got)


@pytest.mark.torch
@pytest.mark.parametrize("form", FORMS)
def test_other_forms_of_the_kernel_in_torch(form):
    torch = pytest.importorskip("torch")
    u, k = (torch.randn(s, dtype=torch.float64).requires_grad_() for s in FORMS[form])
    D = torch.randn(u.shape[:-1][-1:], dtype=torch.float64).requires_grad_()
    y = qf.ssm.fft_conv(u, k, D)
    grad = torch.randn_like(y)
    expected = qf.ssm.fft_conv_vjp(*[t.detach().numpy() for t in (u, k, D, grad)])
    for g, e in zip(torch.autograd.grad(y, (u, k, D), grad), expected):
        np.testing.assert_allclose(g.numpy(), e, rtol=1e-11, atol=1e-11)
    with torch.no_grad():
        room = torch.empty_like(u)
        assert qf.ssm.fft_conv(u, k, D, out=room) is room
        assert torch.equal(room, y)
        half = [t.to(torch.bfloat16) for t in (u, k, D)]
        assert torch.equal(qf.ssm.fft_conv(*half), qf.ssm.fft_conv(*[t.float() for t in half]).to(torch.bfloat16))


def test_other_forms_of_nothing(backend):
    for shape in ((0, 3, 7), (2, 0, 7), (2, 3, 0)):
        print(shape)
        u, D = np.ones(shape), np.ones(shape[1])
        for k in (np.ones(4), np.ones((*shape[:2], 4))):
            for skip in (None, D):
                assert qf.ssm.fft_conv(u, k, skip).shape == shape
                for g, x in zip(qf.ssm.fft_conv_vjp(u, k, skip, u), (u, k, skip)):
                    np.testing.assert_array_equal(g, np.zeros(x.shape))


BAD_FORMS = [
    (
        lambda: qf.ssm.fft_conv(np.ones((2, 3, 9)), np.ones((3, 2, 4))),
        r"k has shape \(3, 2, 4\) and u \(2, 3, 9\), expected u \(L,\) or",
    ),
    (lambda: qf.ssm.fft_conv(np.ones(9), np.ones((1, 4))), r"u has shape \(9,\)|k has shape \(1, 4\)"),
    (lambda: qf.ssm.fft_conv(np.ones((2, 9)), np.ones(4), np.ones(3)), r"D has shape \(3,\), expected \(2,\), a number a channel"),
    (lambda: qf.ssm.fft_conv(np.ones(9), np.ones(4), np.ones(1)), r"D has shape \(1,\), expected \(\), one number"),
    (
        lambda: qf.ssm.fft_conv(np.ones((2, 9)), np.ones(4), k_reverse=np.ones((2, 4))),
        r"k_reverse has shape \(2, 4\), expected the axes of k",
    ),
    (lambda: qf.ssm.fft_conv(np.ones((2, 9)), np.ones(4), out=np.ones((1, 9))), r"out has shape \(1, 9\), expected \(2, 9\)"),
    (lambda: qf.ssm.fft_conv(np.ones((2, 9)), np.ones(4), out=np.ones((9, 2)).T), "out must be C-contiguous"),
]


def test_other_forms_that_do_not_fit():
    for call, text in BAD_FORMS:
        print(text)
        with pytest.raises(ValueError, match=text):
            call()
