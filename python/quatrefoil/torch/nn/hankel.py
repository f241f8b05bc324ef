"""A linear layer with a Hankel matrix: one weight for each sum of input index and output index."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ... import ssm
from ..._arguments import MAX_NUMBERS, integer
from ..._arrays import narrow, widen
from ._layer import Layer


class HankelLayer(Layer):
    """A linear layer with a learnable Hankel matrix, y_i = sum_j w_{i+j} x_j + b_i.

    Like ``torch.nn.Linear``, with in_features + out_features - 1 weights.

    Parameters
    ----------
    in_features, out_features : int
        n and m.
    bias : bool
    device, dtype
        Device and dtype of the parameters.

    Notes
    -----
    state_dict: weight (n + m - 1,), bias (m,). Cost: O(L log L) per row, L = max(n, m), by ``quatrefoil.ssm.hankel_matmul``. Applied to the
    last n samples of a series, it is the delay layer of structured networks for dynamical systems.

    Examples
    --------
    >>> import torch
    >>> from quatrefoil.torch import nn
    >>> nn.HankelLayer(6, 4)(torch.randn(2, 6)).shape
    torch.Size([2, 4])
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, device: Any = None, dtype: torch.dtype | None = None
    ) -> None:
        super().__init__()
        sizes = ((in_features, "in_features"), (out_features, "out_features"))
        self.in_features, self.out_features = n, m = tuple(integer(size, "HankelLayer", name, 1, MAX_NUMBERS) for size, name in sizes)
        bound = 1 / math.sqrt(n)  # as in torch.nn.Linear
        self.weight = torch.nn.Parameter(torch.empty(n + m - 1, device=device, dtype=dtype).uniform_(-bound, bound))
        self.bias = torch.nn.Parameter(torch.empty(m, device=device, dtype=dtype).uniform_(-bound, bound)) if bias else None

    def forward(self, input: Tensor) -> Tensor:
        """input (..., in_features) -> (..., out_features)."""
        self._check_input(input, self.weight, self.in_features, f"(..., {self.in_features})")
        rows = input.reshape(-1, self.in_features)
        weight = widen(self.weight)
        y = narrow(ssm.hankel_matmul(weight[: self.out_features], weight[self.out_features - 1 :], widen(rows).T).T, input)
        y = y if self.bias is None else y + self.bias
        return y.reshape(*input.shape[:-1], self.out_features)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}"
