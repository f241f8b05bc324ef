"""Tests specific to state-space convolution: long rows, NaN, alternative forms of the kernel, bad input."""

import itertools

import numpy as np
import pytest

import quatrefoil as qf
from ssm.convolution import oracle


def test_long_rows_whose_spectrum_lies_in_the_result(best_backend, rng):
    """The address of the result must not change its values: the spectrum is stored there only if it is aligned."""
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


FORMS = {  # shapes of u and k that the op itself does not accept
    "row": ((70,), (50,)),
    "shared": ((2, 3, 70), (50,)),
    "shared-by-channels": ((3, 70), (90,)),
    "per-item": ((2, 3, 70), (2, 3, 50)),
    "per-item-of-many": ((2, 2, 3, 70), (2, 2, 3, 80)),
}


def random_inputs(rng, form, skip, reverse):
    u, k = (rng.standard_normal(s) for s in FORMS[form])
    D = np.asarray(rng.standard_normal(u.shape[:-1][-1:])) if skip else None
    return [u, k, D, rng.standard_normal((*k.shape[:-1], 40)) if reverse else None]


def by_channels(u, k, D, r):
    y = np.zeros(u.shape)
    for i in np.ndindex(u.shape[:-1]):
        channel = i if k.ndim > 1 else ()
        alone = [u[i][None], k[channel][None], None if D is None else D[i[-1:]].reshape(1)]
        y[i] = oracle.fft_conv(*alone, k_reverse=None if r is None else r[channel][None])[0]
    return y


@pytest.mark.parametrize("form", FORMS)
def test_other_forms_of_the_kernel(best_backend, rng, form):
    """Values are compared with the definition. Gradients use that the result is linear in u, and in k, D, k_reverse together."""
    for options in itertools.product([False, True], [False, True]):
        print(options)
        inputs, directions = (random_inputs(rng, form, *options) for _ in range(2))
        u, k, D, r = inputs
        out = np.full(u.shape, np.nan)
        assert qf.ssm.fft_conv(u, k, D, k_reverse=r, out=out) is out
        np.testing.assert_allclose(out, by_channels(*inputs), rtol=1e-11, atol=1e-12)
        np.testing.assert_array_equal(qf.ssm.fft_conv(u, k, D, k_reverse=r), out)
        grad = rng.standard_normal(u.shape)
        present = [i for i, x in enumerate(inputs) if x is not None]
        for i, gradient in zip(present, qf.ssm.fft_conv_vjp(u, k, D, r, grad), strict=True):
            assert gradient.shape == inputs[i].shape
            only = [x if i == 0 or j == 0 else 0 * x if x is not None else None for j, x in enumerate(inputs)]
            change = by_channels(*[directions[i] if j == i else x for j, x in enumerate(only)])
            np.testing.assert_allclose((gradient * directions[i]).sum(), (grad * change).sum(), rtol=1e-10, atol=1e-10)


@pytest.mark.torch
def test_other_forms_of_the_kernel_in_torch():
    torch = pytest.importorskip("torch")
    for shapes in FORMS.values():
        u, k = (torch.randn(s, dtype=torch.float64).requires_grad_() for s in shapes)
        D = torch.randn(u.shape[:-1][-1:], dtype=torch.float64).requires_grad_()
        y = qf.ssm.fft_conv(u, k, D)
        grad = torch.randn_like(y)
        expected = qf.ssm.fft_conv_vjp(*[t.detach().numpy() for t in (u, k, D, grad)])
        for g, e in zip(torch.autograd.grad(y, (u, k, D), grad), expected):
            np.testing.assert_allclose(g.numpy(), e, rtol=1e-11, atol=1e-11)
        half = [t.detach().to(torch.bfloat16) for t in (u, k, D)]
        assert torch.equal(qf.ssm.fft_conv(*half), qf.ssm.fft_conv(*[t.float() for t in half]).to(torch.bfloat16))


def test_empty_arrays(best_backend):
    for shape in ((0, 3, 7), (2, 0, 7), (2, 3, 0)):
        u, D = np.ones(shape), np.ones(shape[1])
        for k, skip in itertools.product((np.ones(4), np.ones((*shape[:2], 4))), (None, D)):
            assert qf.ssm.fft_conv(u, k, skip).shape == shape
            for g, x in zip(qf.ssm.fft_conv_vjp(u, k, skip, u), (u, k, skip)):
                np.testing.assert_array_equal(g, np.zeros(x.shape))


F, ROW = np.zeros((3, 70)), np.ones((2, 9))
BAD = [
    (lambda: qf.ssm.fft_conv(F, F, bidirectional=True), TypeError, "ssm.fft_conv has no argument 'bidirectional'; .* as k_reverse"),
    (lambda: qf.ssm.fft_conv(F), TypeError, "ssm.fft_conv: k is missing; expected u, k, D, k_reverse, out, backend, num_threads"),
    # kinds that no function accepts, tested here once for all functions
    (lambda: qf.ssm.fft_conv(F.astype(np.int16), F), TypeError, "u has dtype int16, expected float32 or float64 or float16 or bfloat16"),
    (lambda: qf.ssm.fft_conv(F.astype("U3"), F), TypeError, "u has dtype str"),
    (lambda: qf.ssm.fft_conv(F.tolist(), F), TypeError, "list"),
    (lambda: qf.ssm.fft_conv(F, None), TypeError, "k is None"),
    (lambda: qf.ssm.fft_conv("u", F), TypeError, "str"),
    (lambda: qf.ssm.fft_conv(np.float64(3), F), TypeError, "float64"),
    (lambda: qf.ssm.fft_conv(F, F, backend="cuda"), ValueError, "CUDA"),
    (lambda: qf.ssm.fft_conv(*[F.astype(np.float16)] * 2, out=F.astype(np.float16)), TypeError, "out="),
    (lambda: qf.ssm.fft_conv_vjp(F, F), TypeError, "expected the inputs"),
    (lambda: qf.ssm.fft_conv_vjp(F, F, np.zeros((3, 71))), ValueError, "grad has shape"),
    # errors specific to this function
    (lambda: qf.ssm.fft_conv(F, F[:2]), ValueError, r"ssm\.fft_conv: k has shape \(2, 70\), expected \(H, Lk\) with H = 3 as in u"),
    (lambda: qf.ssm.fft_conv(F[0], F), ValueError, r"k has shape \(3, 70\) and u has shape \(70,\)"),
    (lambda: qf.ssm.fft_conv(np.ones((2, 3, 9)), np.ones((3, 2, 4))), ValueError, r"k has shape \(3, 2, 4\) and u has .*, expected u"),
    (lambda: qf.ssm.fft_conv(np.ones(9), np.ones((1, 4))), ValueError, r"u has shape \(9,\)|k has shape \(1, 4\)"),
    (lambda: qf.ssm.fft_conv(ROW, np.ones(4), np.ones(3)), ValueError, r"D has shape \(3,\), expected \(2,\), one number per channel"),
    (lambda: qf.ssm.fft_conv(np.ones(9), np.ones(4), np.ones(1)), ValueError, r"D has shape \(1,\), expected \(\), one number"),
    (lambda: qf.ssm.fft_conv(ROW, np.ones(4), k_reverse=ROW), ValueError, r"k_reverse has shape \(2, 9\), expected the shape of k"),
    (lambda: qf.ssm.fft_conv(ROW, np.ones(4), out=np.ones((1, 9))), ValueError, r"out has shape \(1, 9\), expected \(2, 9\)"),
    (lambda: qf.ssm.fft_conv(ROW, np.ones(4), out=np.ones((9, 2)).T), ValueError, "out must be C-contiguous"),
]
