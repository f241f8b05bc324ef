"""Long convolutions by the right-angle FFT. H channels, L length; equation numbers are those of csrc/ssm/convolution/README.md."""

from __future__ import annotations

from ..._dispatch import call, call_vjp
from ..._spec import Arg, Op
from ..._typing import Array, T

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


def fft_conv(
    u: Array[T],
    k: Array[T],
    D: Array[T] | None = None,
    *,
    k_reverse: Array[T] | None = None,
    out: Array[T] | None = None,
    backend: str | None = None,
    num_threads: int | None = None,
) -> T:
    """Causal convolution of every channel with a kernel of its own, y_l = sum_{j<=l} k_{l-j} u_j + D u_l (1).

    Never circular: nothing wraps around, whatever L and Lk are. With ``k_reverse`` the future is seen too,
    + sum_{j>l} k_reverse_{j-l-1} u_j (2): its first tap has lag 1, as in state-spaces/s4, and it costs nothing more.

    Parameters
    ----------
    u : (..., H, L)
        Input; float32 or float64, or float16 or bfloat16: then computed in float32 and returned in u's type.
    k : (H, Lk)
        Kernel. Taps beyond L are not used; no taps (Lk = 0) give zeros.
    D : (H,), optional
        Skip connection.
    k_reverse : (H, Lr), optional
        Kernel of the anticausal half.
    out, backend, num_threads
        As in ``help(qf.conventions)``.

    Returns
    -------
    y : (..., H, L)

    Raises
    ------
    ValueError
        Shapes that do not fit.
    TypeError
        Other dtypes, or a mix of kinds or dtypes.

    Notes
    -----
    Differentiable in u, k, D, k_reverse. Cost: O(L log L) a row by a right-angle FFT, 3 transforms of a length {3, 4, 5} 2^n >= L for
    a batch of one; memory 4 such lengths a thread. Error: at most 5e-7 of max|y| in float32, 1e-15 in float64. A NaN stays in its batch
    item and channel (within it, it may reach earlier times).
    """
    y: T = call(FFT_CONV, (u, k, D, k_reverse), (), (), out, backend, num_threads)
    return y


def fft_conv_vjp(*inputs_and_grad: Array[T] | None, backend: str | None = None, num_threads: int | None = None) -> tuple[T, ...]:
    """Gradients of ``fft_conv``: ``(u, k[, D[, k_reverse]], grad)``, grad (..., H, L) -> (du, dk[, dD][, dk_reverse]) (4).

    One more transform a row than forward; the batch is summed in its order.
    """
    return call_vjp(FFT_CONV, inputs_and_grad, (), (), backend, num_threads)
