"""Diagonal state-space models (S4D, DSS): the convolution kernel, and the complete layer with its step function.

H channels, N stored modes, M outputs, length L. Equation numbers: csrc/ssm/s4d/README.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, overload

from ..._arguments import choice, integer
from ..._call import call
from ..._dims import Shape
from ..._spec import Arg, Op, Option
from ..._typing import Array, Backend, InputOrGrad, T, Z
from ..modes.broadcast import call_vjp_per_channel, per_channel

DISCS = ("zoh", "bilinear", "dss")
METHODS = ("auto", "fft", "scan")


def _check_state(label: str, shapes: Sequence[Shape | None], options: tuple[Any, ...]) -> None:
    disc, method, bidirectional, return_state = options
    start = shapes[-1] is not None
    for name, is_set in (("initial_state", start), ("return_state=True", return_state), ("method='scan'", method == "scan")):
        if is_set and (bidirectional or disc == "dss"):
            why = "bidirectional=True" if bidirectional else "disc='dss'"
            fix = "omit it, or use disc='zoh' or 'bilinear' in one direction"
            raise ValueError(f"{label}: {name} needs a recurrence, which a system with {why} does not have; {fix}")


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
    tolerance=2e-6,  # in float64 4e-15, a few eps for powers up to z^L; float32 is tested to 3e-7
)  # fmt: skip

S4D_CONV = Op(
    __name__, "s4d_conv",
    inputs=(
        Arg("u", "... H L", half=True),
        Arg("dt", "H", half=True),
        Arg("A", "H N", dtype="complex"),
        Arg("C", "2 H N if bidirectional else M? H N", dtype="complex"),
        Arg("D", "H if bidirectional else M? H", optional=True, half=True),
        Arg("B", "H N", optional=True, dtype="complex"),
        Arg("initial_state", "... H N", optional=True, dtype="complex"),
    ),
    outputs=(Arg("y", "... M? H L", half=True), Arg("last_state", "... H N", dtype="complex", only_if="return_state")),
    options=(Option("disc", str), Option("method", str), Option("bidirectional", bool), Option("return_state", bool)),
    check=_check_state,
    tolerance=1e-5,  # for float64: states accumulate the rounding error of z^32; float32 has its own test, with 5e-7
)  # fmt: skip
OPS = (S4D_KERNEL, S4D_CONV)


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

    The N stored modes are one of each conjugate pair (d_state = 2 N), with either sign of Im A.

    Parameters
    ----------
    dt : (H,)
        Step sizes; float32 or float64.
    A : (H, N) complex, or (N,)
        Continuous poles, per channel or shared by all, as ``s4d_init`` returns them. Re A > 0 is allowed: nothing is clamped, and overflow
        gives inf or NaN in its channel. A = 0 is exact.
    C : (H, N), (N,) or (M, H, N) complex
        Output weights; M outputs share the powers of the poles.
    L : int
        Length.
    B : (H, N) or (N,) complex, optional
        Input weights; 1 if absent.
    disc : "zoh", "bilinear" or "dss"
        Zero-order hold, bilinear, or the DSS of state-spaces/s4 (modes README (1), (2), (4)). DSS divides each mode by its sum over the L
        samples and has no factor 2.
    out, backend, num_threads
        As in ``help(qf.conventions)``.

    Returns
    -------
    K : (H, L) or (M, H, L) real

    Notes
    -----
    Differentiable in dt, A, C, B. Cost: 4 M N operations per element, as one matrix product per channel (modes README (7)), without an
    array of shape (H, N, L). Poles and phases are computed in double precision. Error: at most 3e-7 of max|K| in float32, 1e-14 in float64
    up to L = 4096. A NaN affects only its channel. Conventions follow state-spaces/s4.

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
    """Gradients of ``s4d_kernel``: ``(dt, A, C[, B], grad)`` -> (ddt, dA, dC[, dB]), grad like K.

    Cost: 8 M N operations per element, for two moments per mode, modes README (8)-(11). Complex gradients follow PyTorch,
    dL/dRe w + i dL/dIm w. The shift of DSS for Re A > 0 has no gradient, as in state-spaces/s4.

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


def _options(disc: Any, method: Any, bidirectional: Any, return_state: Any) -> tuple[Any, ...]:
    label = S4D_CONV.label
    return choice(disc, label, "disc", DISCS), choice(method, label, "method", METHODS), bool(bidirectional), bool(return_state)


# fmt: off
@overload
def s4d_conv(
    u: Array[T], dt: Array[T], A: Array[Z], C: Array[Z], D: Array[T] | None = None, B: Array[Z] | None = None, *, disc: str = "zoh",
    initial_state: Array[Z] | None = None, return_state: Literal[False] = False, method: str = "auto", bidirectional: bool = False,
    out: Array[T] | None = None, backend: Backend | None = None, num_threads: int | None = None,
) -> T: ...
@overload
def s4d_conv(
    u: Array[T], dt: Array[T], A: Array[Z], C: Array[Z], D: Array[T] | None = None, B: Array[Z] | None = None, *, disc: str = "zoh",
    initial_state: Array[Z] | None = None, return_state: Literal[True], method: str = "auto", bidirectional: bool = False,
    out: Array[T] | None = None, backend: Backend | None = None, num_threads: int | None = None,
) -> tuple[T, Z]: ...
@overload
def s4d_conv(
    u: Array[T], dt: Array[T], A: Array[Z], C: Array[Z], D: Array[T] | None = None, B: Array[Z] | None = None, *, disc: str = "zoh",
    initial_state: Array[Z] | None = None, return_state: bool = False, method: str = "auto", bidirectional: bool = False,
    out: Array[T] | None = None, backend: Backend | None = None, num_threads: int | None = None,
) -> T | tuple[T, Z]: ...
# fmt: on
def s4d_conv(
    u: Array[T],
    dt: Array[T],
    A: Array[Z],
    C: Array[Z],
    D: Array[T] | None = None,
    B: Array[Z] | None = None,
    *,
    disc: str = "zoh",
    initial_state: Array[Z] | None = None,
    return_state: bool = False,
    method: str = "auto",
    bidirectional: bool = False,
    out: Array[T] | None = None,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> T | tuple[T, Z]:
    """Diagonal state-space layer (S4D): convolution with the impulse responses of learned systems (2).

    y_l = sum_{j<=l} K_{l-j} u_j + D u_l, K_l = 2 Re sum_n C_n B_n b_n z_n^l.

    z and b are computed from dt and A as in ``s4d_kernel``. y equals that of the recurrence s_l = z s_{l-1} + B b u_l,
    y_l = 2 Re(C s_l) + D u_l, whose output depends on the new state (3). No array of size H N L is stored.

    Parameters
    ----------
    u : (..., H, L)
        Input; float32 or float64. float16 and bfloat16 are computed in float32 and returned in the dtype of u.
    dt : (H,)
        Step sizes.
    A, B : (H, N) complex, or (N,)
        Poles and input weights of the stored modes, one of each conjugate pair, per channel or shared by all. B is 1 if absent.
    C : (H, N), (N,) or (M, H, N) complex
        Output weights; M outputs share the states. (2, H, N) if ``bidirectional``: first causal, then anticausal.
    D : (H,) or (M, H), optional
        Skip connection.
    disc : "zoh", "bilinear" or "dss"
        "dss" depends on L, so it has no state.
    initial_state : (..., H, N) complex, optional
        The state before the first sample; 0 if absent.
    return_state : bool
        Also return the state after the last sample.
    method : "auto", "fft" or "scan"
        "fft" computes the kernel and convolves by FFT, "scan" runs the recurrence in chunks, and "auto" chooses the cheaper one.
    bidirectional : bool
        Add sum_{j>l} K'_{j-l-1} u_j, with K' from C[1]; its first tap has lag 1, as in state-spaces/s4.
    out, backend, num_threads
        As in ``help(qf.conventions)``.

    Returns
    -------
    y : (..., H, L) or (..., M, H, L)
    last_state : (..., H, N) complex, with ``return_state``

    Raises
    ------
    ValueError
        A state, or method "scan", with "dss" or ``bidirectional``.

    Notes
    -----
    Differentiable in u, dt, A, C, D, B, initial_state, including through the last state. Cost per row: with "fft", that of ``fft_conv``,
    plus the kernel once for the whole batch; with "scan", 8 N + 48 operations per sample. Memory: a few rows of length L per thread. Error:
    at most 1e-6 of max|y| in float32. Splitting a row and passing the state on gives the same output. Re A > 0 is allowed while z^L is
    finite; "scan" is then the better method. A NaN affects only its batch item and channel.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> dt, A, C = np.array([0.1]), np.array([[-1.0 + 0j]]), np.array([[0.5 + 0j]])
    >>> qf.ssm.s4d_conv(np.ones((1, 4)), dt, A, C).round(4)  # 1 - exp(-0.1 (l + 1))
    array([[0.0952, 0.1813, 0.2592, 0.3297]])
    """
    A, C, B = per_channel(dt, A, C, B)
    arrays = (u, dt, A, C, D, B, initial_state)
    y, last = call(S4D_CONV, arrays, _options(disc, method, bidirectional, return_state), (), out, backend, num_threads)
    return (y, last) if return_state else y


def s4d_conv_vjp(
    *inputs_and_grad: InputOrGrad[T],
    disc: str = "zoh",
    return_state: bool = False,
    method: str = "auto",
    bidirectional: bool = False,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> tuple[T, ...]:
    """Gradients of ``s4d_conv`` (8)-(11).

    ``(u, dt, A, C[, D[, B[, initial_state]]], grad)`` -> one gradient for each input that is present. ``grad`` is the gradient of y; with
    ``return_state``, a tuple (gradient of y, gradient of the last state).

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> dt, A, C = np.array([0.1]), np.array([[-1.0 + 0j]]), np.array([[0.5 + 0j]])
    >>> du, ddt, dA, dC = qf.ssm.s4d_conv_vjp(np.ones((1, 4)), dt, A, C, np.ones((1, 4)))
    >>> du.round(4)
    array([[0.3297, 0.2592, 0.1813, 0.0952]])
    """
    options = _options(disc, method, bidirectional, return_state)
    return call_vjp_per_channel(S4D_CONV, inputs_and_grad, options, backend, num_threads)


def s4d_step(
    u: Array[T],
    state: Array[Z],
    dt: Array[T],
    A: Array[Z],
    C: Array[Z],
    D: Array[T] | None = None,
    B: Array[Z] | None = None,
    *,
    disc: str = "zoh",
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> tuple[T, Z]:
    """One sample of ``s4d_conv``, for streams: s' = z s + B b u, y = 2 Re(C s') + D u (3).

    Parameters
    ----------
    u : (..., H)
        One sample.
    state : (..., H, N) complex
        The state before the sample; not modified.
    dt, A, C, D, B, disc
        As in ``s4d_conv``; not "dss".
    backend, num_threads
        As in ``help(qf.conventions)``.

    Returns
    -------
    y : (..., H) or (..., M, H)
    state : (..., H, N) complex

    Notes
    -----
    Differentiable in all arrays. Computed in double precision and rounded once, so it is as accurate as the dtype of the state allows.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> dt, A, C = np.array([0.1]), np.array([[-1.0 + 0j]]), np.array([[0.5 + 0j]])
    >>> y, state = qf.ssm.s4d_step(np.ones(1), np.zeros((1, 1), complex), dt, A, C)
    >>> y.round(4)
    array([0.0952])
    """
    if state is None:
        raise TypeError("ssm.s4d_step: state is None, expected an array (..., H, N)")
    sample: Any = u
    A, C, B = per_channel(dt, A, C, B)
    arrays = (sample[..., None], dt, A, C, D, B, state)
    y, last = call(S4D_CONV, arrays, _options(disc, "scan", False, True), (), None, backend, num_threads)
    return y[..., 0], last
