"""One axis of the grid: its covariance K and derivative D at given hyperparameters, and their gradients.

Arrays are rows (m, N) with the axis last. Equation numbers are those of csrc/kron/gphm/README.md.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Self

import numpy as np

from ...mixture import spectral_mixture, spectral_mixture_lags, spectral_mixture_lags_vjp, spectral_mixture_vjp
from ...product.dense import namespace
from ...product.mirror import folded, unfolded
from .inverse import Cholesky, DeviceCholesky, Inverse
from .parity import Pair, Parity, ParityCholesky

Array = Any


class Points(NamedTuple):
    """Copies of the points of one axis."""

    array: Array  # where the solver's arrays are
    host: np.ndarray
    uniform: bool  # in the precision they came in


class Hyper(NamedTuple):
    """The hyperparameters of one axis, (Q,) each; or their gradients."""

    log_weights: Array
    log_scales: Array
    freqs: Array


class Covariance(NamedTuple):
    """How a mixture is evaluated."""

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
    """``at`` sets the hyperparameters; all else is at those. Subclasses know K and D, the derivatives of the equation along the axis."""

    def __init__(self, points: Points, covariance: Covariance, name: str) -> None:
        self.points, self.x, self.covariance, self.name = points, np.asarray(points.host, np.float64), covariance, name
        self.hyper: Hyper
        self.inverse: Inverse

    def like(self, covariance: Covariance) -> Self:
        """The same points under another covariance."""
        return type(self)(self.points, covariance, self.name)

    def at(self, hyper: Hyper, form: type[Inverse] = Cholesky) -> None:
        raise NotImplementedError

    def apply(self, A: Array) -> Array:
        """D on every row; what it returns lasts until the next product."""
        raise NotImplementedError

    def adjoint(self, E: Array) -> Array:
        """Dᵀ on every row; what it returns lasts until the next product."""
        raise NotImplementedError

    def gradient(self, rows: int, X: Array, A: Array, E: Array) -> Hyper:
        """The gradient of rows/2 log det K - <X, A dK> + <E, A dD> for the last arguments A of ``apply`` and E of ``adjoint``."""
        raise NotImplementedError

    def predictor(self, x: Array) -> Array:
        """k(x, grid), (M, N)."""
        return self.covariance.cross(x, self.points.array, self.hyper)

    def slope_predictor(self, x: Array) -> Array:
        """D of those points, (M, N)."""
        return sum(c * self.covariance.cross(x, self.points.array, self.hyper, order) for order, c in self.covariance.terms)

    @property
    def logdet(self) -> Any:
        return self.inverse.logdet

    def solve(self, rows: Array) -> Array:
        """K⁻¹ on every row."""
        return self.inverse.solve(rows)


class UniformAxis(Axis):
    """K and D, of one term, are Toeplitz: N lags of the kernel; products with D and sums along diagonals by Fourier transforms (8)-(10)."""

    def __init__(self, points: Points, covariance: Covariance, name: str) -> None:
        super().__init__(points, covariance, name)
        from scipy.fft import next_fast_len

        n = len(self.x)
        self.d = np.arange(n) * ((self.x[-1] - self.x[0]) / (n - 1))
        self.length = int(next_fast_len(2 * n - 1, real=True))
        self.line = np.empty(2 * n - 1)  # k at the lags from 1 - n to n - 1
        self.toeplitz = np.lib.stride_tricks.sliding_window_view(self.line, n)[::-1]
        self.K = np.empty((n, n))
        self.parity = Parity(n)
        self.spectra: dict[str, np.ndarray] = {}  # of A, E, X
        self.signal = np.empty((0, 0))

    def at(self, hyper: Hyper, form: type[Inverse] = Cholesky) -> None:
        self.hyper, n = hyper, len(self.x)
        lags = self.covariance.lags(self.d, hyper)
        lags[0] += self.covariance.jitter
        self.line[n - 1 :], self.line[n - 1 :: -1] = lags, lags
        np.copyto(self.K, self.toeplitz)
        self.inverse = form(self.K, self.covariance.jitter, self.name, self.parity)
        slopes = self._slopes()
        around = np.zeros(self.length)
        around[:n] = slopes
        around[:-n:-1] = slopes[1:] if self.even else -slopes[1:]
        transformed = np.fft.rfft(around)
        self.symbol = transformed.real.copy() if self.even else 1j * transformed.imag

    @property
    def even(self) -> bool:
        return self.covariance.terms[0][0] % 2 == 0

    def _slopes(self) -> np.ndarray:
        """The lags of D."""
        ((order, c),) = self.covariance.terms
        found: np.ndarray = self.covariance.lags(self.d, self.hyper, order)
        found *= c
        return found

    def apply(self, A: np.ndarray) -> np.ndarray:
        return self._product("A", A)

    def adjoint(self, E: np.ndarray) -> np.ndarray:
        found = self._product("E", E)
        return found if self.even else np.negative(found, out=found)

    def gradient(self, rows: int, X: np.ndarray, A: np.ndarray, E: np.ndarray) -> Hyper:
        of_K = 0.5 * rows * inverse_diagonal_sums(self.inverse.first_column())
        of_K -= self._diagonal_sums(self._transform("X", X), self.spectra["A"], True)
        of_D = self._diagonal_sums(self.spectra["E"], self.spectra["A"], self.even)
        return self._pull(of_K, of_D)

    def _pull(self, of_K: np.ndarray, of_D: np.ndarray) -> Hyper:
        """Gradients by the lags of K and D."""
        d, covariance, ((order, c),) = self.d, self.covariance, self.covariance.terms
        parts = covariance.lags_vjp(d, self.hyper, of_K, 0), covariance.lags_vjp(d, self.hyper, c * of_D, order)
        return Hyper(*(k + d for k, d in zip(*parts)))

    def _transform(self, name: str, rows: np.ndarray) -> np.ndarray:
        shape = (len(rows), self.length // 2 + 1)
        if name not in self.spectra or self.spectra[name].shape != shape:
            self.spectra[name] = np.empty(shape, complex)  # kept: fresh pages would cost more than the transform
        return np.fft.rfft(np.ascontiguousarray(rows), n=self.length, axis=1, out=self.spectra[name])

    def _product(self, name: str, rows: np.ndarray) -> np.ndarray:
        spectrum = self._transform(name, rows)
        if self.signal.shape[0] != len(rows):
            self.signal, self.scratch = np.empty((len(rows), self.length)), np.empty_like(spectrum)
        np.multiply(spectrum, self.symbol, out=self.scratch)
        np.fft.irfft(self.scratch, n=self.length, axis=1, out=self.signal)
        return self.signal[:, : len(self.x)]

    def _diagonal_sums(self, X: np.ndarray, A: np.ndarray, even: bool) -> np.ndarray:
        """Sums along the diagonals i - j = l of X^T A, by spectra: those at l plus or minus those at -l; the main one once, or 0 (9)."""
        if even:
            products = np.einsum("ij,ij->j", X.view(float), A.view(float))  # the real part of X conj(A), its two terms apart
            sums = 2 * np.fft.irfft(products.reshape(-1, 2).sum(axis=1), n=self.length)[: len(self.x)]
            sums[0] /= 2
            return sums
        sums = 2 * np.fft.irfft(1j * np.einsum("ij,ij->j", X, A.conj()).imag, n=self.length)[: len(self.x)]
        sums[0] = 0.0
        return sums


class ParityAxis(UniformAxis):
    """A uniform axis by parity (11) for Cholesky's form: less time than Fourier transforms take, for many rows."""

    def __init__(self, points: Points, covariance: Covariance, name: str) -> None:
        super().__init__(points, covariance, name)
        self.by_parity: ParityCholesky | None = None

    def at(self, hyper: Hyper, form: type[Inverse] = Cholesky) -> None:
        if form is not Cholesky:
            self.by_parity = None
            super().at(hyper, form)
            return
        self.hyper, covariance = hyper, self.covariance
        lags = covariance.lags(self.d, hyper)
        lags[0] += covariance.jitter
        self.by_parity = ParityCholesky(self.parity, lags, covariance.jitter, self.name)
        slopes = self._slopes()
        slopes *= 0.5
        if self.even:
            self.of_even, self.of_odd = self.parity.symmetric(slopes)
        else:
            self.of_even = self.parity.antisymmetric(slopes).T
            self.of_odd = -self.of_even.T

    @property
    def logdet(self) -> Any:
        return super().logdet if self.by_parity is None else self.by_parity.logdet

    def solve(self, rows: np.ndarray) -> np.ndarray:
        return super().solve(rows) if self.by_parity is None else self.by_parity.solve(rows)

    def apply(self, A: np.ndarray) -> np.ndarray:
        if self.by_parity is None:
            return super().apply(A)
        self.A = folded(A, 1)
        return self._product_by_parity(self.A)

    def adjoint(self, E: np.ndarray) -> np.ndarray:
        if self.by_parity is None:
            return super().adjoint(E)
        self.E = folded(E, 1)
        found = self._product_by_parity(self.E)
        return found if self.even else np.negative(found, out=found)

    def _product_by_parity(self, rows: Pair) -> np.ndarray:
        even, odd = rows[0] @ self.of_even, rows[1] @ self.of_odd
        return unfolded(even, odd, 1) if self.even else unfolded(odd, even, 1)

    def gradient(self, rows: int, X: np.ndarray, A: np.ndarray, E: np.ndarray) -> Hyper:
        if self.by_parity is None:
            return super().gradient(rows, X, A, E)
        parity, inverse = self.parity, self.by_parity
        sums = [0.5 * (x.T @ a) for x, a in zip(folded(X, 1), self.A)]
        of_K = parity.of_symmetric(rows * inverse.even - sums[0], rows * inverse.odd - sums[1])
        if self.even:
            of_D = parity.of_symmetric(*(0.5 * (e.T @ a) for e, a in zip(self.E, self.A)))
        else:
            of_D = parity.of_antisymmetric(0.5 * (self.E[1].T @ self.A[0] - self.A[1].T @ self.E[0]))
        return self._pull(of_K, of_D)


class GeneralAxis(Axis):
    """Any points, on the host or a device, and terms: K and D are evaluated at all pairs."""

    def at(self, hyper: Hyper, form: type[Inverse] = Cholesky) -> None:
        self.hyper, jitter = hyper, self.covariance.jitter
        K, self.D = self._matrix(0), sum(c * self._matrix(order) for order, c in self.covariance.terms)
        eye = namespace(K).eye(len(self.x), dtype=K.dtype, device=K.device)
        if form is Cholesky and not isinstance(K, np.ndarray):
            form = DeviceCholesky
        self.inverse = form(K + jitter * eye, jitter, self.name)

    def _matrix(self, order: int) -> Array:
        return self.covariance.cross(self.points.array, None, self.hyper, order)

    def _pulled(self, G: Array, order: int) -> Hyper:
        """The gradient of <G, the matrix of that order> by the hyperparameters."""
        return self.covariance.cross_vjp(self.points.array, self.hyper, G, order)

    def apply(self, A: Array) -> Array:
        return A @ self.D.T

    def adjoint(self, E: Array) -> Array:
        return E @ self.D

    def gradient(self, rows: int, X: Array, A: Array, E: Array) -> Hyper:
        of_K, of_D = 0.5 * rows * self.inverse.dense() - X.T @ A, E.T @ A
        parts = [self._pulled(of_K, 0), *(self._pulled(c * of_D, order) for order, c in self.covariance.terms)]
        return Hyper(*map(sum, zip(*parts)))


def is_uniform(x: np.ndarray) -> bool:
    """Within the roundings of x_0 + i h in x's own precision: the test of ``spectral_mixture``."""
    wide = x.astype(np.float64)
    steps = wide[0] + np.arange(len(x)) * ((wide[-1] - wide[0]) / (len(x) - 1))
    return bool((np.abs(wide - steps) <= 4 * np.finfo(x.dtype).eps * np.abs(wide).max()).all())


def inverse_diagonal_sums(x: np.ndarray) -> np.ndarray:
    """Sums along the diagonals l and -l together of the inverse of a symmetric Toeplitz matrix, from its first column x (10)."""
    n = len(x)
    lag = np.arange(n)
    weighed = np.empty((2, n))
    weighed[0], weighed[1] = x, x * lag
    spectra = np.fft.rfft(weighed, 2 * n)
    plain, moments = np.fft.irfft(spectra[0] * spectra.conj(), 2 * n)[:, :n]
    sums: np.ndarray = ((n - lag) * plain - 2 * moments) * (2 / x[0])
    sums[0] /= 2
    return sums
