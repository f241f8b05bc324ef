"""Long convolutions by the right-angle FFT. H channels, length L. Equation numbers: csrc/ssm/convolution/README.md."""

from __future__ import annotations

from ..._arguments import keywords
from ..._call import call, call_vjp
from ..._spec import Arg, Op
from ..._typing import Array, Backend, T
from .forms import Form, is_usual

FFT_CONV = Op(
    __name__, "fft_conv",
    inputs=(
        Arg("u", "... H L", half=True),
        Arg("k", "H Lk", half=True),
        Arg("D", "H", optional=True, half=True),
        Arg("k_reverse", "H Lr", optional=True, half=True),
    ),
    outputs=(Arg("y", "... H L", half=True),),
    tolerance=5e-7,
)  # fmt: skip
OPS = (FFT_CONV,)


@keywords(
    "ssm.fft_conv",
    **dict.fromkeys(("bidirectional", "causal", "k2", "kernel2", "k_rev"), "pass the kernel of the other direction as k_reverse"),
    **dict.fromkeys(("weight", "kernel", "filter", "filters"), "use k"),
    **dict.fromkeys(("bias", "skip"), "use D"),
    **dict.fromkeys(("x", "input"), "use u"),
)
def fft_conv(
    u: Array[T],
    k: Array[T],
    D: Array[T] | None = None,
    *,
    k_reverse: Array[T] | None = None,
    out: Array[T] | None = None,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> T:
    """Causal convolution of every channel, y_l = sum_{j<=l} k_{l-j} u_j + D u_l (1).

    The convolution is never circular, for any L and Lk. ``k_reverse`` adds sum_{j>l} k_reverse_{j-l-1} u_j (2): its first tap has lag 1, as
    in state-spaces/s4. It adds no cost.

    Parameters
    ----------
    u : (..., H, L), or (L,)
        Input; float32 or float64. float16 and bfloat16 are computed in float32 and returned in the dtype of u.
    k : (H, Lk), (Lk,) or (..., H, Lk)
        Kernels: one per channel; one shared by all channels; or, with the axes of u, one per channel and item. Taps beyond L are not used.
        Without taps (Lk = 0) the result is 0.
    D : (H,), optional
        Skip connection; () if u is (L,).
    k_reverse : (H, Lr), (Lr,) or (..., H, Lr), optional
        Anticausal kernels, in the same form as k.
    out, backend, num_threads
        As in ``help(qf.conventions)``.

    Returns
    -------
    y : same shape as u

    Notes
    -----
    Differentiable in u, k, D, k_reverse. Cost: O(L log L) per row by a right-angle FFT, with 3 transforms of length {3, 4, 5} 2^n >= L for
    a batch of one. Memory: 4 rows of that length per thread. A shared kernel is transformed once, or once per channel with D. Error: at
    most 5e-7 of max|y| in float32, 1e-15 in float64. A NaN affects only its batch item and channel, but may reach earlier times.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> u, k = np.array([[1.0, 2.0, 3.0]]), np.array([[1.0, 0.5]])
    >>> qf.ssm.fft_conv(u, k).round(12)  # 3 + 0.5 * 2 at the end
    array([[1. , 2.5, 4. ]])
    """
    y: T
    if is_usual(u, k, k_reverse):
        y = call(FFT_CONV, (u, k, D, k_reverse), (), (), out, backend, num_threads)
        return y
    form = Form("ssm.fft_conv", u, k, D, k_reverse)
    y = call(FFT_CONV, form.arrays, (), (), form.shaped_out("ssm.fft_conv", out), backend, num_threads)
    return y.reshape(u.shape) if out is None else out  # type: ignore[attr-defined, return-value]


def fft_conv_vjp(*inputs_and_grad: Array[T] | None, backend: Backend | None = None, num_threads: int | None = None) -> tuple[T, ...]:
    """Gradients of ``fft_conv`` (4).

    ``(u, k[, D[, k_reverse]], grad)`` -> (du, dk[, dD][, dk_reverse]), with grad shaped like u.

    Takes one more transform per row than the forward call. Sums over the batch are taken in order.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> u, k = np.array([[1.0, 2.0, 3.0]]), np.array([[1.0, 0.5]])
    >>> du, dk = qf.ssm.fft_conv_vjp(u, k, np.ones((1, 3)))  # of the sum of y
    >>> dk.round(12)
    array([[6., 3.]])
    """
    u, k, D, k_reverse, *_ = (*inputs_and_grad[:-1], None, None, None, None)
    if len(inputs_and_grad) not in (3, 4, 5) or is_usual(u, k, k_reverse):
        return call_vjp(FFT_CONV, inputs_and_grad, (), (), backend, num_threads)
    form, grad = Form("ssm.fft_conv_vjp", u, k, D, k_reverse), inputs_and_grad[-1]
    if getattr(grad, "shape", None) == getattr(u, "shape", None):
        grad = grad.reshape(form.shape)  # type: ignore[union-attr]
    return form.gradients(call_vjp(FFT_CONV, (*form.arrays, grad), (), (), backend, num_threads))
