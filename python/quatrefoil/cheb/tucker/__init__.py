"""Tucker decomposition to a tolerance. Equation numbers are those of csrc/cheb/README.md."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any, Generic, NamedTuple

import numpy as np

from ... import _arguments, _arrays
from ..._call import call
from ..._dims import Shape
from ..._spec import Arg, Op, Option, Policy
from ..._typing import Array, Backend, T
from .methods import decompose

METHODS = ("sthosvd", "hooi", "rsvd")


class TuckerTensor(NamedTuple, Generic[T]):
    """A tensor as a small core and one matrix per axis: what ``tucker`` returns.

    core (r_1, ..., r_d) and factors, factors[k] (n_k, r_k): the tensor core x_1 factors[0] ... x_d factors[d-1].

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> core, factors = qf.cheb.tucker(np.ones((4, 5, 6)), tol=1e-12)
    >>> core.shape, [u.shape for u in factors]
    ((1, 1, 1), [(4, 1), (5, 1), (6, 1)])
    """

    core: T
    factors: list[T]


def tucker(
    C: Array[T],
    *,
    tol: float | None = None,
    rank: int | Sequence[int] | None = None,
    method: str = "sthosvd",
    backend: Backend | None = None,
) -> TuckerTensor[T]:
    """Tucker decomposition: a tensor as a small core and orthonormal factors, to a tolerance (1).

    C ~ core x_1 U_1 ... x_d U_d so that ||C - result|| <= tol ||C||.

    Parameters
    ----------
    C : (n_1, ..., n_d)
        Any tensor, of coefficients or of values; float32 or float64.
    tol : float, optional
        Relative, in the Frobenius norm. Met down to 1e-12 in float64. Below 4 eps of the dtype it is raised to that, with a warning.
    rank : int, or one per axis, optional
        Exact ranks; together with ``tol`` an upper bound.
    method : "sthosvd", "hooi" or "rsvd"
        "sthosvd": sequentially truncated higher-order SVD, at most sqrt(d) times the best error. "hooi": sweeps of higher-order
        orthogonal iteration from there, which keep the ranks and lower the error. "rsvd": with ``rank`` alone by random sketches, in fewer
        operations and, as a rule, within a tenth of the error of "sthosvd"; with ``tol`` the two are one.
    backend
        As in ``help(qf.conventions)``. On the host all do the same: LAPACK works, on as many threads as it is set to.

    Returns
    -------
    TuckerTensor(core (r_1, ..., r_d), factors)
        factors[k] (n_k, r_k) has orthonormal columns whose largest entry is positive. A zero tensor has ranks 1.

    Raises
    ------
    ValueError
        Neither tol nor rank; tol < 0 or NaN; a rank < 1 or > n; NaN or infinity in C (the index is named); a norm of C that the dtype does
        not hold; an unknown method.
    TypeError
        Other dtypes.
    NotImplementedError
        A tensor that requires a gradient: truncation has none.

    Notes
    -----
    With ``tol`` bases of unfoldings come from random sketches, always the same ones, whose error is measured: the tolerance is met by what
    is found, not with some probability (2). Where they would save nothing, and with ``rank`` alone, Gram matrices take their place, two of
    them where one knows too little (3).

    Cost for N numbers, n entries and rank r of the first axis: about 2 (r + s) N flops down to tol = 6e-7, below 2 (2 r + s) N, s being
    64^(1/(d-1)). By Gram matrices n N and 2 (n + 3 r) N. A sweep of "hooi": 2 d r N. Axes after the first are smaller by r / n. Memory:
    a few times N numbers and those of the result, also where one axis is longer than all others together. float32 is worked on in float64.
    Backend "array" takes QR decompositions of all unfoldings, 4 n N flops for the first axis, "rsvd" is "sthosvd" there, and with ``tol``
    the device is waited for once.

    Vannieuwenhoven, Vandebril and Meerbergen, SIAM J. Sci. Comput. 34 (2012) A1027; De Lathauwer, De Moor and Vandewalle, SIAM J. Matrix
    Anal. Appl. 21 (2000) 1324; Halko, Martinsson and Tropp, SIAM Review 53 (2011) 217.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> x = np.linspace(0, 1, 50)
    >>> C = 1 / (1 + x[:, None, None] + x[:, None] + x)
    >>> core, factors = qf.cheb.tucker(C, tol=1e-6)
    >>> core.shape
    (4, 4, 4)
    >>> error = C - np.einsum("abc,ia,jb,kc->ijk", core, *factors)
    >>> bool(np.linalg.norm(error) <= 1e-6 * np.linalg.norm(C))
    True
    """
    label = "cheb.tucker"
    _arguments.choice(method, label, "method", METHODS)
    _arguments.array_anywhere(C, label, "C")
    shape = tuple(C.shape)
    if not shape or 0 in shape:
        raise ValueError(f"{label}: C has shape {shape}, expected at least one axis and no axis without entries")
    if tol is None and rank is None:
        raise ValueError(f"{label}: neither tol nor rank is given, expected one of them or both")
    if tol is not None:
        tol = raised(_arguments.number(tol, label, "tol"), np.dtype(_arrays.dtype_name(C)), label)
    ranks = shape if rank is None else _arguments.integers(rank, len(shape), label, "rank", 1)
    for r, n in zip(ranks, shape):
        if r > n:
            raise ValueError(f"{label}: rank {ranks} is larger than C's shape {shape}")
    if tol is not None:  # no unfolding has a higher rank than its shorter side
        ranks = tuple(min(r, math.prod(shape) // n) for r, n in zip(ranks, shape))
    core, factors, found = call(_TUCKER, (C,), (-1.0 if tol is None else tol, tuple(ranks), method), (), None, backend)
    kept = tuple(ranks) if tol is None else tuple(_arrays.to_host(found).tolist())  # for which a device is waited for
    ends = np.cumsum([n * r for n, r in zip(shape, ranks)])
    matrices = [factors[end - n * most : end].reshape(n, most)[:, :r] for n, most, r, end in zip(shape, ranks, kept, ends)]
    return TuckerTensor(_own(core[tuple(map(slice, kept))]), list(map(_own, matrices)))


def _own(part: Any) -> Any:
    """A part of a result in memory of its own."""
    return part.contiguous().clone() if _arrays.kind(part) == "torch" else part.copy()


def raised(tol: float, dtype: np.dtype[Any], label: str, level: int = 3) -> float:
    """A tolerance that the caller gave, at least 4 eps; ``level``: of the caller above this function."""
    least = 4 * float(np.finfo(dtype).eps)
    if tol < least:
        warnings.warn(f"{label}: tol = {tol} is below what {dtype} can hold, taken as {least:.1e}", RuntimeWarning, stacklevel=level)
    return max(tol, least)


def _shapes(label: str, shapes: Sequence[Shape | None], options: tuple[Any, ...]) -> list[Shape | None]:
    (shape,), (_, ranks, _) = shapes, options
    assert shape is not None
    return [shape, (sum(n * r for n, r in zip(shape, ranks)),), (len(shape),)]


def _kernel(
    C: np.ndarray,
    core: np.ndarray,
    factors: np.ndarray,
    found: np.ndarray,
    tol: float,
    ranks: Any,
    method: str,
    num_threads: int,
    *,
    backend: str,
) -> None:
    """What is kept stands at the beginning of core and, column by column, of every (n, r) matrix in factors; nobody reads the rest, and to
    fill the core would take as long as its largest product."""
    parts = decompose(C, None if tol < 0 else tol, ranks, method)
    if parts is None:
        _arguments.finite(C, "cheb.tucker", "C")
    assert parts is not None
    kept, matrices = parts
    with np.errstate(over="ignore"):
        core[tuple(map(slice, kept.shape))] = kept
    if not np.isfinite(core[tuple(map(slice, kept.shape))]).all():
        raise ValueError(f"cheb.tucker: the norm of C is beyond the largest number of {core.dtype}; scale C")
    at = 0
    for U, most in zip(matrices, ranks):
        n, r = U.shape
        factors[at : at + n * most].reshape(n, most)[:, :r] = U
        at += n * most
    found[...] = kept.shape


# How many columns are kept shows when they are computed: results have room for the most that there may be, and the ranks come with them.
_TUCKER = Op(
    __name__, "tucker",
    inputs=(Arg("C", "..."),),
    outputs=(Arg("core", "..."), Arg("factors", "numbers"), Arg("ranks", "d", dtype="int")),
    options=(Option("tol", float), Option("ranks", "ints"), Option("method", str)),
    rule=_shapes,
    differentiable=False,
    policy=Policy(python_kernel=_kernel),
)  # fmt: skip
