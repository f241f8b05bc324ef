"""Discretisation and transfer functions. H inputs, M outputs, N states, rank R. Equation numbers: csrc/ssm/README.md."""

from __future__ import annotations

from typing import Any

import numpy as np

from ... import _arrays
from ..._arguments import array, choice, is_number
from ..._bind import check_arrays
from ..._spec import Arg, Op
from ..._typing import AnyArray, Array, T

DISCS = ("zoh", "bilinear")
_NEAR = 0.5  # |x| below which psi is computed as a series, because (e^x - 1)/x has no accurate derivative there
_TERMS = 15  # .5^15/16! < 1e-17
_BLOCK = 1 << 20  # matrix entries per batch of systems: 16 MB

# Describes the arguments only: there is no kernel.
_DISCRETIZE = Op(
    __name__, "discretize",
    inputs=(Arg("Lambda", "... N", dtype="complex"), Arg("B", "... N", dtype="complex"), Arg("dt", "...", optional=True)),
    outputs=(), differentiable=False,
)  # fmt: skip


def discretize(Lambda: Array[T], B: Array[T], dt: AnyArray | float, disc: str = "zoh") -> tuple[T, T]:
    """Discretise a diagonal system (10), (11).

    x' = Lambda x + B u becomes x_t = Lambda_bar x_{t-1} + B_bar u_t with steps of length dt.

    Parameters
    ----------
    Lambda : (..., N) complex
        Poles; a NumPy, PyTorch or JAX array.
    B : (..., N) or (..., N, H) complex
        Input matrix: one column, with the shape of Lambda, or H columns.
    dt : float, or (..., N), or (...,)
        Step size: a number, or an array with the precision and shape of Lambda, with or without its last axis.
    disc : "zoh" or "bilinear"
        Zero-order hold, exact if u is constant over each step, or the bilinear rule, which is stable and of second order.

    Returns
    -------
    Lambda_bar : (..., N)
    B_bar : same shape as B

    Notes
    -----
    Differentiable in Lambda, B, dt by autograd and `jax.grad`. Accurate for small dt Lambda, with the limit B dt at Lambda = 0.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> Lambda_bar, B_bar = qf.ssm.discretize(np.array([-1.0 + 0j]), np.array([1.0 + 0j]), 0.1, "zoh")
    >>> Lambda_bar.round(4), B_bar.round(4)  # exp(-0.1), 1 - exp(-0.1)
    (array([0.9048+0.j]), array([0.0952+0.j]))
    """
    choice(disc, "ssm.discretize", "disc", DISCS)
    step: Any = dt
    if step is None:
        raise TypeError("ssm.discretize: dt is None, expected a number or an array")
    step = float(step) if is_number(dt) else step  # a Python number adapts to the dtype of arrays
    check_arrays(_DISCRETIZE, (Lambda, B, None if is_number(dt) else dt))
    shape = tuple(Lambda.shape)
    if not is_number(dt):
        if tuple(step.shape) not in ((), shape, shape[:-1]):
            raise ValueError(
                f"ssm.discretize: dt has shape {tuple(step.shape)}, expected (), {shape} or {shape[:-1]}, because Lambda has shape {shape}"
            )
        if len(shape) > 0 and 0 < len(step.shape) < len(shape):
            step = step[..., None]
    if not shape or tuple(B.shape)[: len(shape)] != shape or len(B.shape) > len(shape) + 1:
        raise ValueError(
            f"ssm.discretize: B has shape {tuple(B.shape)}, expected {shape} or {(*shape, 'H')}, because Lambda has shape {shape}"
        )
    x = Lambda * step
    if disc == "zoh":
        pole, gain = _arrays.namespace(x).exp(x), psi(x) * step
    else:
        half = 1 / (1 - x / 2)
        pole, gain = (1 + x / 2) * half, half * step
    return pole, B * (gain[..., None] if len(B.shape) > len(shape) else gain)


def psi(x: Any) -> Any:
    """(e^x - 1)/x for complex x, 1 at 0; accurate everywhere, and so is its derivative (10)."""
    xp = _arrays.namespace(x)
    near = abs(x) < _NEAR
    small = xp.where(near, x, xp.zeros_like(x))
    series = xp.ones_like(x)
    for n in range(_TERMS, 0, -1):
        series = 1 + small * series / (n + 1)
    large = xp.where(near, xp.ones_like(x), x)  # avoids a division by 0, whose gradient would be NaN
    a, b = large.real, large.imag
    sine = xp.sin(b / 2)
    expm1 = xp.expm1(a) * xp.cos(b) - 2 * sine * sine + 1j * (xp.exp(a) * xp.sin(b))
    return xp.where(near, series, expm1 / large)


def transfer_function(s: Any, A: np.ndarray, B: np.ndarray, C: np.ndarray, *, P: np.ndarray | None = None) -> np.ndarray:
    """Transfer function G(s) = C (s I - A)^-1 B, or with A - P P^* in place of A (12).

    Parameters
    ----------
    s : (...) complex or real
        Frequencies, a number or an array; s = i w on the imaginary axis.
    A : (N,) or (N, N)
        Diagonal or full matrix; real or complex NumPy array.
    B : (N,) or (N, H)
    C : (N,) or (M, N)
        Not conjugated.
    P : (N,) or (N, R), optional
        Low-rank factor: the matrix is diag(A) - P P^*, or A - P P^*.

    Returns
    -------
    G : (..., [M,] [H]) complex128
        Has the axes M and H if C and B have them.

    Raises
    ------
    numpy.linalg.LinAlgError
        Some s is exactly a pole.

    Notes
    -----
    Computed in double precision. Cost: one linear system per frequency, O(N^3), in blocks of 16 MB; if A is diagonal and P is None, O(N).
    A NaN in s affects only its own value.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> s = 1j * np.array([0.0, 1.0])
    >>> qf.ssm.transfer_function(s, np.array([-1.0]), np.array([1.0]), np.array([1.0]))  # 1 / (1 + s)
    array([1. +0.j , 0.5-0.5j])
    """
    s = _numbers(s, "s")
    A, B, C = _numbers(A, "A"), _numbers(B, "B"), _numbers(C, "C")
    P = None if P is None else _numbers(P, "P")
    if A.ndim == 0 or A.shape not in ((len(A),), (len(A), len(A))):
        raise ValueError(f"ssm.transfer_function: A has shape {A.shape}, expected (N,) or (N, N)")
    N = len(A)
    for name, x, axis, form in (("B", B, 0, f"({N}, H)"), ("C", C, -1, f"(M, {N})"), ("P", P, 0, f"({N}, R)")):
        if x is not None and (x.ndim not in (1, 2) or x.shape[axis] != N):
            raise ValueError(f"ssm.transfer_function: {name} has shape {x.shape}, expected ({N},) or {form} with N = {N}, like A")
    if P is not None:
        P = P.reshape(N, -1) if N else np.zeros((0, 1))
        A = (np.diag(A) if A.ndim == 1 else A) - P @ P.conj().T
    columns = B if B.ndim == 2 else B[:, None]
    flat = s.reshape(-1)
    G = np.empty((flat.size, *C.shape[:-1], columns.shape[1]), complex)
    step = max(1, _BLOCK // max(1, N * max(N, columns.shape[1])))
    for at in range(0, flat.size, step):
        G[at : at + step] = C @ _resolvent(flat[at : at + step], A, columns)
    return G.reshape(s.shape + C.shape[:-1] + B.shape[1:])


def _resolvent(s: np.ndarray, A: np.ndarray, B: np.ndarray) -> np.ndarray:
    """Compute (s I - A)^-1 B for a block of frequencies, (S, N, H)."""
    if A.ndim == 1:
        gap = s[:, None] - A
        if not gap.all():
            raise _pole(s[~gap.all(axis=1)][0])
        quotients: np.ndarray = B / gap[..., None]
        return quotients
    matrices = s[:, None, None] * np.eye(len(A)) - A
    try:
        result: np.ndarray = np.linalg.solve(matrices, B)
    except np.linalg.LinAlgError:
        raise _pole(s[np.nanargmin(np.linalg.slogdet(matrices)[1])]) from None
    return result


def _pole(z: complex) -> np.linalg.LinAlgError:
    return np.linalg.LinAlgError(
        f"ssm.transfer_function: s = {z:.6g} is a pole of the system, where s I - A is singular; use a different s"
    )


def _numbers(x: Any, name: str) -> np.ndarray:
    if name == "s" and isinstance(x, (int, float, complex, np.number)) and not isinstance(x, bool):
        x = np.asarray(x, complex)
    array(x, "ssm.transfer_function", name, dtypes=_arrays.REAL + _arrays.COMPLEX, torch=False)
    double: np.ndarray = x.astype(np.result_type(x.dtype, np.float64), copy=False)
    return double
