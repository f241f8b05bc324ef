"""The interface of scikit-learn estimators, without importing it: parameters by name, clones, a representation."""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np

from ... import _arguments
from ..._public import missing_attribute
from ..._warnings import warn
from ..product.dense import exponent
from .tables import is_scalar


class Estimator:
    """Base class of classes with ``fit``, whose ``__init__`` stores its arguments unchanged under their names."""

    _hints: ClassVar[Mapping[str, str]] = {}  # for attribute names of other libraries

    @classmethod
    def _parameters(cls) -> dict[str, inspect.Parameter]:
        return {n: p for n, p in inspect.signature(cls.__init__).parameters.items() if n != "self"}

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters by name."""
        return {name: getattr(self, name) for name in self._parameters()}

    def set_params(self, **params: Any) -> Self:
        """Sets parameters for the next ``fit``; returns self."""
        known = self._parameters()
        for name in params:
            if name not in known:
                raise ValueError(f"{type(self).__name__}.set_params: unknown parameter {name!r}, expected {', '.join(known)}")
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def __sklearn_clone__(self) -> Self:
        """A copy with the same parameters, not fitted."""
        known = self._parameters()
        params = self.get_params()
        positional = [params.pop(n) for n, p in known.items() if p.kind is p.POSITIONAL_OR_KEYWORD and p.default is p.empty]
        return type(self)(*positional, **params)

    def __sklearn_tags__(self) -> Any:
        """Tags for scikit-learn's tools."""
        from sklearn.utils import InputTags, RegressorTags, Tags, TargetTags

        return Tags(
            estimator_type="regressor",
            target_tags=TargetTags(required=True),
            regressor_tags=RegressorTags(),
            input_tags=InputTags(two_d_array=True),
        )

    def __getattr__(self, name: str) -> Any:
        """Raises an error that names the attribute to use instead."""
        is_learnt = name.endswith("_") and any(name in getattr(c, "__annotations__", ()) for c in type(self).__mro__)
        hints = {name: "call fit first"} if is_learnt else self._hints
        return missing_attribute(type(self).__name__, **hints)(self, name)

    def __repr__(self) -> str:
        known = self._parameters()
        shown = {n: v for n, v in self.get_params().items() if not isinstance(v, np.ndarray) and v is not known[n].default}
        return f"{type(self).__name__}({', '.join(f'{n}={v!r}' for n, v in shown.items())})"


def is_list_of_axes(axes: Any) -> bool:
    """Whether this is a list of axes; a list of numbers or dates is one axis, or its points."""
    return isinstance(axes, (list, tuple)) and not (len(axes) and all(map(is_scalar, axes)))


def determination(y: Any, mean: np.ndarray, label: str, seen: np.ndarray | None = None) -> float:
    """1 - (sum of squared errors of ``mean``) / (that of the mean of y), over observed values.

    As scikit-learn's ``r2_score``: if all values of y are equal, 1 if ``mean`` is exact, else 0. NaN and a warning for fewer than two.
    """
    values = _arguments.host_array(y, label, "y").astype(np.float64)
    if values.shape != mean.shape:
        raise ValueError(f"{label}: y has shape {values.shape}, expected {mean.shape}, the shape of the predictions")
    observed, predicted = (a.reshape(-1) if seen is None else a[seen] for a in (values, mean))
    _arguments.finite(values if seen is None else observed, label, "y")
    if observed.size < 2:
        warn(f"{label}: the score of {observed.size} values is NaN, because R^2 needs at least two")
        return math.nan
    if observed.min() == observed.max():
        return float((predicted == observed).all())
    e = exponent(observed)  # squares could exceed the range of float64
    scaled, left = np.ldexp(observed, -e), np.ldexp(observed - predicted, -e)
    return 1 - float((left**2).sum() / ((scaled - scaled.mean()) ** 2).sum())


def not_fitted(message: str) -> Exception:
    """A ValueError, or scikit-learn's NotFittedError if it is loaded, because its tools expect that."""
    exceptions: Any = sys.modules.get("sklearn.exceptions")
    return ValueError(message) if exceptions is None else exceptions.NotFittedError(message)
