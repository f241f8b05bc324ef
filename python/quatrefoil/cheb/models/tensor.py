"""A function of d variables as a Chebyshev-Tucker tensor. Equation numbers refer to csrc/cheb/README.md."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self, overload

import numpy as np

from ... import _arguments, _arrays
from ..._arguments import sequence
from ..._backends import native
from ..._bind import check_arrays, check_device
from ..._call import call
from ..._memo import LazyMemo, frozen
from ..._public import missing_attribute
from ..._spec import Arg, Op
from ..._typing import Array, ArrayLike, Backend, Points, T
from ..domain import UNIT, Domain, flat_domain, moved_core, points_of, reference, shaped
from ..scattered import TUCKER_DERIVATIVES, TUCKER_EVAL, present
from ..transform import polynomials
from .algebra import mode_multiplied, on_host
from .calculus import Calculus
from .fitting import Fitting
from .plan import Plan
from .plot import plot_slice
from .queries import Queries
from .statistics import Statistics
from .train import TensorTrain, evaluated

_FIRST_DERIVATIVES = "use value_and_grad(X), or diff(axis) for a ChebTucker of the derivative"
_HINTS = {
    **dict.fromkeys(("grad", "gradient", "jacobian", "partial"), _FIRST_DERIVATIVES),
    **dict.fromkeys(("derivative", "differentiate", "deriv"), "use diff(axis, m=1)"),
    **dict.fromkeys(("hessian", "hess"), "use eval(X, order=2), which returns values, gradients and Hessians"),
    "laplacian": "use sum(f.diff(k, 2) for k in range(len(f.n)))",
    **dict.fromkeys(("integral", "sum"), "use integrate()"),
    "std": "use var() ** 0.5",
    **dict.fromkeys(("ranks", "shape"), "use rank, the shape of the core, or n, the coefficients per axis"),
    "degree": "use n, one more than the degree",
    **dict.fromkeys(("evaluate", "interpolate", "predict"), "call it: f(X), or f(x, y, z)"),
    **dict.fromkeys(("sobol_indices", "sensitivity"), "use sobol()"),
    **dict.fromkeys(("max", "argmax"), "use maximize(), which returns the value and its location"),
    **dict.fromkeys(("min", "argmin"), "use minimize(), which returns the value and its location"),
    **dict.fromkeys(("permute", "T", "swapaxes"), "use transpose(axes)"),
    **dict.fromkeys(("slice", "partial_evaluate", "subs"), "use at(x=0.5), or at({axis: 0.5})"),
    **dict.fromkeys(("numpy", "cpu", "cuda", "double", "float"), "use to(torch.float64) or to(device), as for tensors"),
    "full": "use to_full()",
}
# describes the arguments of the constructor, to check them like those of ops; never called
_CORE = Arg("core", "r_*")
_PARTS = Op(__name__, "ChebTucker", (_CORE, Arg("factors", "n_ r_", sequence=True)), (_CORE,), differentiable=False)

_BUILDERS = "build one by ChebTucker.from_function(f, domain), ChebTucker.fit(X, y) or ChebTucker.from_values(V)"
BLOCK = 2**20  # size of a block of a matrix of polynomials: 8 MB


class ChebTucker(Fitting, Calculus, Statistics, Queries):
    """A compressed function of several variables, to evaluate, differentiate, integrate and compute with.

    f(x) = sum_{a,b,..} core[a,b,..] u_a(x_1) v_b(x_2) ..., with factor functions u_a = sum_k factors[0][k, a] T_k and so on.

    Parameters
    ----------
    core : (r_1, ..., r_d), or a TensorTrain of that shape
        float32 or float64. A ``TensorTrain`` of one or two axes is converted to an array.
    factors : d arrays (n_k, r_k)
        Chebyshev coefficients of the factor functions, one function per column, at least one coefficient each.
    domain : (lo, hi), or one such pair per axis

    Notes
    -----
    NumPy arrays are copied to read-only memory, so that they are packed for evaluation only once. Tensors are not copied and keep their
    graph; later writes to them take effect. ``from_function``, ``from_values``, ``from_coeffs``, ``from_cp`` and ``fit`` return orthonormal
    factors; their tolerances are relative, in the Frobenius norm of the coefficients.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> f = qf.cheb.ChebTucker.from_function(lambda x, y: np.exp(x) * np.cos(y), [(0, 1), (0, 2)], tol=1e-12)
    >>> f.rank, f(0.5, 1.0).round(6)
    ((1, 1), np.float64(0.890808))
    >>> f([[0.5, 1.0], [0.0, 0.0]]).round(6)
    array([0.890808, 1.      ])
    >>> value, gradient = f.value_and_grad([0.5, 1.0])
    >>> gradient.round(6)
    array([ 0.890808, -1.387351])
    """

    __slots__ = ("__weakref__", "_domain", "_extras", "_measured", "core", "factors", "n_evaluations")

    core: Any
    factors: tuple[Any, ...]
    n_evaluations: int | None  # evaluations of the argument of ``from_function``
    _measured: float | None  # the error that ``fit`` or ``from_function`` measured
    _domain: tuple[float, ...]

    @_arguments.keywords("cheb.ChebTucker", missing=_BUILDERS, **dict.fromkeys(("tol", "n", "max_evaluations", "f"), _BUILDERS))
    def __init__(self, core: ArrayLike | TensorTrain, factors: Sequence[ArrayLike], domain: Domain = UNIT) -> None:
        if callable(core):
            raise TypeError("cheb.ChebTucker: core is a function; use ChebTucker.from_function(f, domain)")
        if isinstance(core, TensorTrain) and core.ndim < 3:
            core = core.dense()
        first = core.cores[0] if isinstance(core, TensorTrain) else core
        parts = [first, *sequence(factors, "cheb.ChebTucker: factors")]
        arrays = _arguments.arrays_like(parts, "cheb.ChebTucker", ["core", *(f"factors[{k}]" for k in range(len(parts) - 1))])
        check_arrays(_PARTS, arrays)
        shapes = [tuple(a.shape) for a in arrays]
        if isinstance(core, TensorTrain):
            shapes[0] = core.shape
        _PARTS.infer(shapes, ())
        for k, shape in enumerate(shapes[1:]):
            if shape[0] < 1:
                raise ValueError(f"cheb.ChebTucker: factors[{k}] has shape {shape}, expected at least one coefficient")
        self.core = core if isinstance(core, TensorTrain) else frozen(arrays[0])
        self.factors, self.n_evaluations, self._measured = tuple(map(frozen, arrays[1:])), None, None
        self._domain = flat_domain(domain, len(arrays) - 1, "cheb.ChebTucker")
        self._extras = (LazyMemo(_packed, "native", len(arrays)),)

    if not TYPE_CHECKING:  # type checkers would accept any name
        __getattr__ = missing_attribute("cheb.ChebTucker", **_HINTS)

    @property
    def n(self) -> tuple[int, ...]:
        """Coefficients (or points) per axis."""
        return tuple(int(U.shape[0]) for U in self.factors)

    @property
    def rank(self) -> tuple[int, ...]:
        """Number of columns of each factor: the shape of the core."""
        return tuple(int(r) for r in self.core.shape)

    @property
    def _like(self) -> Any:
        """An array of the kind, dtype and device of the core."""
        return self.core.cores[0] if isinstance(self.core, TensorTrain) else self.core

    @property
    def domain(self) -> tuple[tuple[float, float], ...]:
        """One pair (lo, hi) per axis."""
        return tuple(zip(self._domain[::2], self._domain[1::2]))

    @overload
    def __call__(
        self, X: Array[T], /, *, out: Array[T] | None = None, backend: Backend | None = None, num_threads: int | None = None
    ) -> T: ...
    @overload
    def __call__(self, *X: Any, backend: Backend | None = None, num_threads: int | None = None) -> Any: ...
    def __call__(self, *X: Any, out: Any = None, backend: Backend | None = None, num_threads: int | None = None) -> Any:
        """Evaluate at points, like ``qf.cheb.tucker_eval``.

        ``ct(X)``: points X (P, d) -> (P,), or (..., d) -> (...), so that ``ct([x, y, z])`` is the value at one point. ``ct(x, y, z)``:
        coordinates, which are numbers or arrays that broadcast. Lists and integers are converted to the dtype of the core.
        """
        points, shape = points_of(X, self._like, len(self.factors), "cheb.ChebTucker")
        flat = out if out is None or len(shape) == 1 else out.reshape(-1)
        try:
            f = self._at(points, flat, backend, num_threads)
        except ValueError as error:
            raise _of_call(error, "cheb.ChebTucker") from None
        return f if len(shape) == 1 else shaped(f, shape)

    def _at(self, X: Any, out: Any, backend: Backend | None, num_threads: int | None) -> Any:
        """Values at points (P, d)."""
        if isinstance(self.core, TensorTrain):
            return self._of_train(X, 0, False, out, backend, "cheb.ChebTucker")
        return call(TUCKER_EVAL, (self.core, *self.factors, X), (self._domain,), self._extras, out, backend, num_threads)

    def _of_train(self, X: Any, order: int, extrapolate: bool, out: Any, backend: Backend | None, label: str) -> Any:
        if backend not in (None, "array"):
            raise ValueError(f"{label}: backend is {backend!r}, but the core is a tensor train, expected 'array' or None")
        values = evaluated(self.core, self.factors, X, self._domain, order, extrapolate, label)
        if out is None:
            return values
        out[...] = values
        return out

    @_arguments.keywords("cheb.ChebTucker.eval", positional="pass points as one array X (P, d); ct(x, y, z) takes coordinates")
    def eval(
        self, X: Any, order: int = 0, *, extrapolate: bool = False, backend: Backend | None = None, num_threads: int | None = None
    ) -> Any:
        """Evaluate f, with order 1 also the gradient (P, d), with order 2 also the Hessian (P, d, d).

        Like ``tucker_derivatives``, for X (P, d) or (..., d). ``extrapolate`` accepts points outside the domain, where f grows fast.
        """
        return self._derivatives((X,), order, extrapolate, backend, num_threads, "cheb.ChebTucker.eval")

    @overload
    def value_and_grad(
        self, X: Array[T] | Points, /, *, extrapolate: bool = False, backend: Backend | None = None, num_threads: int | None = None
    ) -> tuple[T, T]: ...
    @overload
    def value_and_grad(
        self, *X: Any, extrapolate: bool = False, backend: Backend | None = None, num_threads: int | None = None
    ) -> tuple[Any, Any]: ...
    def value_and_grad(
        self, *X: Any, extrapolate: bool = False, backend: Backend | None = None, num_threads: int | None = None
    ) -> tuple[Any, Any]:
        """Evaluate f (P,) and its gradient (P, d) at points X (P, d), one point (d,), or coordinates x, y, z as in a call."""
        return self._derivatives(X, 1, extrapolate, backend, num_threads, "cheb.ChebTucker.value_and_grad")

    def _derivatives(self, X: tuple[Any, ...], order: int, extrapolate: bool, backend: Any, num_threads: Any, label: str) -> Any:
        points, shape = points_of(X, self._like, len(self.factors), label)
        order, extrapolate = _arguments.integer(order, label, "order", 0, 2), bool(extrapolate)
        arrays = (self.core, *self.factors, points)
        try:
            if isinstance(self.core, TensorTrain):
                result = self._of_train(points, order, extrapolate, None, backend, label)
            elif order or extrapolate:
                options = self._domain, order > 0, order > 1, extrapolate
                result = present(call(TUCKER_DERIVATIVES, arrays, options, self._extras, None, backend, num_threads))
            else:
                result = call(TUCKER_EVAL, arrays, (self._domain,), self._extras, None, backend, num_threads)
        except ValueError as error:
            raise _of_call(error, label) from None
        if len(shape) == 1:
            return result
        return tuple(shaped(part, shape) for part in result) if isinstance(result, tuple) else shaped(result, shape)

    def plan(self, eps: float) -> Plan:
        """Return a callable ``plan(X)`` that trades memory for speed: ``ct(X)`` with a relative l2 error of ``eps`` over the points.

        eps is between 0 and 1. The plan interpolates from values on a grid of about 2n points per axis, so that the cost of a value does
        not depend on the ranks. The grid is used for up to three axes, eps of at least 1e-11 (float32: 1e-5), and tensors whose values cost
        more than about 14 000 flops (2 prod(r) + 2 sum(min(n, 40) r)), 33 000 for eps below 2e-7, twice that for a grid larger than 32 MB;
        otherwise ``plan(X)`` is ``ct(X)``. The first call computes the grid of at least (2n + 15)^3 values, with twice that memory. It
        takes as long as evaluating 1e4 points at n = 33, or 1e6 at n = 129; for fewer points ``ct(X)`` is faster. The plan stores the
        current core and factors of ``ct``, and has the same gradients.
        """
        if isinstance(self.core, TensorTrain):
            raise NotImplementedError("cheb.ChebTucker.plan: the core is a tensor train, which has no plan; use ct(X)")
        return Plan(self.core, self.factors, self.to_full, self._domain, eps, self._extras)

    def grid(self, *points: Array[T] | Sequence[float]) -> T:
        """Evaluate on the tensor grid of points x (m_1,), y (m_2,), ... -> (m_1, m_2, ...).

        Differentiable in core and factors, not in the points, which are read back from a device. A point outside the domain, or NaN, raises
        ValueError.
        """
        label = "cheb.ChebTucker.grid"
        if len(points) != len(self.factors):
            fix = "; pass them as separate arguments: grid(*points)" if len(points) == 1 and _arguments.ndim(points[0]) == 2 else ""
            raise ValueError(f"{label}: got points for {len(points)} axes, expected {len(self.factors)}{fix}")
        result, names = self.core, [f"points[{k}]" for k in range(len(points))]
        arrays = _arguments.arrays_like((self._like, *points), label, ("core", *names))[1:]
        for k, (x, U, name) in enumerate(zip(arrays, self.factors, names)):
            host = _arguments.host_array(x, label, name, device="copy")
            if host.ndim != 1:
                raise ValueError(f"{label}: {name} has shape {host.shape}, expected (m,)")
            if _arrays.kind(x) != _arrays.kind(self._like) or x.dtype != self.core.dtype:
                fix = moved_core(x, self._like) or f"expected {_arrays.describe(self._like)}, like core"
                raise TypeError(f"{label}: {name} is {_arrays.describe(x)}; {fix}")
            if _arrays.is_meta(self._like):
                raise RuntimeError(f"{label}: core is a meta tensor, which has no values")
            check_device(label, name, x, "core", self._like)
            result = mode_multiplied(result, _values(U, reference(host, k, self.domain[k], label)), k)
        return result.dense() if isinstance(result, TensorTrain) else result

    def to_full(self) -> Any:
        """Return the dense Chebyshev coefficients (n_1, ..., n_d)."""
        result = self.core
        for k, U in enumerate(self.factors):
            result = mode_multiplied(result, U, k)
        return result.dense() if isinstance(result, TensorTrain) else result

    def plot(self, ax: Any = None, *, axes: int | Sequence[int] | None = None, at: Any = None, points: int = 129, **style: Any) -> Any:
        """Draw f along one axis, or over two, into ``ax`` or a new figure, and return the Axes. Needs matplotlib, the extra ``plot``.

        Parameters
        ----------
        axes : int, or a pair of them
            The horizontal and the vertical axis; by default the first two, or the only one.
        at : numbers, one for each other axis
            The position of the slice; by default the middle of the domain.
        points : int
            Points per axis.
        style
            Passed to ``Axes.plot`` or ``Axes.pcolormesh``.
        """

        def values(*lines: np.ndarray) -> np.ndarray:
            V = self.grid(*(_arrays.to_device_of(x.astype(_arrays.dtype_name(self._like)), self._like) for x in lines))
            return _arguments.host_array(V, "cheb.ChebTucker.plot", "core", device="copy", differentiable=True)

        return plot_slice(values, self.domain, ax, axes, at, points, **style)

    def save(self, file: str | os.PathLike[str]) -> None:
        """Write core, factors and domain to a NumPy .npz archive; a missing suffix is appended."""
        np.savez(with_suffix(file), allow_pickle=False, **self._saved())

    def _saved(self) -> dict[str, np.ndarray]:
        core, factors = on_host(self.core, self.factors, "cheb.ChebTucker.save", differentiable=True)
        cores = {f"core_{k}": G for k, G in enumerate(core.cores)} if isinstance(core, TensorTrain) else {"core": core}
        measured = {} if self._measured is None else {"error_estimate": np.array(self._measured)}
        return {**cores, "domain": np.array(self._domain), **{f"factor_{k}": U for k, U in enumerate(factors)}, **measured}

    @classmethod
    def load(cls, file: str | os.PathLike[str]) -> Self:
        """Read an archive written by ``save``, as NumPy arrays of the saved dtype."""
        with np.load(with_suffix(file), allow_pickle=False) as archive:
            if "domain" not in archive or not {"core", "core_0"} & set(archive):
                raise ValueError(
                    f"cheb.ChebTucker.load: {os.fspath(file)} contains {sorted(archive)}, expected core, domain, factor_0, ..."
                )
            names = [f"factor_{k}" for k in range(archive["domain"].size // 2)]
            cores = [f"core_{k}" for k in range(len(names) if "core_0" in archive else 0)]
            if missing := [name for name in (*cores, *names) if name not in archive]:
                raise ValueError(f"cheb.ChebTucker.load: {os.fspath(file)} lacks {', '.join(missing)}")
            core: Any = TensorTrain([archive[name] for name in cores]) if cores else archive["core"]
            ct = cls(core, [archive[name] for name in names], domain=tuple(archive["domain"].tolist()))
            ct._measured = float(archive["error_estimate"]) if "error_estimate" in archive else None
            return ct

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickled, (type(self), self.core, self.factors, self.domain, self.n_evaluations, self._measured)

    def __repr__(self) -> str:
        dtype = str(self.core.dtype).removeprefix("torch.")
        return f"ChebTucker(n={self.n}, rank={self.rank}, domain={self.domain}, {dtype})"


def _of_call(error: ValueError, label: str) -> ValueError:
    """Return a kernel's error with the caller's label."""
    text = str(error).partition(": ")[2]
    hint = "; ct.eval(X, extrapolate=True) accepts points outside" if "within the domain" in text and "is nan" not in text else ""
    return ValueError(f"{label}: {text}{hint}")


def _values(U: Any, t: np.ndarray) -> Any:
    """Factor functions (len(t), r) at points of [-1, 1], computed in blocks of the matrix of polynomials."""
    n = int(U.shape[0])
    step = max(1, BLOCK // n)
    blocks = (polynomials(t[i : i + step], n).astype(_arrays.dtype_name(U)) for i in range(0, max(1, t.size), step))
    rows = [_arrays.to_device_of(block, U) @ U for block in blocks]
    return rows[0] if len(rows) == 1 else _arrays.namespace(U).concatenate(rows, 0)


def _packed(core: Any, *factors: Any) -> Any:
    """Core and factors in the layout of the compiled kernels."""
    return native.core().cheb.Packed(core, list(factors))


def _unpickled(
    cls: type[ChebTucker], core: Any, factors: Sequence[Any], domain: Domain, n_evaluations: int | None, measured: float | None
) -> ChebTucker:
    ct = cls(core, factors, domain=domain)
    ct.n_evaluations, ct._measured = n_evaluations, measured
    return ct


def with_suffix(file: str | os.PathLike[str]) -> str:
    path = os.fspath(file)
    return path if path.endswith(".npz") else path + ".npz"
