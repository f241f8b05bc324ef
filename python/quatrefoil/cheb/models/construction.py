"""Construction of Chebyshev-Tucker tensors from functions, values, coefficients and canonical sums.

Equation numbers refer to csrc/cheb/README.md.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Literal, Self

import numpy as np

from ... import _arguments, _arrays
from ..._arguments import sequence
from ..._bind import check_arrays
from ..._spec import Arg, Op
from ..._typing import ArrayLike
from ..._warnings import warn
from ..distributions import distributions_of
from ..domain import UNIT, Domain, axes_of, flat_domain, to_reference
from ..transform import chebpts, vals2coeffs
from ..tucker import raised, tucker
from . import algebra, budget, canonical, sampling, trainfit
from .function import MAX_CACHED, MAX_VALUES, Function, NotResolved, arguments_of
from .parts import TensorParts

DEFAULT_TOL = 1e-10

# describes the arguments, to check them like those of ops; never called
_WEIGHTS = Arg("weights", "R")
_CANONICAL = Op(__name__, "ChebTucker.from_cp", (_WEIGHTS, Arg("factors", "n_ R", sequence=True)), (_WEIGHTS,), differentiable=False)

HINTS = {
    **dict.fromkeys(("degree", "deg", "order", "num", "npts"), "use n, the number of coefficients per axis, one more than the degree"),
    **dict.fromkeys(("bounds", "box", "limits", "lower", "upper", "lo", "hi", "a", "b"), "use domain=[(lo, hi), ...], one pair per axis"),
    **dict.fromkeys(("rank", "ranks", "max_rank"), "omit it: tol determines the ranks"),
    **dict.fromkeys(("eps", "rtol", "atol", "accuracy"), "use tol"),
    **dict.fromkeys(("max_calls", "budget", "n_samples", "max_evals"), "use max_evaluations"),
}


class Construction(TensorParts):
    """Class methods that build a ``ChebTucker`` with orthonormal factors. Results scale with the units of data and axes. They raise
    ValueError if the core exceeds the range of its dtype."""

    __slots__ = ()

    @classmethod
    @_arguments.keywords(
        "cheb.ChebTucker.from_function",
        positional="pass domain as [(lo, hi), ...], one pair per axis, and n=, tol= by keyword",
        missing="expected from_function(f, domain)",
        **HINTS,
    )
    def from_function(
        cls,
        f: Callable[..., Any],
        domain: Domain = UNIT,
        *,
        n: int | Sequence[int] | None = None,
        tol: float = DEFAULT_TOL,
        method: Literal["tucker", "tt"] = "tucker",
        max_evaluations: int | None = None,
        executor: Any = None,
        checkpoint: str | os.PathLike[str] | None = None,
        progress: bool | Callable[[int, float], Any] | None = None,
    ) -> Self:
        """Interpolate f on a fixed grid, or adaptively along fibres, and compress the result to ``tol``.

        Parameters
        ----------
        f : callable
            f(x, y, z) takes d arrays (P,) of coordinates and returns real, finite numbers (P,), or a tuple or list of such arrays, one per
            output. It may overwrite its arguments and results. For a function of scalars pass ``np.vectorize(f)``, for a function of points
            (P, d) ``lambda x, y, z: f(np.stack([x, y, z], -1))``.
        domain : one pair (lo, hi) per axis
            [(0, 1), (2, 3)] is 0 to 1 in x and 2 to 3 in y, not two corners. A single pair applies to all axes; there are as many axes as
            entries of n or, if n is a number or omitted, as arguments of f without a default.
        n : int, or one per axis, optional
            Points per axis. By default chosen adaptively, up to 65537; negligible trailing coefficients are dropped.
        tol : float
            Relative, in the Frobenius norm of the coefficients. A tol below 4 eps of float64 is raised to that value, with a warning.
        method : "tucker" or "tt"
            With "tt" the core is a tensor train, with a few thousand values where an array of seven to twenty axes would have millions. The
            order of the axes matters: put those that interact next to each other.
        max_evaluations : int, optional
            Maximum number of evaluations of f, without n. Tolerances 0.1, 0.01, ..., ``tol`` are met one after another, reusing all
            earlier values, until the evaluations are used up. The last result is returned; its ``error_estimate`` is the accuracy reached.
            For few evaluations use ``PolynomialChaos``, or ``method="tt"``, which chooses between a train with tolerances 1e-2, 1e-4, 1e-5,
            ... and a fit to random points in the same way.
        executor : concurrent.futures.Executor, optional
            Runs f; any object with ``submit(f, *arguments)``. f is called with one point at a time, d numbers, and returns a number or a
            tuple of numbers. Processes need a function that can be pickled, defined at the top level of a module.
        checkpoint : path, optional
            Text file to which each value is appended immediately, a line ``x0,x1,..,f`` per point. After an error or an interruption the
            same call continues where it stopped. f is called with numbers, as with an executor.
        progress : True or a callable, optional
            Called as progress(number of evaluations of f, largest error in the last test relative to the largest |f|). The error is
            infinite before the first test. True prints a line per second to stderr.

        Returns
        -------
        ChebTucker, or a list of them if f returns a tuple or list
            ``.n_evaluations`` is the number of points at which f was evaluated. ``.error_estimate`` is the largest error at the test points
            relative to the largest |f|, or the decay of the coefficients if that is larger.

        Raises
        ------
        ValueError
            Without n: f is not resolved, because it is not smooth, needs more than 2^25 values, or needs more than ``max_evaluations`` even
            for the first of these tolerances.

        Notes
        -----
        With n: prod(n) values, and 30 at random points. Warns if the error there exceeds 10 tol times the largest |f|.

        Without n (6)-(9): random fibres along each axis, each with as many points as tol requires, are added until two of them are spanned
        by the others. This takes n_k (r_k + 2) values per axis, and prod(r) for the core, or prod(n) on the full grid if that is less. The
        largest error at the test points (up to 132 at first, including corners) must be at most tol times the largest |f|; otherwise fibres
        through the worst points are added. So a kink takes many points, or is not resolved. The random points are always the same. A narrow
        peak between all points is missed. Computed in float64. Memory use is a few times that of the values evaluated together.

        Dolgov, Kressner and Strossner, SIAM J. Sci. Comput. 43 (2021) A2190.

        Examples
        --------
        >>> import numpy as np, quatrefoil as qf
        >>> cube = ((-1, 1),) * 3
        >>> ct = qf.cheb.ChebTucker.from_function(lambda x, y, z: 1 / (4 + x + y * z), cube, tol=1e-8)
        >>> ct.rank
        (6, 9, 9)
        >>> ct.n_evaluations < 65**3
        True
        >>> wave = qf.cheb.ChebTucker.from_function(lambda x, y, z: np.exp(x) * np.sin(9 * y) * z, cube)
        >>> wave.rank
        (1, 1, 1)
        """
        label = "cheb.ChebTucker.from_function"
        chained = _arguments.choice(method, label, "method", ("tucker", "tt")) == "tt"
        d = axes_of(domain) or (len(n) if isinstance(n, Sequence) else arguments_of(f))
        flat = flat_domain(domain, d, label)
        tol = raised(_arguments.number(tol, label, "tol"), np.dtype(np.float64), label)
        cache_size = MAX_VALUES if max_evaluations is not None else MAX_CACHED if n is None and d > 1 else 0
        function = Function(f, flat, label, cache_size=cache_size, executor=executor, checkpoint=checkpoint, progress=progress)
        if n is not None:
            if chained:
                raise ValueError(f"{label}: got n and method='tt', expected one of them; with n all prod(n) values are computed")
            if max_evaluations is not None:
                raise ValueError(
                    f"{label}: got n and max_evaluations, expected one of them; with n, prod(n) + {sampling.CHECKED} values are computed"
                )
            function.max_evaluations = None
            counts = _arguments.integers(n, d, label, "n", 1, _arguments.MAX_NUMBERS)
            outputs, off = cls._on_a_grid(function, counts, tol, label)
        else:
            if max_evaluations is not None:
                function.max_evaluations = _arguments.integer(max_evaluations, label, "max_evaluations", 1)
            outputs, off = _adaptive(function, tol, max_evaluations, chained and d > 2)
        tensors: Any = [cls(core, factors, domain=flat) for core, factors in outputs]
        for ct, missed in zip(tensors, off):
            ct.n_evaluations = function.count
            ct._measured = max(ct.error_estimate, float(missed))
        return tensors if function.outputs is not None else tensors[0]

    @classmethod
    def _on_a_grid(cls, function: Function, counts: Sequence[int], tol: float, label: str) -> tuple[list[Any], np.ndarray]:
        flat = tuple(function.domain)
        tensors = [cls._interpolated(V, V, flat, tol, label) for V in function(*np.ix_(*chebpts(counts, flat)))]
        parts = [(ct.core, list(ct.factors)) for ct in tensors]
        X = function.random_points(np.random.Generator(np.random.Philox(key=0)), sampling.CHECKED)
        off = sampling.misfit(function, parts, X)
        if off.max() > sampling.allowed(tol):
            what = f"{label}: n = {tuple(counts)} does not resolve f: at random points the error is {off.max():.1e} times its largest value"
            warn(f"{what}; use a larger n, omit n to choose it adaptively, or use a larger tol")
        return parts, off

    @staticmethod
    @_arguments.keywords("cheb.ChebTucker.points", missing="expected points(n, domain)", **HINTS)
    def points(n: int | Sequence[int], domain: Domain = UNIT) -> np.ndarray:
        """Return the grid (n_1, ..., n_d, d) of ``from_values``, for a function that runs elsewhere.

        n and domain are as for ``from_function``. ``X.reshape(-1, d)`` is a list of the points.

        Examples
        --------
        >>> import numpy as np, quatrefoil as qf
        >>> box = [(0, 1), (2, 3)]
        >>> X = qf.cheb.ChebTucker.points((9, 5), box)
        >>> X.shape
        (9, 5, 2)
        >>> ct = qf.cheb.ChebTucker.from_values(np.exp(X[..., 0]) * X[..., 1], box)
        >>> bool(abs(ct(0.5, 2.5) - np.exp(0.5) * 2.5) < 1e-8)
        True
        """
        label = "cheb.ChebTucker.points"
        d = axes_of(domain) or (len(n) if isinstance(n, Sequence) else 1)
        counts = _arguments.integers(n, d, label, "n", 1, _arguments.MAX_NUMBERS)
        return np.stack(np.meshgrid(*chebpts(counts, flat_domain(domain, d, label)), indexing="ij"), axis=-1)

    @classmethod
    @_arguments.keywords("cheb.ChebTucker.from_values", **HINTS)
    def from_values(cls, V: ArrayLike, domain: Domain = UNIT, *, tol: float | None = None) -> Self:
        """Compress values V (n_1, ..., n_d) on the grid of Chebyshev points ``chebpts(V.shape, domain)`` to ``tol`` (1).

        By default, tol is 1e-10, or 4 eps of the dtype if that is more. NaN or infinity raises a ValueError with the index; on a device the
        whole result is NaN. Truncation has no gradient: tensors that require one raise NotImplementedError.
        """
        label = "cheb.ChebTucker.from_values"
        V, host = _full(V, label, "V")
        _arguments.finite(host, label, "V")
        return cls._interpolated(V, host, flat_domain(domain, host.ndim, label), tolerance_of(tol, V, label), label)

    @classmethod
    @_arguments.keywords("cheb.ChebTucker.from_coeffs", **HINTS)
    def from_coeffs(cls, C: ArrayLike, domain: Domain = UNIT, *, tol: float | None = None) -> Self:
        """Compress dense Chebyshev coefficients C (n_1, ..., n_d) to ``tol`` (1), otherwise like ``from_values``."""
        label = "cheb.ChebTucker.from_coeffs"
        C, host = _full(C, label, "C")
        return cls._compressed(C, flat_domain(domain, host.ndim, label), tolerance_of(tol, C, label), 0, label)

    @classmethod
    def from_cp(
        cls,
        weights: ArrayLike,
        factors: Sequence[ArrayLike],
        *,
        domain: Domain = UNIT,
        tol: float | None = None,
        grid: Sequence[ArrayLike] | None = None,
        n: int | Sequence[int] | None = None,
    ) -> Self:
        """Compress a canonical sum, sum_r weights[r] u_r(x_1) v_r(x_2) ..., to ``tol``, without the full array (16).

        Parameters
        ----------
        weights : (R,)
        factors : d arrays (n_k, R)
            Chebyshev coefficients of the functions, one function per column, or with ``grid`` their values on it. NaN or infinity raises a
            ValueError with the index.
        domain, tol
            As for ``from_coeffs``.
        grid : d arrays (n_k,), optional
            Increasing sample points, at least two, interpolated by not-a-knot cubic splines, which are extended to the ends of the domain.
        n : int, or one per axis, optional
            With ``grid``: number of Chebyshev points at which the splines are evaluated, by default the number of samples.

        Notes
        -----
        Ranks are as in a Tucker decomposition of the sum and do not depend on the scale and number of its columns. The method takes
        about 2 n R min(n, R) d + 2 R r^d flops and n R values of memory, in float64 on the host: arrays on a device are read back, and the
        result is moved there. ``tol`` does not include the error of the splines, which is of fourth order. Truncation has no gradient.

        Examples
        --------
        >>> import numpy as np, quatrefoil as qf
        >>> x = np.linspace(-1, 1, 200)
        >>> t = np.arange(1.0, 9.0)
        >>> gaussians = np.exp(-np.outer(x, t) ** 2)
        >>> ct = qf.cheb.ChebTucker.from_cp(1 / t, [gaussians] * 3, grid=[x] * 3, n=129, tol=1e-6)
        >>> ct.n, len(set(ct.rank))
        ((129, 129, 129), 1)
        """
        label = "cheb.ChebTucker.from_cp"
        parts = [weights, *sequence(factors, f"{label}: factors")]
        names = ["weights", *(f"factors[{k}]" for k in range(len(parts) - 1))]
        arrays = _arguments.arrays_like(parts, label, names)
        weights = arrays[0]
        check_arrays(_CANONICAL, arrays)
        _CANONICAL.infer([tuple(a.shape) for a in arrays], ())
        hosts = [_arguments.host_array(a, label, name, device="copy") for a, name in zip(arrays, names)]
        for host, name in zip(hosts, names):
            _arguments.finite(host, label, name)
        w, columns = hosts[0].astype(np.float64), [U.astype(np.float64) for U in hosts[1:]]
        d, flat = len(columns), flat_domain(domain, len(columns), label)
        if n is not None and grid is None:
            raise ValueError(f"{label}: n requires grid=; without it, the factors determine the numbers of coefficients")
        if grid is not None:
            points = _increasing(grid, [len(U) for U in columns], label)
            counts = tuple(map(len, columns)) if n is None else _arguments.integers(n, d, label, "n", 1, _arguments.MAX_NUMBERS)
            columns = [canonical.splined(x, U, m, flat[2 * k : 2 * k + 2]) for k, (x, U, m) in enumerate(zip(points, columns, counts))]
        for k, U in enumerate(columns):
            if len(U) < 1:
                raise ValueError(f"{label}: factors[{k}] has shape {U.shape}, expected at least one coefficient")
        core, matrices, exponent = canonical.compressed(w, columns, tolerance_of(tol, weights, label))
        return cls(algebra.restored(core, exponent, weights, label), [algebra.like(U, weights) for U in matrices], domain=flat)

    @classmethod
    def _interpolated(cls, V: Any, host: Any, flat: Sequence[float], tol: float, label: str) -> Self:
        """Return the tensor of values V; ``host``: V as a NumPy array if it is on the host."""
        exponent = 0
        if isinstance(host, np.ndarray):  # so that sums of very large values do not overflow
            small, exponent = algebra.unit(host)
            V = algebra.like(small, V)
        return cls._compressed(vals2coeffs(V), flat, tol, exponent, label)

    @classmethod
    def _compressed(cls, C: Any, flat: Sequence[float], tol: float, exponent: int, label: str) -> Self:
        """Return the tensor of coefficients C * 2^exponent."""
        core, factors = tucker(C, tol=tol)
        if exponent:
            core = algebra.restored(core, exponent, core, label)
        return cls(core, factors, domain=tuple(flat))


def _adaptive(f: Function, tol: float, max_evaluations: int | None, chained: bool) -> tuple[sampling.Tensors, np.ndarray]:
    """Tensors accurate to ``tol``, or to the smallest tolerance that ``max_evaluations`` allows, and their errors."""
    if chained and max_evaluations is not None:
        return budget.trains(f, max_evaluations, tol) or _sampled_train(f, max_evaluations, tol)
    levels = [tol] if max_evaluations is None else [t for t in 0.1 ** np.arange(1.0, 17.0) if t > tol] + [tol]
    result: Any = None
    try:
        for level in levels:
            result = sampling.sampled(f, float(level), chained)
    except NotResolved as reason:
        if result is None or max_evaluations is None:
            what = f"{f.label}: f is not resolved to tol = {levels[0]:g}: {reason} ({f.count} values)"
            fix = f", a larger tol, {reason.fix}" if reason.fix else ", or a larger tol"
            raise ValueError(f"{what}; expected a smooth function; pass n to interpolate it anyway{fix}") from None
    return result


def _sampled_train(f: Function, max_evaluations: int, tol: float) -> tuple[sampling.Tensors, np.ndarray]:
    """Trains fitted to values at random points, truncated to ``tol``, and their held-out errors relative to the largest |f|."""
    X = budget.samples(f, distributions_of(list(zip(f.domain[::2], f.domain[1::2])), f.d, f.label), max_evaluations)
    points = [np.clip(to_reference(x, *f.domain[2 * k : 2 * k + 2]), -1, 1) for k, x in enumerate(X.T)]
    values = f(*X.T)
    fits = [trainfit.of_samples(points, y / s) for y, s in zip(values, f.scale)]
    off = np.array([error * float(y.std()) / s for (_, _, error), y, s in zip(fits, values, f.scale)])
    rounded = [algebra.rounded(core, factors, tol, f.label) for core, factors, _ in fits]
    return [(core * s, factors) for (core, factors), s in zip(rounded, f.scale)], off


def _full(value: Any, label: str, name: str) -> tuple[Any, Any]:
    """Return a full tensor, and the same as a NumPy array if it is on the host."""
    array = _arguments.points_like(value, label, name)
    host = _arguments.host_array(array, label, name, device="keep")
    if host.ndim == 0 or 0 in host.shape:
        raise ValueError(f"{label}: {name} has shape {tuple(host.shape)}, expected at least one axis and no empty axis")
    return array, host


def tolerance_of(tol: float | None, array: Any, label: str) -> float:
    dtype = np.dtype(_arrays.dtype_name(array))
    if tol is None:
        return max(DEFAULT_TOL, 4 * float(np.finfo(dtype).eps))
    return raised(_arguments.number(tol, label, "tol"), dtype, label)


def _increasing(grid: Any, sizes: Sequence[int], label: str) -> list[np.ndarray]:
    """Check increasing sample points, one array per axis."""
    axes = sequence(grid, f"{label}: grid")
    if len(axes) != len(sizes):
        raise ValueError(f"{label}: grid has {len(axes)} entries, expected {len(sizes)}, one per axis")
    points = []
    for k, (x, m) in enumerate(zip(axes, sizes)):
        host = _arguments.host_array(x, label, f"grid[{k}]", device="copy", convert=True)
        if host.shape != (m,) or m < 2:
            raise ValueError(
                f"{label}: grid[{k}] has shape {host.shape}, expected {(max(m, 2),)}, at least two points, one per row of factors[{k}]"
            )
        _arguments.finite(host, label, f"grid[{k}]")
        if not (np.diff(host) > 0).all():
            raise ValueError(f"{label}: grid[{k}] must be strictly increasing")
        points.append(host.astype(np.float64))
    return points
