"""From continuous time to discrete time, and to the frequency domain. Equation numbers are those of csrc/ssm/README.md.

H inputs, M outputs, N states, R rank.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import _arrays
from ..._arguments import array, choice, is_number
from ..._bind import check_arrays
from ..._spec import Arg, Op
from ..._typing import AnyArray, Array, T

DISCS = ("zoh", "bilinear")
_NEAR = 0.5  # |x| below which psi is summed as a series: (e^x - 1)/x has no good derivative there
_TERMS = 15  # .5^15/16! < 1e-17
_BLOCK = 1 << 20  # matrix entries solved for at once: 16 MB

# No kernel behind it: it says what the arguments are.
_DISCRETIZE = Op(
    __name__, "discretize",
    inputs=(Arg("Lambda", "... N", dtype="complex"), Arg("B", "... N", dtype="complex"), Arg("dt", "...", optional=True)),
    outputs=(), differentiable=False,
)  # fmt: skip


def discretize(Lambda: Array[T], B: Array[T], dt: AnyArray | float, disc: str = "zoh") -> tuple[T, T]:
    """Steps of a diagonal system, from continuous time to the numbers that a recurrence takes (10), (11).

    x' = Lambda x + B u becomes x_t = Lambda_bar x_{t-1} + B_bar u_t, steps of length dt.

    Parameters
    ----------
    Lambda : (..., N) complex
        Poles; NumPy, PyTorch or JAX.
    B : (..., N) or (..., N, H) complex
        Inputs: shaped like Lambda, or with one axis more.
    dt : float, or (..., N), or (...,)
        Step: one number, or shaped like Lambda, or like Lambda without its last axis. An array has Lambda's precision.
    disc : "zoh" or "bilinear"
        Zero-order hold, exact for u constant over each step, or the bilinear rule, which keeps stability and second order.

    Returns
    -------
    Lambda_bar : (..., N)
    B_bar : B's shape

    Raises
    ------
    ValueError
        Shapes that do not fit; another ``disc``.
    TypeError
        Other dtypes, or a mix of kinds or precisions.

    Notes
    -----
    Differentiable in Lambda, B, dt by autograd and `jax.grad`. At Lambda = 0 and for tiny dt Lambda the limit B dt, to full accuracy.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> Lambda_bar, B_bar = qf.ssm.discretize(np.array([-1.0 + 0j]), np.array([1.0 + 0j]), 0.1, "zoh")
    >>> Lambda_bar.round(4), B_bar.round(4)  # exp(-0.1), 1 - exp(-0.1)
    (array([0.9048+0.j]), array([0.0952+0.j]))
    """
    choice(disc, "ssm.discretize", "disc", DISCS)
    number = is_number(dt)
    step: Any = dt
    step = float(step) if number else step  # a Python number has no precision of its own
    check_arrays(_DISCRETIZE, (Lambda, B, None if number else dt))
    shape = tuple(Lambda.shape)
    if not number:
        if step is None:
            raise TypeError("ssm.discretize: dt is None, expected a number or an array")
        if tuple(step.shape) not in ((), shape, shape[:-1]):
            raise ValueError(
                f"ssm.discretize: dt has shape {tuple(step.shape)}, expected (), {shape} or {shape[:-1]} as Lambda has {shape}"
            )
        if len(shape) > 0 and 0 < len(step.shape) < len(shape):
            step = step[..., None]
    if not shape or tuple(B.shape)[: len(shape)] != shape or len(B.shape) > len(shape) + 1:
        raise ValueError(f"ssm.discretize: B has shape {tuple(B.shape)}, expected {shape} or {(*shape, 'H')} as Lambda has {shape}")
    x = Lambda * step
    if disc == "zoh":
        pole, gain = _arrays.namespace(x).exp(x), psi(x) * step
    else:
        half = 1 / (1 - x / 2)
        pole, gain = (1 + x / 2) * half, half * step
    return pole, B * (gain[..., None] if len(B.shape) > len(shape) else gain)


def psi(x: Any) -> Any:
    """(e^x - 1)/x for complex x, 1 at 0, with full accuracy and a derivative of full accuracy everywhere (10)."""
    xp = _arrays.namespace(x)
    near = abs(x) < _NEAR
    small = xp.where(near, x, xp.zeros_like(x))
    series = xp.ones_like(x)
    for n in range(_TERMS, 0, -1):
        series = 1 + small * series / (n + 1)
    large = xp.where(near, xp.ones_like(x), x)  # nothing is divided by 0, so no gradient is NaN
    a, b = large.real, large.imag
    sine = xp.sin(b / 2)
    expm1 = xp.expm1(a) * xp.cos(b) - 2 * sine * sine + 1j * (xp.exp(a) * xp.sin(b))
    return xp.where(near, series, expm1 / large)


def transfer_function(s: Any, A: np.ndarray, B: np.ndarray, C: np.ndarray, *, P: np.ndarray | None = None) -> np.ndarray:
    """G(s) = C (s I - A)^-1 B at complex frequencies, or with A - P P^* for A (12).

    Parameters
    ----------
    s : (...) complex or real
        Frequencies, a number or an array; s = i w on the imaginary axis.
    A : (N,) or (N, N)
        Diagonal, or the whole matrix; real or complex, NumPy.
    B : (N,) or (N, H)
    C : (N,) or (M, N)
        Multiplied as it is, not conjugated.
    P : (N,) or (N, R), optional
        Diagonal plus low rank: the matrix is diag(A) - P P^*, or A - P P^*.

    Returns
    -------
    G : (..., [M,] [H]) complex128
        The axes M and H are there where C and B have them.

    Raises
    ------
    ValueError
        Shapes that do not fit.
    TypeError
        Not numbers, or masked arrays.
    numpy.linalg.LinAlgError
        An s is exactly a pole: the factorisation of s I - A meets a zero.

    Notes
    -----
    In double precision. A linear system a frequency, O(N^3), in blocks of 16 MB; O(N) for a diagonal without P. A NaN in s stays in
    its own value.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> s = 1j * np.array([0.0, 1.0])
    >>> qf.ssm.transfer_function(s, np.array([-1.0]), np.array([1.0]), np.array([1.0]))  # 1 / (1 + s)
    array([1. +0.j , 0.5-0.5j])
    """
    s = _numbers(s, "s")
    A, B, C = _numbers(A, "A"), _numbers(B, "B"), _numbers(C, "C")
    N = A.shape[0] if A.ndim else 0
    if A.shape not in ((N,), (N, N)) or A.ndim == 0:
        raise ValueError(f"ssm.transfer_function: A has shape {A.shape}, expected (N,) or (N, N)")
    if B.ndim not in (1, 2) or B.shape[0] != N:
        raise ValueError(f"ssm.transfer_function: B has shape {B.shape}, expected ({N},) or ({N}, H) with N = {N} as in A")
    if C.ndim not in (1, 2) or C.shape[-1] != N:
        raise ValueError(f"ssm.transfer_function: C has shape {C.shape}, expected ({N},) or (M, {N}) with N = {N} as in A")
    if P is not None:
        P = _numbers(P, "P")
        if P.ndim not in (1, 2) or P.shape[0] != N:
            raise ValueError(f"ssm.transfer_function: P has shape {P.shape}, expected ({N},) or ({N}, R) with N = {N} as in A")
        P = P.reshape(N, -1) if N else np.zeros((0, 1))
        A = (np.diag(A) if A.ndim == 1 else A) - P @ P.conj().T
    columns = B if B.ndim == 2 else B[:, None]
    flat = s.reshape(-1)
    G = np.empty((flat.size, *C.shape[:-1], columns.shape[1]), complex)
    step = max(1, _BLOCK // max(1, N * max(N, columns.shape[1])))
    for at in range(0, flat.size, step):
        G[at : at + step] = C @ _resolvent(flat[at : at + step], A, columns)
    shape = s.shape + C.shape[:-1] + B.shape[1:]
    return G.reshape(shape)


def _resolvent(s: np.ndarray, A: np.ndarray, B: np.ndarray) -> np.ndarray:
    """(s I - A)^-1 B for a block of frequencies, (S, N, H)."""
    if A.ndim == 1:
        gap = s[:, None] - A
        if not gap.all():
            raise _pole(s[~gap.all(axis=1)][0])
        quotients: np.ndarray = B / gap[..., None]
        return quotients
    try:
        result: np.ndarray = np.linalg.solve(s[:, None, None] * np.eye(len(A)) - A, B)
    except np.linalg.LinAlgError:
        raise _pole(next((z for z in s if _is_pole(z, A)), s[0])) from None
    return result


def _is_pole(z: complex, A: np.ndarray) -> bool:
    try:
        np.linalg.inv(z * np.eye(len(A)) - A)
    except np.linalg.LinAlgError:
        return True
    return False


def _pole(z: complex) -> np.linalg.LinAlgError:
    return np.linalg.LinAlgError(f"ssm.transfer_function: s = {z:.6g} is a pole of the system, s I - A is singular; move s off it")


def _numbers(x: Any, name: str) -> np.ndarray:
    if name == "s" and isinstance(x, (int, float, complex, np.number)) and not isinstance(x, bool):
        x = np.asarray(x, complex)
    array(x, "ssm.transfer_function", name, dtypes=_arrays.REAL + _arrays.COMPLEX, torch=False)
    double: np.ndarray = x.astype(np.result_type(x.dtype, np.float64), copy=False)
    return double
