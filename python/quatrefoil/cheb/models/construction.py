"""Construction of Chebyshev-Tucker tensors from functions, values, coefficients, canonical sums and samples.

Equation numbers are those of csrc/cheb/README.md.
"""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np

from ... import _arguments, _arrays
from ..._arguments import sequence
from ..._bind import check_arrays
from ..._spec import Arg, Op
from ..._typing import ArrayLike
from ..domain import UNIT, Domain, axes_of, box_of, flat_domain, reference
from ..transform import chebpts, vals2coeffs
from ..tucker import raised, tucker
from . import algebra, canonical, leastsquares, sampling
from .function import MAX_KEPT, MAX_VALUES, Function, NotResolved, arguments_of
from .parts import TensorParts

DEFAULT_TOL = 1e-10

# the arguments of these methods: checked like those of any call, never run
_WEIGHTS = Arg("weights", "R")
_CANONICAL = Op(__name__, "ChebTucker.from_cp", (_WEIGHTS, Arg("factors", "n_ R", sequence=True)), (_WEIGHTS,), differentiable=False)
_SAMPLES = Op(
    __name__, "ChebTucker.fit", (Arg("X", "P d"), Arg("y", "P"), Arg("weights", "P", optional=True)), (Arg("y", "P"),), differentiable=False
)

_HINTS = {
    **dict.fromkeys(("degree", "deg", "order", "num", "npts"), "use n, coefficients per axis: the degree and one more"),
    **dict.fromkeys(("bounds", "box", "limits", "lower", "upper", "lo", "hi", "a", "b"), "use domain=[(lo, hi), ...], one pair per axis"),
    **dict.fromkeys(("rank", "ranks", "max_rank"), "ranks follow from tol"),
    **dict.fromkeys(("eps", "rtol", "atol", "accuracy"), "use tol"),
    **dict.fromkeys(("max_calls", "budget", "n_samples", "max_evals"), "use max_evaluations"),
}
_FIT = {**dict.fromkeys(("sample_weight", "w", "sigma"), "use weights"), **dict.fromkeys(("values", "samples"), "use y"), "points": "use X"}


class Construction(TensorParts):
    """Class methods of ``ChebTucker``, with orthonormal factors. Results scale with the units of data and axes; a core that its dtype does
    not hold is a ValueError."""

    __slots__ = ()

    @classmethod
    @_arguments.keywords(
        "cheb.ChebTucker.from_function",
        positional="give domain as [(lo, hi), ...], one pair per axis, and keywords: n=, tol=",
        missing="expected from_function(f, domain)",
        **_HINTS,
    )
    def from_function(
        cls,
        f: Callable[..., Any],
        domain: Domain = UNIT,
        *,
        n: int | Sequence[int] | None = None,
        tol: float = DEFAULT_TOL,
        max_evaluations: int | None = None,
        executor: Any = None,
        checkpoint: str | os.PathLike[str] | None = None,
        progress: bool | Callable[[int, float], Any] | None = None,
    ) -> Self:
        """Interpolate f and compress it to ``tol``, on a given grid or adaptively along fibres.

        Parameters
        ----------
        f : callable
            f(x, y, z) takes d arrays (P,) of coordinates and returns real, finite numbers (P,), or a tuple or list of such arrays, one per
            output. It may overwrite its arguments and results. For a function of numbers pass ``np.vectorize(f)``, for one of points (P, d)
            ``lambda x, y, z: f(np.stack([x, y, z], -1))``.
        domain : one pair (lo, hi) per axis
            [(0, 1), (2, 3)] is 0 to 1 in x and 2 to 3 in y, not two corners. A single pair applies to every axis: as many as n has entries,
            or f arguments without a default.
        n : int, or one per axis, optional
            Points per axis. By default chosen by the algorithm, up to 65537, without negligible trailing coefficients.
        tol : float
            Relative, in the Frobenius norm of the coefficients. Below 4 eps of float64 it is raised to that, with a warning.
        max_evaluations : int, optional
            Points at which f may be evaluated, without n. Tolerances of 0.1, 0.01, ... down to ``tol`` are met one after another until they
            are spent, each with the values of those before, and the last result is returned; its ``error_estimate`` says what was reached.
            For very few calls see ``PolynomialChaos``.
        executor : concurrent.futures.Executor, optional
            Where f runs, or any other object with ``submit(f, *arguments)``. f gets one point at a time, d numbers, and returns a number,
            or a tuple of them. Processes need a function that can be pickled: one at the top of a module.
        checkpoint : path, optional
            A text file to which every value is appended at once, a line ``x0,x1,..,f`` per point. If a call fails or the program is
            stopped, the same call goes on where it ended. f gets numbers, as with an executor.
        progress : True or a callable, optional
            Called as progress(values of f so far, largest error in the last test relative to the largest |f|, infinite before it). True
            prints a line per second to stderr.

        Returns
        -------
        ChebTucker, or a list of them if f returns a tuple or list
            ``.n_evaluations`` is the number of points at which f was evaluated; ``.error_estimate`` is the largest error at the points of
            the test, relative to the largest |f|, or the decay of the coefficients if that is larger.

        Raises
        ------
        ValueError
            Without n: f is not resolved, because it is not smooth, or needs more than 2^25 values, or ``max_evaluations`` for a tol of 0.1.

        Notes
        -----
        With n: prod(n) values, and 30 at random points; a RuntimeWarning if the error there exceeds 10 tol of the largest |f|.

        Without n (6)-(9): random fibres along each axis, as long as tol asks for, until the others span two of them: n_k (r_k + 2) values
        per axis, and prod(r) for the core; or prod(n), the whole grid, if that is less or fibres have taken as many. The largest
        error at up to 132 points, corners among them, must be within tol of the largest |f|, otherwise fibres through the worst points are
        added. So a kink takes many points, or is not resolved. Random points are always the same. A narrow peak between all of them is
        missed. Computed in float64. Memory: a few times the values evaluated together; for one variable, those of its points.

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
        d = axes_of(domain) or (len(n) if isinstance(n, Sequence) else arguments_of(f))
        flat = flat_domain(domain, d, label)
        tol = raised(_arguments.number(tol, label, "tol"), np.dtype(np.float64), label, 4)
        costly = {"executor": executor, "checkpoint": checkpoint, "progress": progress}
        keep = MAX_VALUES if max_evaluations is not None else MAX_KEPT if n is None and d > 1 else 0
        function = Function(f, flat, label, keep=keep, **costly)
        if n is not None:
            if max_evaluations is not None:
                raise ValueError(f"{label}: got n and max_evaluations, expected one of them; n takes prod(n) + {sampling.CHECKED} values")
            function.most = None
            counts = _arguments.integers(n, d, label, "n", 1, _arguments.MAX_NUMBERS)
            outputs, off = cls._on_a_grid(function, counts, tol, label)
        else:
            tols = [tol]
            if max_evaluations is not None:
                function.most = _arguments.integer(max_evaluations, label, "max_evaluations", 1)
                tols = [t for t in 0.1 ** np.arange(1.0, 17.0) if t > tol] + tols
            result: Any = None
            try:
                for level in tols:
                    result = sampling.sampled(function, float(level))
            except NotResolved as reason:
                if result is None or max_evaluations is None:
                    what = f"{label}: f is not resolved to tol = {tols[0]:g}: {reason} ({function.count} values)"
                    cure = f", a larger tol, {reason.cure}" if reason.cure else ", or a larger tol"
                    raise ValueError(f"{what}; expected a smooth function; give n to interpolate it anyway{cure}") from None
            outputs, off = result
        tensors: list[Any] = [cls(core, factors, domain=flat) for core, factors in outputs]
        for ct, missed in zip(tensors, off):
            ct.n_evaluations = function.count
            ct._measured = max(ct.error_estimate, float(missed))
        made: Any = tensors if function.outputs is not None else tensors[0]
        return made  # type: ignore[no-any-return]

    @classmethod
    def _on_a_grid(cls, function: Function, counts: Sequence[int], tol: float, label: str) -> tuple[list[Any], np.ndarray]:
        flat = tuple(function.domain)
        tensors = [cls._interpolated(V, V, flat, tol, label) for V in function(*np.ix_(*chebpts(counts, flat)))]
        parts = [(ct.core, ct.factors) for ct in tensors]
        X = function.random_points(np.random.Generator(np.random.Philox(key=0)), sampling.CHECKED)
        off = sampling.misfit(function, parts, X)
        if off.max() > sampling.allowed(tol):
            what = f"{label}: f is not resolved by n = {tuple(counts)}: off by {off.max():.1e} of its largest value at random points"
            warnings.warn(f"{what}; give more points, no n to choose them adaptively, or a larger tol", RuntimeWarning, stacklevel=4)
        return parts, off

    @staticmethod
    @_arguments.keywords("cheb.ChebTucker.points", missing="expected points(n, domain)", **_HINTS)
    def points(n: int | Sequence[int], domain: Domain = UNIT) -> np.ndarray:
        """Return the grid (n_1, ..., n_d, d) on which ``from_values`` takes values, for a function that runs elsewhere.

        n and domain as for ``from_function``. The points in a row: ``X.reshape(-1, d)``.

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
        X: np.ndarray = np.stack(np.meshgrid(*chebpts(counts, flat_domain(domain, d, label)), indexing="ij"), axis=-1)
        return X

    @classmethod
    @_arguments.keywords("cheb.ChebTucker.from_values", **_HINTS)
    def from_values(cls, V: ArrayLike, domain: Domain = UNIT, *, tol: float | None = None) -> Self:
        """Compress values V (n_1, ..., n_d) on the grid of Chebyshev points ``chebpts(V.shape, domain)`` to ``tol`` (1).

        By default tol is 1e-10, or 4 eps of the dtype if that is more. NaN or infinity is a ValueError with the index; on a device the
        whole result is NaN. Truncation has no gradient: NotImplementedError for a tensor that requires one.
        """
        label = "cheb.ChebTucker.from_values"
        V, host = _full(V, label, "V")
        _arguments.finite(host, label, "V")
        return cls._interpolated(V, host, flat_domain(domain, host.ndim, label), _tolerance(tol, V, label), label)

    @classmethod
    @_arguments.keywords("cheb.ChebTucker.from_coeffs", **_HINTS)
    def from_coeffs(cls, C: ArrayLike, domain: Domain = UNIT, *, tol: float | None = None) -> Self:
        """Compress dense Chebyshev coefficients C (n_1, ..., n_d) to ``tol`` (1); otherwise as ``from_values``."""
        label = "cheb.ChebTucker.from_coeffs"
        C, host = _full(C, label, "C")
        return cls._compressed(C, flat_domain(domain, host.ndim, label), _tolerance(tol, C, label), 0, label)

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
            Chebyshev coefficients of the functions, one function per column; with ``grid`` their values there. All numbers are finite, or
            a ValueError names the index.
        domain, tol
            As for ``from_coeffs``.
        grid : d arrays (n_k,), optional
            Increasing sample points, at least two: not-a-knot cubic splines interpolate them, extended to the ends of the domain.
        n : int, or one per axis, optional
            With ``grid``: the number of Chebyshev points at which the splines are evaluated; by default that of samples.

        Notes
        -----
        Ranks are those of the sum's own Tucker decomposition, whatever the scale and number of its columns. About
        2 n R min(n, R) d + 2 R r^d flops, memory of n R numbers, in float64 on the host: arrays on a device are read back, and the result
        is moved there. The spline's error, of fourth order, is not in ``tol``. Truncation has no gradient.

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
        given = [weights, *sequence(factors, f"{label}: factors")]
        names = ["weights", *(f"factors[{k}]" for k in range(len(given) - 1))]
        arrays = _arguments.arrays_like(given, label, names)
        weights = arrays[0]
        check_arrays(_CANONICAL, arrays)
        _CANONICAL.infer([tuple(a.shape) for a in arrays], ())
        hosts = [_arguments.numbers_on_host(a, label, name) for a, name in zip(arrays, names)]
        for host, name in zip(hosts, names):
            _arguments.finite(host, label, name)
        w, columns = hosts[0].astype(np.float64), [U.astype(np.float64) for U in hosts[1:]]
        d, flat = len(columns), flat_domain(domain, len(columns), label)
        if n is not None and grid is None:
            raise ValueError(f"{label}: n is for samples on a grid; of coefficients the factors have it")
        if grid is not None:
            points = _increasing(grid, [len(U) for U in columns], label)
            counts = tuple(map(len, columns)) if n is None else _arguments.integers(n, d, label, "n", 1, _arguments.MAX_NUMBERS)
            columns = [canonical.splined(x, U, m, flat[2 * k : 2 * k + 2]) for k, (x, U, m) in enumerate(zip(points, columns, counts))]
        for k, U in enumerate(columns):
            if len(U) < 1:
                raise ValueError(f"{label}: factors[{k}] has shape {U.shape}, expected at least one coefficient")
        core, matrices, exponent = canonical.compressed(w, columns, _tolerance(tol, weights, label, 4))
        return cls(algebra.restored(core, exponent, weights, label), [algebra.like(U, weights) for U in matrices], domain=flat)

    @classmethod
    @_arguments.keywords("cheb.ChebTucker.fit", missing="expected ChebTucker.fit(X, y)", **_HINTS, **_FIT)
    def fit(
        cls,
        X: ArrayLike,
        y: ArrayLike,
        *,
        n: int | Sequence[int] | None = None,
        domain: Domain | None = None,
        weights: ArrayLike | None = None,
        tol: float | None = None,
    ) -> Self:
        """Fit a polynomial to scattered samples by weighted least squares, compressed to ``tol`` (18).

        For hundreds of samples of a smooth function of three or more variables ``PolynomialChaos.fit`` is more accurate.

        ``error_estimate`` of the result is its held-out error: the root mean square of the errors at each sample of the fit to all others,
        relative to the standard deviation of y. At 1 the fit is no better than the mean of y.

        Parameters
        ----------
        X : (P, d), or (P,) for d = 1
            Points in the domain.
        y : (P,)
            Samples of f there, with or without noise.
        n : int, or one per axis, optional
            Coefficients per axis. Their product, at most P, is the number of unknowns. By default the total degree with the least held-out
            error among those with at most P / 2 unknowns, or d + 1.
        domain : (lo, hi), or one such pair per axis, optional
            By default the bounding box of X. Only ``eval(X, extrapolate=True)`` evaluates the result beyond it.
        weights : (P,), optional
            At least 0; 1 by default.
        tol
            As for ``from_coeffs``.

        Raises
        ------
        numpy.linalg.LinAlgError
            The points do not determine the coefficients.

        Notes
        -----
        Warns if the held-out error exceeds half of the standard deviation of y, or if there are nearly as many unknowns as samples. QR in
        blocks of points: 4 P K^2 flops for K = prod(n), memory 8 K^2 bytes and 100 MB whatever P is. Without n, K is also at most
        sqrt(2e10 / P), 450 for 100 000 samples, and (degree + 1)^d at most 2^22. Computed in float64 on the host: arrays on a device are
        read back, and the result is moved there. Truncation has no gradient.

        Examples
        --------
        >>> import numpy as np, quatrefoil as qf
        >>> X = np.random.default_rng(0).uniform(0, 1, (500, 2))
        >>> ct = qf.cheb.ChebTucker.fit(X, np.sin(X[:, 0] + X[:, 1]))
        >>> bool(abs(ct(0.5, 0.25) - np.sin(0.75)) < 1e-8), ct.error_estimate < 1e-8
        (True, True)
        """
        label = "cheb.ChebTucker.fit"
        names = ("X", "y", "weights")
        arrays = _arguments.arrays_like((X, y, weights), label, names)
        if arrays[0].ndim == 1:
            arrays[0] = arrays[0][:, None]
        if arrays[1].ndim == 2 and arrays[1].shape[1] == 1:
            arrays[1] = arrays[1][:, 0]
        shape, count = tuple(arrays[0].shape), (*arrays[1].shape, 0)[0]
        if shape[1:] == (count,) and shape[0] != count:
            raise ValueError(f"{label}: X has shape {shape} for {count} samples, expected a point per row: np.transpose(X)")
        check_arrays(_SAMPLES, arrays)
        _SAMPLES.infer([None if a is None else tuple(a.shape) for a in arrays], ())
        hosts = [None if a is None else _arguments.numbers_on_host(a, label, name) for a, name in zip(arrays, names)]
        x, samples, w = hosts
        assert x is not None
        assert samples is not None
        P, d = x.shape
        counts = None if n is None else _arguments.integers(n, d, label, "n", 1, _arguments.MAX_NUMBERS)
        unknowns = math.prod(counts or (1,))
        if unknowns > P:
            raise ValueError(f"{label}: X has {P} points, expected at least {unknowns}, the product of n = {counts or 1}")
        for host, name in zip(hosts, names):
            if host is not None:
                _arguments.finite(host, label, name)
        if w is not None and (w < 0).any():
            i = int((w < 0).argmax())
            raise ValueError(f"{label}: weights[{i}] is {w[i]}, expected at least 0")
        flat = box_of(x) if domain is None else flat_domain(domain, d, label)
        points = [reference(x[:, k], k, (flat[2 * k], flat[2 * k + 1]), label) for k in range(d)]
        root = np.ones(P) if w is None else np.sqrt(algebra.unit(w)[0])
        values, exponent = algebra.unit(samples)
        C, error = leastsquares.fitted(points, values, root, counts, label)
        ct: Any = cls._compressed(algebra.like(C, arrays[1]), flat, _tolerance(tol, arrays[1], label), exponent, label)
        ct._measured = error
        return ct  # type: ignore[no-any-return]

    @classmethod
    def _interpolated(cls, V: Any, host: Any, flat: Sequence[float], tol: float, label: str) -> Self:
        """The tensor of values V; ``host``: V as a NumPy array if it is on the host."""
        exponent = 0
        if isinstance(host, np.ndarray):  # so that sums of values near the largest number do not overflow
            small, exponent = algebra.unit(host)
            V = algebra.like(small, V)
        return cls._compressed(vals2coeffs(V), flat, tol, exponent, label)

    @classmethod
    def _compressed(cls, C: Any, flat: Sequence[float], tol: float, exponent: int, label: str) -> Self:
        """The tensor of coefficients C 2^exponent."""
        core, factors = tucker(C, tol=tol)
        if exponent:
            core = algebra.restored(core, exponent, core, label)
        return cls(core, factors, domain=tuple(flat))


def _full(value: Any, label: str, name: str) -> tuple[Any, Any]:
    """A full tensor, and the same as a NumPy array if it is on the host."""
    array = _arguments.points_like(value, label, name)
    host = _arguments.host_or_device_numbers(array, label, name)
    if host.ndim == 0 or 0 in host.shape:
        raise ValueError(f"{label}: {name} has shape {tuple(host.shape)}, expected at least one axis and no empty axis")
    return array, host


def _tolerance(tol: float | None, array: Any, label: str, level: int = 5) -> float:
    dtype = np.dtype(_arrays.dtype_name(array))
    if tol is None:
        return max(DEFAULT_TOL, 4 * float(np.finfo(dtype).eps))
    return raised(_arguments.number(tol, label, "tol"), dtype, label, level)


def _increasing(grid: Any, sizes: Sequence[int], label: str) -> list[np.ndarray]:
    """Increasing sample points, one array per axis."""
    axes = sequence(grid, f"{label}: grid")
    if len(axes) != len(sizes):
        raise ValueError(f"{label}: grid has points for {len(axes)} axes, expected {len(sizes)}")
    points = []
    for k, (x, m) in enumerate(zip(axes, sizes)):
        host = _arguments.numbers_like(x, label, f"grid[{k}]")
        if host.shape != (m,) or m < 2:
            raise ValueError(
                f"{label}: grid[{k}] has shape {host.shape}, expected {(max(m, 2),)}, at least two points, as factors[{k}] has rows"
            )
        _arguments.finite(host, label, f"grid[{k}]")
        if not (np.diff(host) > 0).all():
            raise ValueError(f"{label}: grid[{k}] does not increase")
        points.append(host.astype(np.float64))
    return points
