"""S4 kernels (diagonal plus low rank) and sums over simple poles. H channels, N stored modes, length L.

Equation numbers: csrc/ssm/s4/README.md.
"""

from __future__ import annotations

from typing import Any

from ..._arguments import integer
from ..._call import call, call_vjp
from ..._spec import Arg, Op, Option
from ..._typing import Array, Backend, T, Z
from ..modes.broadcast import broadcast_rows, call_vjp_per_channel, gradient_of_rows, per_channel

CAUCHY_MULT = Op(
    __name__, "cauchy_mult",
    inputs=(Arg("v", "... N", dtype="complex"), Arg("z", "L", dtype="complex"), Arg("w", "... N", dtype="complex")),
    outputs=(Arg("y", "... L", dtype="complex"),),
    options=(Option("symmetric", bool),),
    tolerance=2e-6,  # for the sum of 2 N quotients in float64, each rounded four times
)  # fmt: skip


def cauchy_mult(
    v: Array[T],
    z: Array[T],
    w: Array[T],
    symmetric: bool = True,
    *,
    out: Array[T] | None = None,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> T:
    """Sums over simple poles, y_l = sum_n v_n / (z_l - w_n) + conj(v_n) / (z_l - conj(w_n)) (1).

    Parameters
    ----------
    v, w : (..., N) complex
        Residues and poles; batch axes broadcast. With ``symmetric``, they are one of each conjugate pair, as in state-spaces/s4.
    z : (L,) complex
        Points.
    symmetric : bool
        If False, the plain sum y_l = sum_n v_n / (z_l - w_n).
    out, backend, num_threads
        As in ``help(qf.conventions)``.

    Returns
    -------
    y : (..., L) complex

    Notes
    -----
    Differentiable in v, z, w (2), (3). Cost: one quotient per pair and point, in double precision for any dtype. The result is accurate
    even close to a pole; on a pole it is inf or NaN. No array over points and poles is formed.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> v, z, w = np.array([1 + 0j]), np.array([0j, 2 + 0j]), np.array([-1 + 1j])
    >>> qf.ssm.cauchy_mult(v, z, w).real.round(12)  # 2 (z + 1) / ((z + 1)^2 + 1)
    array([1. , 0.6])
    """
    v, w = broadcast_rows(v, w)
    y: T = call(CAUCHY_MULT, (v, z, w), (bool(symmetric),), (), out, backend, num_threads)
    return y


def cauchy_mult_vjp(
    *inputs_and_grad: Array[T] | None, symmetric: bool = True, backend: Backend | None = None, num_threads: int | None = None
) -> tuple[T, ...]:
    """Gradients of ``cauchy_mult`` (2), (3): ``(v, z, w, grad)`` -> (dv, dz, dw), grad like y.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> v, z, w = np.array([1 + 0j]), np.array([0j]), np.array([-1 + 0j])
    >>> dv, dz, dw = qf.ssm.cauchy_mult_vjp(v, z, w, np.array([1 + 0j]), symmetric=False)
    >>> dv.real, dw.real  # of v / (z - w)
    (array([1.]), array([1.]))
    """
    arguments: list[Any] = list(inputs_and_grad)
    if len(arguments) == 4:
        arguments[0], arguments[2] = broadcast_rows(arguments[0], arguments[2])
    dv, dz, dw = call_vjp(CAUCHY_MULT, arguments, (bool(symmetric),), (), backend, num_threads)
    return gradient_of_rows(inputs_and_grad[0], dv), dz, gradient_of_rows(inputs_and_grad[2], dw)


S4_KERNEL = Op(
    __name__, "s4_kernel",
    inputs=(
        Arg("dt", "H"),
        *(Arg(name, "H N", dtype="complex") for name in ("Lambda", "P", "B", "C")),
        Arg("Q", "H N", optional=True, dtype="complex"),
    ),
    outputs=(Arg("K", "H L"),),
    options=(Option("L", int), Option("truncated", bool)),
    tolerance=1e-5,  # 2e-14 in float64: rounding in every step, and the condition number of I - Abar^L for small L
)  # fmt: skip
OPS = (CAUCHY_MULT, S4_KERNEL)


def s4_kernel(
    dt: Array[T],
    Lambda: Array[Z],
    P: Array[Z],
    B: Array[Z],
    C: Array[Z],
    L: int,
    *,
    Q: Array[Z] | None = None,
    truncated: bool = False,
    out: Array[T] | None = None,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> T:
    """Kernel of an S4 layer: the impulse response of a diagonal plus rank-one system (4)-(5).

    K_l = Re(C Abar^l Bbar), l < L, with A = diag(Lambda) - P Q^* discretised bilinearly. Arrays contain one of each conjugate pair. The
    recurrence costs as much as the Cauchy sums of state-spaces/s4, but needs no power of Abar to use C itself for any L.

    Parameters
    ----------
    dt : (H,)
        Step sizes; float32 or float64.
    Lambda, P, B, C : (H, N) complex, or (N,)
        Diagonal, low-rank factor (a vector), input and output vectors, per channel or shared by all, as ``dplr_legs`` returns them.
    L : int
        Length.
    Q : (H, N) or (N,) complex, optional
        The second low-rank factor; P if absent, which makes the system stable for Re Lambda <= 0.
    truncated : bool
        C is the parameter stored by state-spaces/s4, C (I - Abar^L), instead of the true output vector (8).
    out, backend, num_threads
        As in ``help(qf.conventions)``.

    Returns
    -------
    K : (H, L) real

    Notes
    -----
    Differentiable in all arrays (6)-(8). Cost: 20 N operations per element, in double precision for any dtype; ``truncated`` adds a dense
    power and a solve, O(N^3 log L) per channel. The gradient runs the recurrence twice, then its adjoint, storing about 2 sqrt(L) states.
    Error: rounding errors accumulate until a mode has decayed, to 3e-14 of max|K| in float64 for HiPPO-LegS at dt = 0.001 and L = 4096,
    and to 1e-7 in float32. A NaN affects only its channel.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> Lambda, P, B, V = (x[2:] for x in qf.ssm.dplr_legs(4))  # the half above the real axis
    >>> K = qf.ssm.s4_kernel(np.array([0.1]), Lambda, P, B, np.ones(2, complex), 1000)
    >>> K.shape
    (1, 1000)
    """
    options = (integer(L, S4_KERNEL.label, "L", 0), bool(truncated))
    y: T = call(S4_KERNEL, (dt, *per_channel(dt, Lambda, P, B, C, Q)), options, (), out, backend, num_threads)
    return y


def s4_kernel_vjp(
    *inputs_and_grad: Array[T] | None, L: int, truncated: bool = False, backend: Backend | None = None, num_threads: int | None = None
) -> tuple[T, ...]:
    """Gradients of ``s4_kernel``.

    ``(dt, Lambda, P, B, C[, Q], grad)`` -> (ddt, dLambda, dP, dB, dC[, dQ]), with grad (H, L).

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> Lambda, P, B, V = (x[2:] for x in qf.ssm.dplr_legs(4))
    >>> inputs = np.array([0.1]), Lambda[None], P[None], B[None], np.ones((1, 2), complex)
    >>> [d.shape for d in qf.ssm.s4_kernel_vjp(*inputs, np.ones((1, 1000)), L=1000)]
    [(1,), (1, 2), (1, 2), (1, 2), (1, 2)]
    """
    options = (integer(L, f"{S4_KERNEL.label}_vjp", "L", 0), bool(truncated))
    return call_vjp_per_channel(S4_KERNEL, inputs_and_grad, options, backend, num_threads)
