"""Layers of polynomials, and of sines and cosines: arbitrary polynomial chaos, Chebyshev-KAN, Fourier series."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ... import cheb
from ..._arguments import MAX_NUMBERS, integer
from ..._arrays import narrow, widen
from ..._typing import ArrayLike
from ...cheb.multiindex import table_of
from ...cheb.orthopoly import Basis, classical
from ._layer import Layer


class PolyLayer(Layer):
    """A layer of polynomials of its inputs, ``poly_layer`` with learned weights.

    y_o = sum over inputs i and degrees k of weight[i, k, o] p_k(x_i), as in ``quatrefoil.cheb.poly_layer``.

    Parameters
    ----------
    in_features, out_features : int
        I and O.
    degree : int
        Degree of the polynomials; K = degree + 1.
    basis : str, Basis, or a sequence of I Bases
        A name that ``orthopoly.classical`` accepts, or results of ``orthopoly.from_samples``: one for all inputs, or one for each.
    squash : bool
        Take tanh of the inputs first, for inputs outside [-1, 1], the domain of "legendre" and "chebyshev".
    degrees : (M, I) int, optional
        Degrees of products of polynomials of several inputs, such as ``orthopoly.multi_indices(I, degree)``. They replace the polynomials
        of individual inputs: y = ``quatrefoil.cheb.product_layer``.

    Notes
    -----
    Parameter: weight (I, K, O), normal with variance 1 / (I K), or (M, O), with variance 1 / M. Outputs then have a variance of about 1 for
    inputs from the basis's measure. Buffers: a, b (K,) or (I, K).

    Examples
    --------
    >>> import torch
    >>> from quatrefoil.torch import nn
    >>> nn.PolyLayer(3, 2, degree=4)(torch.zeros(5, 3)).shape
    torch.Size([5, 2])
    >>> from quatrefoil.cheb import orthopoly
    >>> nn.PolyLayer(3, 2, degree=2, degrees=orthopoly.multi_indices(3, 2)).weight.shape
    torch.Size([10, 2])
    """

    a: Tensor
    b: Tensor

    def __init__(
        self,
        in_features: int,
        out_features: int,
        degree: int,
        *,
        basis: str | Basis | Sequence[Basis] = "legendre",
        squash: bool = False,
        degrees: ArrayLike | None = None,
    ) -> None:
        super().__init__()
        named = ((in_features, "in_features", 1), (out_features, "out_features", 1), (degree, "degree", 0))
        I, O, self.degree = (integer(n, "PolyLayer", name, least, MAX_NUMBERS) for n, name, least in named)
        bases = [classical(basis, self.degree)] if isinstance(basis, str) else [basis] if isinstance(basis, Basis) else list(basis)
        if len(bases) != I and len(bases) != 1:
            raise ValueError(f"PolyLayer: basis has {len(bases)} entries, expected 1 or {I}, one per input")
        for p in bases:
            if not isinstance(p, Basis):
                raise TypeError(f"PolyLayer: basis is {type(p).__name__}, expected a name or quatrefoil.cheb.orthopoly.Basis")
            if p.degree < self.degree:
                raise ValueError(f"PolyLayer: a basis has degree {p.degree}, expected at least {self.degree}")
        K = self.degree + 1
        for name in ("a", "b"):
            rows = np.stack([getattr(p, name)[:K] for p in bases])
            self.register_buffer(name, torch.tensor(rows if len(bases) > 1 else rows[0], dtype=torch.get_default_dtype()))
        self.degrees = None if degrees is None else table_of(degrees, I, [self.degree] * I, "PolyLayer").tolist()
        shape = (I, K) if self.degrees is None else (len(self.degrees),)
        self.weight = torch.nn.Parameter(torch.randn(*shape, O) / math.sqrt(math.prod(shape)))
        self.in_features, self.squash = I, squash

    def forward(self, x: Tensor) -> Tensor:
        """x (..., I) -> (..., O)."""
        self._check_input(x, self.weight, self.in_features, f"(..., {self.in_features})")
        rows = widen(x.reshape(-1, x.shape[-1]))  # half precision is computed in float32
        rows = torch.tanh(rows) if self.squash else rows
        W, a, b = map(widen, (self.weight, self.a, self.b))
        y = cheb.poly_layer(rows, W, a, b) if self.degrees is None else cheb.product_layer(rows, W, a, b, self.degrees)
        out: Tensor = narrow(y.reshape(*x.shape[:-1], self.weight.shape[-1]), x)
        return out

    def extra_repr(self) -> str:
        products = "" if self.degrees is None else f", {len(self.degrees)} products"
        return f"{self.in_features}, {self.weight.shape[-1]}, degree={self.degree}, squash={self.squash}{products}"


class TrigLayer(Layer):
    """A layer of sines and cosines of its inputs: Fourier series with learned coefficients.

    y_o = sum over products m of weight[m, o] prod_i t_k(x_i) with k = degrees[m, i]; t = 1, sqrt(2) cos x, sqrt(2) sin x, sqrt(2) cos 2x,
    ..., as in ``quatrefoil.cheb.trig_layer``.

    Parameters
    ----------
    in_features, out_features : int
        I and O.
    frequency : int
        The highest frequency; each input has 2 frequency + 1 functions.
    degrees : (M, I) int, optional
        Products of functions of several inputs, instead of functions of individual inputs.

    Notes
    -----
    Parameter: weight (M, O), normal with variance 1 / M, with M = 2 I frequency + 1 by default.

    Wu et al., ICML 2023 (latent spectral models), use such bases.

    Examples
    --------
    >>> import torch
    >>> from quatrefoil.torch import nn
    >>> layer = nn.TrigLayer(3, 2, frequency=4)
    >>> layer(torch.zeros(5, 3)).shape, layer.weight.shape
    (torch.Size([5, 2]), torch.Size([25, 2]))
    """

    def __init__(self, in_features: int, out_features: int, frequency: int, *, degrees: ArrayLike | None = None) -> None:
        super().__init__()
        named = ((in_features, "in_features", 1), (out_features, "out_features", 1), (frequency, "frequency", 0))
        self.in_features, O, self.frequency = (integer(n, "TrigLayer", name, least, MAX_NUMBERS) for n, name, least in named)
        I, K = self.in_features, 2 * self.frequency
        single = np.concatenate([np.zeros((1, I), np.int64), *(k * np.eye(I, dtype=np.int64) for k in range(1, K + 1))])
        self.degrees = (single if degrees is None else table_of(degrees, I, [K] * I, "TrigLayer")).tolist()
        self.weight = torch.nn.Parameter(torch.randn(len(self.degrees), O) / math.sqrt(len(self.degrees)))

    def forward(self, x: Tensor) -> Tensor:
        """x (..., I) -> (..., O)."""
        self._check_input(x, self.weight, self.in_features, f"(..., {self.in_features})")
        y = cheb.trig_layer(widen(x.reshape(-1, x.shape[-1])), widen(self.weight), self.degrees)
        out: Tensor = narrow(y.reshape(*x.shape[:-1], self.weight.shape[-1]), x)
        return out

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.weight.shape[-1]}, frequency={self.frequency}, {len(self.degrees)} products"
