"""The long-range part of a potential of charges as a Chebyshev-Tucker tensor.

Equation numbers refer to csrc/cheb/particles/README.md.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from ... import _arguments, _arrays
from ..._bind import check_arrays
from ..._call import call
from ..._spec import Arg, Op
from ..._typing import ArrayLike, Backend
from ..._warnings import warn
from ..domain import UNIT, Domain, box_of, flat_domain, to_reference
from ..nonuniform import CHEB_EVAL, cheb_moments
from ..particles.sog import MIN_EPS, SumOfGaussians, coulomb_sog
from ..scattered import check_points
from ..transform import chebpts, vals2coeffs
from ..tucker import raised, tucker
from .algebra import like, restored, wants_gradient
from .tensor import ChebTucker, with_suffix

SHARE = 0.1  # fraction of the tolerance for the sum of Gaussians, and for moments and kernels
MARGIN = 6  # coefficients in addition to (5)
WIDTHS = np.geomspace(1e-3, 4.0, 400)  # logarithms of the sums of the half-axes of Bernstein ellipses

# the arguments of ``potential``: checked like those of any op, but never run
_PARTICLES = Op(__name__, "potential", (Arg("X", "P 3"), Arg("q", "P")), (Arg("q", "P"),), differentiable=False)


class Potential(ChebTucker):
    """The result of ``potential``: a ``ChebTucker`` with the Gaussians ``.sog`` for ``short_range``.

    Pickles and ``save``/``load`` preserve ``.sog``; tensors computed from this one do not have it.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> X, q = np.array([[0.0, 0.0, 0.0]]), np.ones(1)
    >>> V = qf.cheb.potential(X, q, n=33, domain=(-1, 1), tol=1e-4)
    >>> x = np.array([[0.3, 0.4, 0.0]])
    >>> (V(x) + qf.cheb.short_range(X, q, x, sog=V.sog)).round(3)  # 1 / r
    array([2.])
    """

    __slots__ = ("_eps", "_sog")

    _sog: SumOfGaussians | None
    _eps: float | None  # relative error of values from dense coefficients; None for a compressed tensor

    def __init__(
        self, core: ArrayLike, factors: Any, domain: Domain = UNIT, *, sog: SumOfGaussians | None = None, eps: float | None = None
    ) -> None:
        super().__init__(core, factors, domain=domain)
        self._sog, self._eps = sog, eps

    @property
    def sog(self) -> SumOfGaussians:
        """The sum of Gaussians for ``short_range``."""
        if self._sog is None:
            raise AttributeError("this tensor was derived from a potential but is not one, so it has no sog")
        return self._sog

    def _at(self, X: Any, out: Any, backend: Backend | None, num_threads: int | None) -> Any:
        if self._eps is None:
            return super()._at(X, out, backend, num_threads)
        return call(CHEB_EVAL, (self.core, X), (self._eps, False, self._domain), (None,), out, backend, num_threads)

    def _saved(self) -> dict[str, np.ndarray]:
        sog = self._sog
        if sog is None:
            return super()._saved()
        limits = np.array([sog.n_long, sog.eps, sog.rmin, sog.rmax])
        return super()._saved() | {"sog_t": sog.t, "sog_w": sog.w, "sog_limits": limits}

    @classmethod
    def load(cls, file: str | os.PathLike[str]) -> Self:
        """Read an archive written by ``save``, including ``.sog``. Arrays are NumPy arrays with their original dtype."""
        V = super().load(file)
        with np.load(with_suffix(file), allow_pickle=False) as archive:
            if "sog_t" in archive:
                n_long, *limits = archive["sog_limits"].tolist()
                V._sog = SumOfGaussians(archive["sog_t"], archive["sog_w"], int(n_long), *limits)
        return V

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.partial(Potential, domain=self.domain, sog=self._sog, eps=self._eps), (self.core, self.factors)


_TARGETS = (
    "pass a box around the targets: V = potential(X, q, domain=(lo, hi)); the sum at the targets is "
    "V(targets) + short_range(X, q, targets, sog=V.sog)"
)


@_arguments.keywords("cheb.potential", _TARGETS, **dict.fromkeys(("targets", "Y", "points"), _TARGETS))
def potential(
    X: ArrayLike,
    q: ArrayLike,
    *,
    n: int | Sequence[int] | None = None,
    domain: Domain | None = None,
    tol: float = 1e-6,
    split: float | None = None,
) -> Potential:
    """Compute the smooth, long-range part of the potential sum_p q_p / |x - x_p| in a box (2)-(5).

    Add ``short_range(X, q, targets, sog=V.sog)`` for the complete sum. At a charge itself, it is the sum over the other charges. The box
    is not periodic; for a periodic cell use particle-mesh Ewald (torch-pme, OpenMM), which is faster there.

    Parameters
    ----------
    X : (P, 3)
        Positions of the charges, inside the box. A ValueError names the first charge that is outside, NaN or infinite.
    q : (P,)
        Charges.
    n : int, or one per axis, optional
        Points per axis. A larger n leaves fewer pairs to ``short_range``: about 2 P^(1/3) balances both parts in an evenly filled cube.
        This is the default, limited to 33 to 129.
    domain : (lo, hi), or one such pair per axis, optional
        The box that contains the targets; by default the bounding box of X.
    tol : float
        Relative to the Frobenius norm of the long part's coefficients; from 1e-13 to below 1. The error of a single charge's term is tol
        times that term; the relative error of a sum whose terms cancel is larger.
    split : float, optional
        t* in 1/length: the narrowest Gaussian of the long part is exp(-t*^2 r^2). The default is the largest value that n resolves (5). For
        a larger one, a RuntimeWarning names the n that would resolve it.

    Returns
    -------
    Potential
        A ``ChebTucker`` with ``.sog`` for ``short_range``; not compressed for PyTorch tensors that require a gradient, see below.

    Notes
    -----
    Computed in float64. ``cheb_moments`` computes the moments of the charges, at a cost that hardly depends on the number of charges. This
    is followed by one product with a small matrix per axis for each of the 10 to 20 Gaussians, 5 n^4 flops in total, and by ``tucker``.
    Takes less than a second up to n = 129. Memory: a few n^3 numbers, about 20 n^3 during moments. Randomly placed charges have ranks of
    about n/2, so little is compressed; for many targets use ``V.plan(tol)``. Forces from the compressed tensor, ``V.eval(X, 1)``, have
    errors of 2 to 10 tol. A device is synchronised once, for the ranks; on a device, non-finite values and charges outside the box give
    NaN.

    Truncation has no gradient. For PyTorch tensors that require one, and under torch.func, the result has all coefficients in its core and
    identity factors. Its values are computed by ``cheb_eval`` with eps = tol / 10. They and everything computed from it are differentiable
    in X and q any number of times, and agree with those of a compressed tensor to tol.

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> rng = np.random.default_rng(0)
    >>> X, q = rng.uniform(-1, 1, (500, 3)), rng.choice([-1.0, 1.0], 500)
    >>> V = qf.cheb.potential(X, q)
    >>> at = rng.uniform(-0.9, 0.9, (50, 3))
    >>> direct = (q / np.linalg.norm(at[:, None] - X, axis=2)).sum(axis=1)
    >>> total = V(at) + qf.cheb.short_range(X, q, at, sog=V.sog)
    >>> bool(np.linalg.norm(total - direct) < 1e-6 * np.linalg.norm(direct))
    True
    """
    label = "cheb.potential"
    x, charge = _arguments.arrays_like((X, q), label, ("X", "q"))
    check_arrays(_PARTICLES, (x, charge))
    _PARTICLES.infer([tuple(x.shape), tuple(charge.shape)], ())
    n = min(129, max(33, math.ceil(2 * x.shape[0] ** (1 / 3)))) if n is None else n
    counts = _arguments.integers(n, 3, label, "n", 1, _arguments.MAX_NUMBERS)
    if domain is None:
        _arguments.finite(at := _arguments.host_array(x, label, "X", device="copy", differentiable=True), label, "X")
        flat = box_of(at)
    else:
        flat = flat_domain(domain, 3, label)
    hosts = _checked(x, charge, flat, label)
    tol = _arguments.number(tol, label, "tol", positive=True)
    if tol >= 1:
        raise ValueError(f"{label}: tol is {tol}, expected a number between 0 and 1")
    dtype = np.dtype(_arrays.dtype_name(x))
    tol = raised(tol, dtype, label)
    half = [(hi - lo) / 2 for lo, hi in zip(flat[::2], flat[1::2])]
    sog = _cut(counts, half, tol, split, label)
    plain = hosts is not None and not wants_gradient(x, charge)
    points, charges = map(_arrays.double, hosts if hosts is not None and plain else (x, charge))
    C = _long_part(points, charges, counts, flat, half, sog)
    if (hosts is None and _arrays.on_host(x)) or wants_gradient(C):
        C = C.float() if dtype == np.float32 else C
        identities = [like(np.eye(m), C) for m in counts]
        return Potential(C, identities, domain=flat, sog=sog, eps=max(sog.eps, 4 * float(np.finfo(dtype).eps)))
    core, factors = tucker(C, tol=tol)
    if hosts is None:
        arrays = [a.to(x.dtype) if _arrays.kind(x) == "torch" else a.astype(x.dtype) for a in (core, *factors)]
    else:
        arrays = [restored(core, 0, x, label), *(like(U, x) for U in factors)]
    return Potential(arrays[0], arrays[1:], domain=flat, sog=sog)


def _checked(X: Any, q: Any, flat: Sequence[float], label: str) -> list[np.ndarray] | None:
    """X and q as NumPy arrays; None on a device. Raise ValueError unless they are finite and all charges are inside the box."""
    if not _arrays.on_host(X):
        return None
    try:
        hosts = [_arguments.host_array(a, label, name, differentiable=True) for a, name in ((X, "X"), (q, "q"))]
    except RuntimeError:
        if X.device.type != "cpu":
            raise
        return None  # a tensor inside torch.func, whose values only an op can read: ``cheb_moments`` checks them
    for host, name in zip(hosts, "Xq"):
        _arguments.finite(host, label, name)
    check_points(label, hosts[0], flat)
    return hosts


def _cut(counts: Sequence[int], half: Sequence[float], tol: float, split: Any, label: str) -> SumOfGaussians:
    """The sum of Gaussians for the pairs in a box, split where the coefficients resolve it (5)."""
    root = math.sqrt(-math.log(tol))
    max_split = min(min(max(0, m - MARGIN) / (2 * root), _resolved(m, tol)) / length for m, length in zip(counts, half))
    if split is None:
        split = max_split
    else:
        split = _arguments.number(split, label, "split")
        if split > max_split:
            needed = tuple(max(math.ceil(2 * length * split * root) + MARGIN, bandwidth(length * split, tol)) for length in half)
            what = f"{label}: n = {tuple(counts)} does not resolve split = {split:g} to tol = {tol:g}"
            warn(f"{what}, which needs n = {needed}; use that n, or a split of at most {max_split:g}")
    rmax = 2 * math.hypot(*half)
    return coulomb_sog(max(SHARE * tol, MIN_EPS), min(rmax / 2, 1 / split) if split else rmax / 2, rmax, split=split)


def _long_part(X: Any, q: Any, counts: Sequence[int], flat: Sequence[float], half: Sequence[float], sog: SumOfGaussians) -> Any:
    """The Chebyshev coefficients of the long part (3), (4), for arrays of any kind, so that PyTorch differentiates it."""
    columns = [to_reference(X[:, k], *flat[2 * k : 2 * k + 2]) for k in range(3)]
    M = cheb_moments(_arrays.namespace(X).stack(columns, 1), q, tuple(counts), eps=sog.eps)
    xp = _arrays.namespace(M)
    even_counts = [m + m % 2 for m in counts]
    parts = _by_parity(xp, _padded(xp, M, even_counts))
    total: Any = None
    for t, w in zip(sog.t[: sog.n_long].tolist(), sog.w[: sog.n_long].tolist()):
        sizes = [min(m, bandwidth(t * length, sog.eps) + 1) // 2 for m, length in zip(even_counts, half)]
        kernels = {key: _arrays.to_device_of(kernel_by_parity(t * key[0], key[1]), M) for key in dict.fromkeys(zip(half, sizes))}
        A, B, C = (kernels[key] for key in zip(half, sizes))
        a, b, c = sizes
        part = A[:, None, None] @ (w * parts[:, :, :, :a, :b, :c]).reshape(2, 2, 2, a, b * c)
        part = (part.reshape(2, 2, 2, a * b, c) @ C).reshape(2, 2, 2, a, b, c)
        part = B[None, :, None, None] @ part
        total = _added(xp, total, part, [m // 2 for m in even_counts])
    return _from_parity(xp, total)[tuple(slice(m) for m in counts)]


def _padded(xp: Any, A: Any, sizes: Sequence[int]) -> Any:
    """The array with its last axes padded with zeros to ``sizes``."""
    more = [m - have for m, have in zip(sizes, A.shape[-len(sizes) :])]
    if not any(more):
        return A
    if hasattr(xp, "pad"):  # NumPy and CuPy
        return xp.pad(A, [(0, 0)] * (A.ndim - len(more)) + [(0, m) for m in more])
    return xp.nn.functional.pad(A, [x for m in reversed(more) for x in (0, m)])


def _added(xp: Any, total: Any, part: Any, sizes: Sequence[int]) -> Any:
    """total + part, which is shorter along the last axes."""
    if total is None:
        return _padded(xp, part, sizes)
    if xp is not np:
        return total + _padded(xp, part, sizes)
    a, b, c = part.shape[3:]
    total[:, :, :, :a, :b, :c] += part
    return total


def _by_parity(xp: Any, A: Any) -> Any:
    """Separate even and odd degrees: (2a, 2b, 2c) -> (2, 2, 2, a, b, c)."""
    a, b, c = (m // 2 for m in A.shape)
    return xp.moveaxis(A.reshape(a, 2, b, 2, c, 2), (1, 3, 5), (0, 1, 2))


def _from_parity(xp: Any, A: Any) -> Any:
    a, b, c = (2 * m for m in A.shape[3:])
    return xp.moveaxis(A, (0, 1, 2), (1, 3, 5)).reshape(a, b, c)


def bandwidth(t: float, eps: float) -> int:
    """The number of coefficients above eps, in x and in y, of exp(-t^2 (x - y)^2) on [-1, 1]^2 (5)."""
    return math.ceil(float((((t * np.sinh(WIDTHS)) ** 2 - math.log(eps)) / WIDTHS).min())) + 2


def _resolved(n: int, tol: float) -> float:
    """The largest t for which n coefficients suffice (5)."""
    rest = n * WIDTHS + math.log(tol)
    return float((np.sqrt(np.maximum(rest, 0)) / np.sinh(WIDTHS)).max())


def kernel_by_parity(t: float, size: int) -> np.ndarray:
    """(4): A (2, size, size), the even and odd Chebyshev coefficients of exp(-t^2 (x - y)^2) in x and y; those of mixed parity are 0."""
    points = 1 + max(8, next(m for k in range(64) for m in (2**k, 2**k // 2 * 3) if m >= max(bandwidth(t, 1e-18), 2 * size)))
    x = chebpts(points)
    C = vals2coeffs(np.exp(-((t * np.subtract.outer(x, x)) ** 2)))
    return np.stack([C[p : 2 * size : 2, p : 2 * size : 2] for p in (0, 1)])
