"""Tucker decomposition to a tolerance. Equation numbers refer to csrc/cheb/README.md."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Generic, NamedTuple

import numpy as np

from ... import _arguments, _arrays
from ..._call import call
from ..._dims import Shape
from ..._spec import Arg, Op, Option, Policy
from ..._typing import Array, ArrayLike, Backend, T
from ..._warnings import warn
from . import partial
from .methods import decompose

METHODS = ("sthosvd", "hooi", "rsvd")


class TuckerTensor(NamedTuple, Generic[T]):
    """A tensor as a small core and one matrix per axis.

    core (r_1, ..., r_d), factors[k] (n_k, r_k): core x_1 factors[0] ... x_d factors[d-1].

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
    modes: int | Sequence[int] | None = None,
    mask: ArrayLike | None = None,
    fixed: Mapping[int, ArrayLike] | None = None,
    backend: Backend | None = None,
) -> TuckerTensor[T]:
    """Decompose a tensor into a small core and orthonormal factors, to a tolerance (1).

    C ~ core x_1 U_1 ... x_d U_d so that ||C - result|| <= tol ||C||.

    Parameters
    ----------
    C : (n_1, ..., n_d)
        Any tensor of coefficients or values; float32 or float64. NaN and infinity raise a ValueError with their index.
    tol : float, optional
        Relative to the Frobenius norm. At least one of ``tol`` and ``rank`` is required. Tolerances down to 1e-12 are met in float64. A tol
        below 4 eps of the dtype is raised to that, with a warning.
    rank : int, or one per axis, optional
        Exact ranks; together with ``tol``, upper bounds. With ``modes`` or ``fixed``, one per axis that is compressed.
    method : "sthosvd", "hooi" or "rsvd"
        "sthosvd": sequentially truncated higher-order SVD, at most sqrt(d) times the best error. "hooi": the same, followed by sweeps of
        higher-order orthogonal iteration, which preserve the ranks and lower the error. "rsvd": with ``rank`` only, random sketches, with
        fewer operations and an error usually at most a tenth larger than that of "sthosvd"; with ``tol``, the same as "sthosvd".
    modes : int, or several, optional
        The axes to compress, all by default. Negative axes count from the end.
    mask : bool like C, optional
        True where an entry of C is known; the others may be NaN. Needs ``rank``. The result is the tensor with these ranks that is nearest
        to the known entries, or one within ``tol`` of them. Its other entries complete C.
    fixed : mapping of axes to matrices (n_k, r_k), optional
        Prescribed factors of full column rank, orthonormal or not; the best core and other factors for them are computed.
    backend
        As in ``help(qf.conventions)``. All backends on the host use LAPACK, with its own number of threads.

    Returns
    -------
    TuckerTensor(core (r_1, ..., r_d), factors)
        factors[k] (n_k, r_k) has orthonormal columns whose largest entry is positive. A zero tensor has ranks 1. With ``modes``, there is
        one factor per entry of ``modes``, in the same order; the other axes of the core are the axes of C.

    Raises
    ------
    ValueError
        An argument is out of range; the norm of C exceeds the range of the dtype; ``fixed`` factors alone already miss ``tol``; a ``mask``
        leaves a slice without known entries, or has fewer known entries than the result has unknowns.
    NotImplementedError
        The tensor requires a gradient: truncation has none.

    Notes
    -----
    With ``tol``, bases of unfoldings are computed from random sketches, always the same ones, with measured errors, so the tolerance is
    guaranteed and not only probable (2). If sketches would save nothing, and with ``rank`` alone, one or two Gram matrices replace them
    (3).

    Cost for N numbers, if the first axis has length n and rank r: about 2 (r + s) N flops down to tol = 6e-7, and 2 (2 r + s) N below, with
    s = 64^(1/(d-1)). With Gram matrices, the costs are n N and 2 (n + 3 r) N. A sweep of "hooi" takes 2 d r N. For each later axis, N is
    smaller by a factor of r / n. Memory: a few times N numbers and the result. Computed in float64. Backend "array" computes QR
    decompositions of all unfoldings, 4 n N flops for the first axis; with it, "rsvd" is the same as "sthosvd", and ``tol`` synchronises the
    device once.

    With ``mask``, L-BFGS runs on the host for core and factors from two starts: the given ranks, and small ranks that grow to them. Each
    takes up to 1000 steps of 2 (d + 2) r N flops. ``method`` computes the starts. The result may be a local minimum. A RuntimeWarning
    is issued if it has not converged.

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
    >>> known = np.random.default_rng(0).random(C.shape) < 0.3
    >>> core, factors = qf.cheb.tucker(np.where(known, C, np.nan), rank=2, mask=known)
    >>> error = C - np.einsum("abc,ia,jb,kc->ijk", core, *factors)
    >>> bool(np.linalg.norm(error) <= 2e-3 * np.linalg.norm(C))
    True
    """
    label = "cheb.tucker"
    if mask is not None or fixed is not None:
        return _partial(C, tol, rank, method, modes, mask, fixed, backend, label)
    _arguments.choice(method, label, "method", METHODS)
    _arguments.host_array(C, label, "C", device="keep")
    shape = tuple(C.shape)
    if not shape or 0 in shape:
        raise ValueError(f"{label}: C has shape {shape}, expected at least one axis and no empty axis")
    if tol is None and rank is None:
        raise ValueError(f"{label}: got neither tol nor rank, expected at least one of them")
    if tol is not None:
        tol = raised(_arguments.number(tol, label, "tol"), np.dtype(_arrays.dtype_name(C)), label)
    axes = modes_of(modes, len(shape), label)
    ranks = ranks_of(rank, axes, shape, label)
    if tol is not None:  # no unfolding has a higher rank than its shorter side
        ranks = tuple(min(r, math.prod(shape) // n) for r, n in zip(ranks, shape))
    core, factors, final_ranks = call(_TUCKER, (C,), (-1.0 if tol is None else tol, tuple(ranks), method), (), None, backend)
    final = tuple(ranks) if tol is None else tuple(_arrays.to_host(final_ranks).tolist())  # synchronises a device
    ends = np.cumsum([n * r for n, r in zip(shape, ranks)])
    matrices = [factors[end - n * columns : end].reshape(n, columns)[:, :r] for n, columns, r, end in zip(shape, ranks, final, ends)]
    used = [r or n for r, n in zip(final, shape)]
    return TuckerTensor(_copied(core[tuple(map(slice, used))]), [_copied(matrices[k]) for k in axes])


def _partial(
    C: Any, tol: float | None, rank: Any, method: str, modes: Any, mask: Any, fixed: Any, backend: Backend | None, label: str
) -> TuckerTensor[Any]:
    """``tucker`` with a mask or fixed factors."""
    fixed_factors = {} if fixed is None else fixed
    if not isinstance(fixed_factors, Mapping):
        raise TypeError(f"{label}: fixed is {type(fixed).__name__}, expected a mapping of axes to factors, such as {{0: U}}")
    if backend not in (None, "native", "numba"):
        raise ValueError(f"{label}: mask and fixed are supported only on the host, not by backend {backend!r}")
    _arguments.choice(method, label, "method", METHODS)
    host = _arguments.host_array(C, label, "C").astype(np.float64)
    axes = modes_of(modes, host.ndim, label)
    matrices = {}
    for k, U in fixed_factors.items():
        axis = _arguments.integer(k, label, "an axis of fixed", -host.ndim, host.ndim - 1) % host.ndim
        matrix = _arguments.host_array(U, label, f"fixed[{k}]", convert=True).astype(np.float64)
        if axis not in axes or matrix.ndim != 2 or not 1 <= matrix.shape[1] <= matrix.shape[0] or len(matrix) != host.shape[axis]:
            what = f"({host.shape[axis]}, r)" if axis in axes else "an axis among modes"
            raise ValueError(f"{label}: fixed[{k}] has shape {matrix.shape}, expected {what}")
        _arguments.finite(matrix, label, f"fixed[{k}]")
        matrices[axis] = matrix
    free = [k for k in axes if k not in matrices]
    if (mask is not None or tol is None) and rank is None and free:
        why = "" if mask is None else "; with a mask, a tolerance cannot determine them"
        raise ValueError(f"{label}: rank is None, expected ranks{why}")
    ranks, bases = ranks_of(rank, free, host.shape, label), partial.bases_of(matrices, label)
    if mask is None:
        _arguments.finite(host, label, "C")
        core, factors = partial.with_fixed_factors(host, tol, ranks, method, bases, label)
    else:
        known = np.asarray(_arrays.to_host(mask) if _arrays.kind(mask) else mask)
        if known.dtype != np.bool_ or known.shape != host.shape:
            raise ValueError(f"{label}: mask is {known.dtype} of shape {known.shape}, expected bool of shape {host.shape}, like C")
        _arguments.finite(np.where(known, host, 0), label, "C")
        partial.check_known(known, free, [matrices[k].shape[1] if k in matrices else r for k, r in enumerate(ranks)], label)
        largest = float(np.abs(host[known]).max(initial=0)) or 1.0
        scale = largest * (float(np.linalg.norm(host[known] / largest)) or 1.0)
        core, factors = partial.completed(np.where(known, host / scale, 0), known, tol or 0.0, ranks, method, bases, label)
        core = core * scale
    return TuckerTensor(_like(core, C), [_like(matrices.get(k, factors[k]), C) for k in axes])


def _like(numbers: np.ndarray, C: Any) -> Any:
    return _arrays.to_device_of(np.ascontiguousarray(numbers, _arrays.dtype_name(C)), C)


def modes_of(modes: Any, d: int, label: str) -> tuple[int, ...]:
    """The axes to compress, in the caller's order."""
    if modes is None:
        return tuple(range(d))
    axes = tuple(k % d for k in _arguments.integers(modes, None, label, "modes", -d, d - 1))
    if not axes or len(set(axes)) < len(axes):
        raise ValueError(f"{label}: modes is {modes!r}, expected distinct axes, at least one")
    return axes


def ranks_of(rank: Any, axes: Sequence[int], shape: Sequence[int], label: str) -> tuple[int, ...]:
    """One rank per axis of C: its length if there is no ``rank``, 0 for an axis that is not compressed."""
    chosen = dict.fromkeys(axes, 0)
    chosen.update(zip(axes, [shape[k] for k in axes] if rank is None else _arguments.integers(rank, len(axes), label, "rank", 1)))
    for k, r in chosen.items():
        if r > shape[k]:
            raise ValueError(f"{label}: rank is {tuple(chosen.values())}, expected at most the shape of C, {tuple(shape[k] for k in axes)}")
    return tuple(chosen.get(k, 0) for k in range(len(shape)))


def _copied(part: Any) -> Any:
    return part.contiguous().clone() if _arrays.kind(part) == "torch" else part.copy()


def raised(tol: float, dtype: np.dtype[Any], label: str) -> float:
    """The caller's tolerance, raised to 4 eps with a warning."""
    limit = 4 * float(np.finfo(dtype).eps)
    if tol < limit:
        warn(f"{label}: tol = {tol} is below the precision of {dtype}; using {limit:.1e}")
    return max(tol, limit)


def _shapes(label: str, shapes: Sequence[Shape | None], options: tuple[Any, ...]) -> list[Shape | None]:
    (shape,), (_, ranks, _) = shapes, options
    assert shape is not None
    return [shape, (sum(n * r for n, r in zip(shape, ranks)),), (len(shape),)]


def _kernel(
    C: Any, core: Any, factors: Any, final_ranks: Any, tol: float, ranks: Any, method: str, num_threads: int, *, backend: str
) -> None:
    """Write the leading part of core and the leading columns of every (n, r) matrix in factors.

    The rest is never read; filling it would take as long as the largest product.
    """
    parts = decompose(C, None if tol < 0 else tol, ranks, method)
    if parts is None:
        _arguments.finite(C, "cheb.tucker", "C")
    assert parts is not None
    small, matrices = parts
    leading = tuple(map(slice, small.shape))
    with np.errstate(over="ignore"):
        core[leading] = small
    if not np.isfinite(core[leading]).all():
        raise ValueError(f"cheb.tucker: the norm of C overflows {core.dtype}; scale C")
    at = 0
    for U, columns in zip(matrices, ranks):
        n, r = U.shape
        factors[at : at + n * columns].reshape(n, columns)[:, :r] = U
        at += n * columns
    final_ranks[...] = small.shape


# The final ranks are known only after the computation: results have room for the largest ranks, and the final ones are a third result.
_TUCKER = Op(
    __name__, "tucker",
    inputs=(Arg("C", "..."),),
    outputs=(Arg("core", "..."), Arg("factors", "numbers"), Arg("ranks", "d", dtype="int")),
    options=(Option("tol", float), Option("ranks", "ints"), Option("method", str)),
    rule=_shapes,
    differentiable=False,
    policy=Policy(python_kernel=_kernel),
)  # fmt: skip
