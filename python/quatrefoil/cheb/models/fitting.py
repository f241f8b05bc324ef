"""Chebyshev-Tucker tensors from scattered samples. Equation numbers refer to csrc/cheb/README.md."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np

from ... import _arguments
from ..._bind import check_arrays
from ..._spec import Arg, Op
from ..._typing import ArrayLike
from ..domain import Domain, box_of, flat_domain, reference
from . import algebra, leastsquares, trainfit
from .construction import HINTS, Construction, tolerance_of
from .train import TensorTrain

# describes the arguments of ``fit``, to check them like those of ops; never called
_SAMPLES = Op(
    __name__, "ChebTucker.fit", (Arg("X", "P d"), Arg("y", "P"), Arg("weights", "P", optional=True)), (Arg("y", "P"),), differentiable=False
)
_FIT = {**dict.fromkeys(("sample_weight", "w", "sigma"), "use weights"), **dict.fromkeys(("values", "samples"), "use y"), "points": "use X"}


class Fitting(Construction):
    """Class method that fits a ``ChebTucker`` to samples."""

    __slots__ = ()

    @classmethod
    @_arguments.keywords("cheb.ChebTucker.fit", missing="expected ChebTucker.fit(X, y)", **HINTS, **_FIT)
    def fit(
        cls,
        X: ArrayLike,
        y: ArrayLike,
        *,
        n: int | Sequence[int] | None = None,
        domain: Domain | None = None,
        weights: ArrayLike | None = None,
        tol: float | None = None,
        method: Literal["tucker", "tt"] = "tucker",
    ) -> Self:
        """Fit a polynomial to scattered samples by weighted least squares, compressed to ``tol`` (18).

        For hundreds of samples of a smooth function of three or more variables ``PolynomialChaos.fit`` is more accurate.

        ``error_estimate`` of the result is its held-out error: the root mean square of the leave-one-out errors, relative to the standard
        deviation of y. A fit with an error of 1 is no better than the mean of y.

        Parameters
        ----------
        X : (P, d), or (P,) for d = 1
            Points in the domain.
        y : (P,)
            Samples of f at X, with or without noise.
        n : int, or one per axis, optional
            Coefficients per axis. Their product, at most P, is the number of unknowns. By default the total degree with the smallest
            held-out error among those with at most max(P / 2, d + 1) unknowns.
        domain : (lo, hi), or one such pair per axis, optional
            By default the bounding box of X. Use ``eval(X, extrapolate=True)`` to evaluate the result outside.
        weights : (P,), optional
            Nonnegative; 1 by default.
        tol
            As for ``from_coeffs``.
        method : "tucker" or "tt"
            "tt" fits the sparse polynomial or tensor train of ``PolynomialChaos.fit`` instead of a total degree, for three or more
            variables, without n and weights (25). ``error_estimate`` is its error at held-out samples. Takes a few seconds.

        Raises
        ------
        numpy.linalg.LinAlgError
            The points do not determine the coefficients.

        Notes
        -----
        Warns if the held-out error exceeds half of the standard deviation of y, or if there are nearly as many unknowns as samples. QR in
        blocks of points takes 4 P K^2 flops for K = prod(n), and 8 K^2 bytes plus 100 MB of memory for any P. Without n, K is also at most
        sqrt(2e10 / P), 450 for 100 000 samples, and (degree + 1)^d is at most 2^22. Computed in float64 on the host: arrays on a device are
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
            raise ValueError(f"{label}: X has shape {shape} for {count} samples, expected one point per row: np.transpose(X)")
        check_arrays(_SAMPLES, arrays)
        _SAMPLES.infer([None if a is None else tuple(a.shape) for a in arrays], ())
        hosts = [None if a is None else _arguments.host_array(a, label, name, device="copy") for a, name in zip(arrays, names)]
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
            raise ValueError(f"{label}: weights[{i}] is {w[i]}, expected a nonnegative number")
        flat = box_of(x) if domain is None else flat_domain(domain, d, label)
        points = [reference(x[:, k], k, (flat[2 * k], flat[2 * k + 1]), label) for k in range(d)]
        if _arguments.choice(method, label, "method", ("tucker", "tt")) == "tt" and d > 2:
            return cls._train(points, samples, flat, n, w, tolerance_of(tol, arrays[1], label), arrays[1], label)
        root = np.ones(P) if w is None else np.sqrt(algebra.unit(w)[0])
        values, exponent = algebra.unit(samples)
        C, error = leastsquares.fitted(points, values, root, counts, label)
        ct: Any = cls._compressed(algebra.like(C, arrays[1]), flat, tolerance_of(tol, arrays[1], label), exponent, label)
        ct._measured = error
        return ct

    @classmethod
    def _train(
        cls, points: Sequence[np.ndarray], y: np.ndarray, flat: Sequence[float], n: Any, weights: Any, tol: float, array: Any, label: str
    ) -> Self:
        """Fit with ``method="tt"``; the result has the kind and dtype of ``array``."""
        if n is not None or weights is not None:
            raise ValueError(f"{label}: got method='tt' and {'weights' if n is None else 'n'}, expected one of them")
        values, exponent = algebra.unit(y)
        train, columns, error = trainfit.of_samples(points, values)
        small, bases = algebra.rounded(train, columns, tol, label)
        like = TensorTrain([algebra.like(G, array) for G in small.cores])
        core = algebra.restored(small, exponent, like, label)
        ct: Any = cls(core, [algebra.like(U, array) for U in bases], domain=tuple(flat))
        ct._measured = error
        return ct
