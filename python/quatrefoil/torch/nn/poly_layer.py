"""Layers of polynomials: arbitrary polynomial chaos, Chebyshev-KAN."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ... import cheb
from ..._arguments import MAX_NUMBERS, integer
from ..._arrays import narrow, widen
from ...cheb.orthopoly import Basis, classical
from ._layer import Layer


class PolyLayer(Layer):
    """A layer of polynomials of its inputs, ``poly_layer`` with learned weights.

    y_o = sum over inputs i and degrees k of weight[i, k, o] p_k(x_i), as ``quatrefoil.cheb.poly_layer``.

    Parameters
    ----------
    in_features, out_features : int
        I and O.
    degree : int
        Degree of the polynomials; K = degree + 1.
    basis : str, Basis, or a sequence of I Bases
        A name of ``orthopoly.classical``, or a result of ``orthopoly.from_samples`` for all inputs or one for each.
    squash : bool
        Take tanh of the inputs first: for inputs outside [-1, 1], the domain of "legendre" and "chebyshev".

    Notes
    -----
    Parameter: weight (I, K, O), normal with variance 1 / (I K): outputs have variance of about 1 for inputs from the basis's measure.
    Buffers: a, b (K,) or (I, K).

    Examples
    --------
    >>> import torch
    >>> from quatrefoil.torch import nn
    >>> nn.PolyLayer(3, 2, degree=4)(torch.zeros(5, 3)).shape
    torch.Size([5, 2])
    """

    a: Tensor
    b: Tensor

    def __init__(
        self, in_features: int, out_features: int, degree: int, *, basis: str | Basis | Sequence[Basis] = "legendre", squash: bool = False
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
        self.weight = torch.nn.Parameter(torch.randn(I, K, O) / math.sqrt(I * K))
        self.squash = squash

    def forward(self, x: Tensor) -> Tensor:
        """x (..., I) -> (..., O)."""
        self._check_input(x, self.weight, self.weight.shape[0], f"(..., {self.weight.shape[0]})")
        rows = widen(x.reshape(-1, x.shape[-1]))  # half precision is computed in float32
        rows = torch.tanh(rows) if self.squash else rows
        y = cheb.poly_layer(rows, *map(widen, (self.weight, self.a, self.b)))
        out: Tensor = narrow(y.reshape(*x.shape[:-1], self.weight.shape[-1]), x)
        return out

    def extra_repr(self) -> str:
        I, K, O = self.weight.shape
        return f"{I}, {O}, degree={K - 1}, squash={self.squash}"
