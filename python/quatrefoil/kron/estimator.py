"""What scikit-learn asks of an estimator, without importing it: parameters by name, clones, a representation."""

from __future__ import annotations

import inspect
from typing import Any, Self

import numpy as np


class Estimator:
    """Base of the classes with ``fit``: their ``__init__`` keeps its arguments, unchanged, under their own names."""

    @classmethod
    def _parameters(cls) -> dict[str, inspect.Parameter]:
        return {n: p for n, p in inspect.signature(cls.__init__).parameters.items() if n != "self"}

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters by name."""
        return {name: getattr(self, name) for name in self._parameters()}

    def set_params(self, **params: Any) -> Self:
        """Other parameters, for the next ``fit``; returns self."""
        known = self._parameters()
        for name in params:
            if name not in known:
                raise ValueError(f"{type(self).__name__}.set_params: unknown parameter {name!r}, expected {', '.join(known)}")
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def __sklearn_clone__(self) -> Self:
        """Without what was learnt."""
        known = self._parameters()
        given = self.get_params()
        positional = [given.pop(n) for n, p in known.items() if p.kind is p.POSITIONAL_OR_KEYWORD and p.default is p.empty]
        return type(self)(*positional, **given)

    def __repr__(self) -> str:
        known = self._parameters()
        shown = {n: v for n, v in self.get_params().items() if not isinstance(v, np.ndarray) and v is not known[n].default}
        return f"{type(self).__name__}({', '.join(f'{n}={v!r}' for n, v in shown.items())})"
