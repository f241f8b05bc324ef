"""One axis of the grid: its covariance K and derivative D for given hyperparameters, and their gradients.

Arrays are rows (m, N) with the axis last. Equation numbers refer to csrc/kron/gphm/README.md.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import numpy as np

from .... import _arrays
from ...._array_tools import zeros
from ...mixture import spectral_mixture, spectral_mixture_lags, spectral_mixture_lags_vjp, spectral_mixture_vjp
from ...product.dense import namespace
from ...product.mirror import folded, unfolded
from .inverse import Cholesky, Inverse
from .parity import Pair, Parity

Array = Any


class Points(NamedTuple):
    """Copies of the points of one axis."""

    array: Array  # on the device of the solver
    host: np.ndarray
    uniform: bool  # whether they are uniform in their own precision


class Hyper(NamedTuple):
    """The hyperparameters of one axis, (Q,) each; or their gradients."""

    log_weights: Array
    log_scales: Array
    freqs: Array


class Covariance(NamedTuple):
    """The settings for evaluating a mixture."""

    kind: str
    terms: tuple[tuple[int, float], ...]  # of D: orders of derivatives and their coefficients
    jitter: float
    settings: dict[str, Any]  # backend, num_threads

    def cross(self, x: Array, y: Array | None, hyper: Hyper, order: int = 0) -> Array:
        return spectral_mixture(x, y, **hyper._asdict(), kind=self.kind, order=order, **self.settings)

    def cross_vjp(self, x: Array, hyper: Hyper, G: Array, order: int) -> Hyper:
        return Hyper(*spectral_mixture_vjp(x, None, *hyper, G, kind=self.kind, order=order, **self.settings)[1:])

    def lags(self, d: Array, hyper: Hyper, order: int = 0) -> Array:
        return spectral_mixture_lags(d, *hyper, kind=self.kind, order=order, **self.settings)

    def lags_vjp(self, d: Array, hyper: Hyper, g: Array, order: int) -> Hyper:
        return Hyper(*spectral_mixture_lags_vjp(d, *hyper, g, kind=self.kind, order=order, **self.settings)[1:])


class Axis:
    """``at`` sets the hyperparameters for all other methods. Subclasses represent K and D, the equation's derivatives along the axis."""

    def __init__(self, points: Points, covariance: Covariance, name: str) -> None:
        self.points, self.x, self.covariance, self.name = points, np.asarray(points.host, np.float64), covariance, name
        self.hyper: Hyper
        self.inverse: Inverse

    def like(self, covariance: Covariance) -> Self:
        """The same points with another covariance."""
        return type(self)(self.points, covariance, self.name)

    def at(self, hyper: Hyper, form: type[Inverse] = Cholesky) -> None:
        raise NotImplementedError

    def apply(self, A: Array) -> Array:
        """D on every row; the next product overwrites the result."""
        raise NotImplementedError

    def adjoint(self, E: Array) -> Array:
        """Dᵀ on every row; the next product overwrites the result."""
        raise NotImplementedError

    def gradient(self, rows: int, X: Array, A: Array, E: Array) -> Hyper:
        """The gradient of rows/2 log det K - <X, A dK> + <E, A dD>, for the last arguments A of ``apply`` and E of ``adjoint``."""
        raise NotImplementedError

    def predictor(self, x: Array) -> Array:
        """k(x, grid), (M, N)."""
        return self.covariance.cross(x, self.points.array, self.hyper)

    def slope_predictor(self, x: Array) -> Array:
        """D between points and the grid, (M, N)."""
        return sum(c * self.covariance.cross(x, self.points.array, self.hyper, order) for order, c in self.covariance.terms)


class UniformAxis(Axis):
    """K and D, with one term, are Toeplitz matrices of N lags. Products with D and sums along diagonals use Fourier transforms (8)-(10)."""

    def __init__(self, points: Points, covariance: Covariance, name: str) -> None:
        super().__init__(points, covariance, name)
        from scipy.fft import next_fast_len

        n = len(self.x)
        self.d = np.arange(n) * ((self.x[-1] - self.x[0]) / (n - 1))
        self.length = int(next_fast_len(2 * n - 1, real=True))
        self.parity = Parity(n)
        self.transforms: dict[str, Any] = {}  # those of A, E and X
        self.signal = np.empty((0, 0))

    def at(self, hyper: Hyper, form: type[Inverse] = Cholesky) -> None:
        self.hyper, covariance = hyper, self.covariance
        lags = covariance.lags(self.d, hyper)
        lags[0] += covariance.jitter
        self.inverse = form(lags, covariance.jitter, self.name, self.parity)
        ((order, c),) = covariance.terms
        slopes = covariance.lags(self.d, hyper, order)
        slopes *= c
        self._set_derivative(slopes)

    @property
    def even(self) -> bool:
        return self.covariance.terms[0][0] % 2 == 0

    def apply(self, A: np.ndarray) -> np.ndarray:
        return self._product("A", A)

    def adjoint(self, E: np.ndarray) -> np.ndarray:
        product = self._product("E", E)
        return product if self.even else np.negative(product, out=product)

    def gradient(self, rows: int, X: np.ndarray, A: np.ndarray, E: np.ndarray) -> Hyper:
        of_K, of_D = self._gradient_of_K(rows, X), self._diagonal_sums(self.transforms["E"], self.transforms["A"], self.even)
        d, covariance, ((order, c),) = self.d, self.covariance, self.covariance.terms
        parts = covariance.lags_vjp(d, self.hyper, of_K, 0), covariance.lags_vjp(d, self.hyper, c * of_D, order)
        return Hyper(*(k + d for k, d in zip(*parts)))

    def _gradient_of_K(self, rows: int, X: np.ndarray) -> np.ndarray:
        """The gradient of rows/2 log det K - <X, A dK> with respect to the lags of K."""
        of_logdet = 0.5 * rows * inverse_diagonal_sums(self.inverse.first_column())
        return of_logdet - self._diagonal_sums(self._transform("X", X), self.transforms["A"], True)

    def _set_derivative(self, lags: np.ndarray) -> None:
        """D from its lags."""
        n, around = len(self.x), np.zeros(self.length)
        around[:n] = lags
        around[:-n:-1] = lags[1:] if self.even else -lags[1:]
        transformed = np.fft.rfft(around)
        self.symbol = transformed.real.copy() if self.even else 1j * transformed.imag

    def _transform(self, name: str, rows: np.ndarray) -> Any:
        shape = (len(rows), self.length // 2 + 1)
        if name not in self.transforms or self.transforms[name].shape != shape:
            self.transforms[name] = np.empty(shape, complex)  # reused, because new pages would cost more than the transform
        return np.fft.rfft(np.ascontiguousarray(rows), n=self.length, axis=1, out=self.transforms[name])

    def _product(self, name: str, rows: np.ndarray) -> np.ndarray:
        """D on every row; stores the transform of the rows under ``name``."""
        spectrum = self._transform(name, rows)
        if self.signal.shape[0] != len(rows):
            self.signal, self.scratch = np.empty((len(rows), self.length)), np.empty_like(spectrum)
        np.multiply(spectrum, self.symbol, out=self.scratch)
        np.fft.irfft(self.scratch, n=self.length, axis=1, out=self.signal)
        return self.signal[:, : len(self.x)]

    def _diagonal_sums(self, X: Any, A: Any, even: bool) -> np.ndarray:
        """Sums along the diagonals l of X^T A plus or minus those along -l, from transforms; the main one counts once, or is 0 (8)."""
        if even:
            products = np.einsum("ij,ij->j", X.view(float), A.view(float))  # the two terms of the real part of X conj(A)
            sums = 2 * np.fft.irfft(products.reshape(-1, 2).sum(axis=1), n=self.length)[: len(self.x)]
            sums[0] /= 2
            return sums
        sums = 2 * np.fft.irfft(1j * np.einsum("ij,ij->j", X, A.conj()).imag, n=self.length)[: len(self.x)]
        sums[0] = 0.0
        return sums


class ParityAxis(UniformAxis):
    """A uniform axis that computes products with D and sums by parity (11), which for many rows is faster than Fourier transforms."""

    def _gradient_of_K(self, rows: int, X: np.ndarray) -> np.ndarray:
        if not isinstance(self.inverse, Cholesky):
            return super()._gradient_of_K(rows, X)
        parts = zip(self.inverse.parts, folded(X, 1), self.transforms["A"])
        return self.parity.of_symmetric(*(0.5 * (rows * part.inverse - x.T @ a) for part, x, a in parts))

    def _set_derivative(self, lags: np.ndarray) -> None:
        if self.even:
            self.of_even, self.of_odd = self.parity.symmetric(0.5 * lags)
        else:
            self.of_even = self.parity.antisymmetric(0.5 * lags).T
            self.of_odd = -self.of_even.T

    def _transform(self, name: str, rows: np.ndarray) -> Pair:
        self.transforms[name] = halves = folded(rows, 1)
        return halves

    def _product(self, name: str, rows: np.ndarray) -> np.ndarray:
        of_even, of_odd = self._transform(name, rows)
        even, odd = of_even @ self.of_even, of_odd @ self.of_odd
        return unfolded(even, odd, 1) if self.even else unfolded(odd, even, 1)

    def _diagonal_sums(self, X: Pair, A: Pair, even: bool) -> np.ndarray:
        if even:
            return self.parity.of_symmetric(*(0.5 * (x.T @ a) for x, a in zip(X, A)))
        return self.parity.of_antisymmetric(0.5 * (X[1].T @ A[0] - A[1].T @ X[0]))


class GeneralAxis(Axis):
    """An axis with any points and terms, on the host or a device: K and D are evaluated at all pairs."""

    def at(self, hyper: Hyper, form: type[Inverse] = Cholesky) -> None:
        self.hyper, jitter = hyper, self.covariance.jitter
        K, self.D = self._matrix(0), sum(c * self._matrix(order) for order, c in self.covariance.terms)
        eye = namespace(K).eye(len(self.x), dtype=K.dtype, device=K.device)
        self.inverse = form(K + jitter * eye, jitter, self.name)

    def _matrix(self, order: int) -> Array:
        return self.covariance.cross(self.points.array, None, self.hyper, order)

    def _pulled(self, G: Array, order: int) -> Hyper:
        """The gradient of <G, the matrix of that order> with respect to the hyperparameters."""
        return self.covariance.cross_vjp(self.points.array, self.hyper, G, order)

    def apply(self, A: Array) -> Array:
        return A @ self.D.T

    def adjoint(self, E: Array) -> Array:
        return E @ self.D

    def gradient(self, rows: int, X: Array, A: Array, E: Array) -> Hyper:
        of_K, of_D = 0.5 * rows * self.inverse.dense() - X.T @ A, E.T @ A
        parts = [self._pulled(of_K, 0), *(self._pulled(c * of_D, order) for order, c in self.covariance.terms)]
        return Hyper(*map(sum, zip(*parts)))


class DeviceAxis(GeneralAxis):
    """A uniform axis on a device: K and D are dense matrices from lags, and products with D take as many operations as solves."""

    def __init__(self, points: Points, covariance: Covariance, name: str) -> None:
        super().__init__(points, covariance, name)
        x, n = self.x, len(self.x)
        self._xp, lags = namespace(points.array), np.subtract.outer(np.arange(n), np.arange(n))
        self._d = _arrays.to_device_of(np.arange(n) * ((x[-1] - x[0]) / (n - 1)), points.array)
        self._index = _arrays.to_device_of(np.abs(lags).reshape(-1), points.array)
        self._sign = _arrays.to_device_of(np.sign(lags).astype(np.float64), points.array)

    def _matrix(self, order: int) -> Array:
        """The matrix of values at the lags |i - j|, with the sign of i - j if the order is odd."""
        n = len(self.x)
        whole = self._xp.reshape(self._xp.take(self.covariance.lags(self._d, self.hyper, order), self._index), (n, n))
        return whole if order % 2 == 0 else whole * self._sign

    def _pulled(self, G: Array, order: int) -> Hyper:
        return self.covariance.lags_vjp(self._d, self.hyper, self._sums(G, order % 2 == 0), order)

    def _sums(self, G: Array, even: bool) -> Array:
        """The gradient of <G, matrix> with respect to the lags: sums along diagonals l plus or minus -l; the main one once, or 0 (8)."""
        xp, n = self._xp, len(self.x)
        skewed = xp.concat([xp.flip(G, axis=1), zeros(xp, (n, n), G)], axis=1)  # shifts each row by one relative to the row above
        along = xp.sum(xp.reshape(xp.reshape(skewed, (-1,))[: n * (2 * n - 1)], (n, 2 * n - 1)), axis=0)
        below, above = along[n:], xp.flip(along[: n - 1])
        main = along[n - 1 : n]
        return xp.concat([main, below + above] if even else [0 * main, below - above])


def is_uniform(x: np.ndarray) -> bool:
    """Whether x is x_0 + i h up to rounding in its own precision: the test of ``spectral_mixture``."""
    wide = x.astype(np.float64)
    steps = wide[0] + np.arange(len(x)) * ((wide[-1] - wide[0]) / (len(x) - 1))
    return bool((np.abs(wide - steps) <= 4 * np.finfo(x.dtype).eps * np.abs(wide).max()).all())


def inverse_diagonal_sums(x: np.ndarray) -> np.ndarray:
    """Sums along both diagonals l and -l of the inverse of a symmetric Toeplitz matrix, from the first column x of the inverse (10)."""
    n = len(x)
    lag = np.arange(n)
    weighted = np.empty((2, n))
    weighted[0], weighted[1] = x, x * lag
    spectra = np.fft.rfft(weighted, 2 * n)
    plain, moments = np.fft.irfft(spectra[0] * spectra.conj(), 2 * n)[:, :n]
    sums: np.ndarray = ((n - lag) * plain - 2 * moments) * (2 / x[0])
    sums[0] /= 2
    return sums
