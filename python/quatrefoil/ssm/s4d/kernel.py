"""Convolution kernels of diagonal state-space models. H channels, N stored modes, M outputs, L length; equations of
csrc/ssm/s4d/README.md."""

from __future__ import annotations

from ..._arguments import choice, integer
from ..._call import call
from ..._spec import Arg, Op, Option
from ..._typing import Array, Backend, T, Z
from ..modes.broadcast import call_vjp_per_channel, per_channel

DISCS = ("zoh", "bilinear", "dss")


S4D_KERNEL = Op(

    __name__, "s4d_kernel",
    inputs=(
        Arg("dt", "H"),
        Arg("A", "H N", dtype="complex"),
        Arg("C", "M? H N", dtype="complex"),
        Arg("B", "H N", optional=True, dtype="complex"),
    ),
    outputs=(Arg("K", "M? H L"),),
    options=(Option("L", int), Option("disc", str)),
    tolerance=2e-6,  # 4e-15 in float64, a few eps for powers up to z^L; float32 is tested to 3e-7
)  # fmt: skip


def s4d_kernel(
    dt: Array[T],
    A: Array[Z],
    C: Array[Z],
    L: int,
    *,
    B: Array[Z] | None = None,
    disc: str = "zoh",
    out: Array[T] | None = None,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> T:
    """Kernel of a diagonal state-space layer, K_l = 2 Re sum_n Cbar_n z_n^l, l < L (1).

    The N stored modes are one of each conjugate pair (d_state = 2 N); either sign of Im A will do.

    Parameters
    ----------
    dt : (H,)
        Step sizes; float32 or float64.
    A : (H, N) complex, or (N,)
        Continuous poles, of each channel or of all alike, as ``s4d_init`` gives them. Re A > 0 is legal: nothing is clamped, and what
        overflows is inf or NaN in its channel. A = 0 is exact.
    C : (H, N), (N,) or (M, H, N) complex
        Output weights; M outputs share the powers of the poles.
    L : int
        Length.
    B : (H, N) or (N,) complex, optional
        Input weights; 1 if absent.
    disc : "zoh", "bilinear" or "dss"
        Zero-order hold, bilinear, or upstream's DSS (modes README (1), (2), (4)), which divides every mode by its sum over the L samples
        and counts it once, without the factor 2.
    out, backend, num_threads
        As in ``help(qf.conventions)``.

    Returns
    -------
    K : (H, L) or (M, H, L) real

    Raises
    ------
    ValueError
        Shapes that do not fit, L < 0, an unknown disc.
    TypeError
        Real A, B or C, a complex dt, or a mix of kinds or precisions.

    Notes
    -----
    Differentiable in dt, A, C, B. Cost: 4 M N operations a number, as one matrix product a channel, of baby steps z^j and giant steps
    z^(J i) (modes README (7)); N complex exponentials every few thousand numbers; no (H, N, L) array. Poles and phases are computed in
    double precision, l dt A with the rounding of dt A. Error: at most 3e-7 of max|K| in float32, 1e-14 in float64 up to L = 4096. A NaN
    stays in its channel. Conventions: state-spaces/s4.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> dt, A, C = np.array([0.1]), np.array([[-1.0 + 0j]]), np.array([[0.5 + 0j]])
    >>> qf.ssm.s4d_kernel(dt, A, C, 3).round(4)  # 0.1 psi(-0.1) exp(-0.1 l)
    array([[0.0952, 0.0861, 0.0779]])
    """
    options = (integer(L, S4D_KERNEL.label, "L", 0), choice(disc, S4D_KERNEL.label, "disc", DISCS))
    y: T = call(S4D_KERNEL, (dt, *per_channel(dt, A, C, B)), options, (), out, backend, num_threads)
    return y


def s4d_kernel_vjp(
    *inputs_and_grad: Array[T] | None, L: int, disc: str = "zoh", backend: Backend | None = None, num_threads: int | None = None
) -> tuple[T, ...]:
    """Gradients of ``s4d_kernel``.

    ``(dt, A, C[, B], grad)``, grad shaped like K -> (ddt, dA, dC[, dB]) (modes README (8)-(11)).

    Two moments a mode, sum_l g_l z^l and sum_l l g_l z^l, by the same steps: 8 M N operations a number. Complex gradients are torch's,
    dL/dRe w + i dL/dIm w. DSS's shift for Re A > 0 carries none, as upstream.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> dt, A, C = np.array([0.1]), np.array([[-1.0 + 0j]]), np.array([[0.5 + 0j]])
    >>> ddt, dA, dC = qf.ssm.s4d_kernel_vjp(dt, A, C, np.ones((1, 3)), L=3)
    >>> dC.real.round(4)
    array([[0.5184]])
    """
    label = f"{S4D_KERNEL.label}_vjp"
    options = (integer(L, label, "L", 0), choice(disc, label, "disc", DISCS))
    return call_vjp_per_channel(S4D_KERNEL, inputs_and_grad, options, backend, num_threads)
