"""Tables with labels, pandas' and xarray's: the axes of a grid and back, without importing either."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import _arguments, _arrays

_DAY = np.timedelta64(1, "D")


class Labels(NamedTuple):
    """What a table was, to make another one of values on other axes."""

    table: Any  # its type
    index: Any  # that of a Series' index
    names: Sequence[Any]
    axes: Sequence[Any]

    def of(self, values: np.ndarray, axes: Sequence[Any] | None) -> Any:
        """On the table's own axes, or on those of the list."""
        labels = list(self.axes) if axes is None else [np.asarray(x) for x in axes]
        if hasattr(self.table, "dims"):
            return self.table(values, coords=dict(zip(self.names, labels)), dims=self.names)
        if hasattr(self.table, "columns"):
            return self.table(values, index=labels[0], columns=labels[1]).rename_axis(index=self.names[0], columns=self.names[1])
        if len(labels) == 1:
            return self.table(values, index=labels[0]).rename_axis(self.names[0])
        return self.table(values.reshape(-1), index=self.index.from_product(labels, names=self.names))


def unlabelled(data: Any, label: str) -> tuple[Any, Any, Labels]:
    """(axes, values, labels) of a DataArray or DataFrame, (points, values, labels) of a Series; TypeError for anything else."""
    if hasattr(data, "dims") and hasattr(data, "coords"):
        axes = [np.asarray(data[d]) for d in data.dims]
        return axes, data, Labels(type(data), None, tuple(data.dims), axes)
    if hasattr(data, "index") and hasattr(data, "columns"):
        axes = [np.asarray(data.index), np.asarray(data.columns)]
        return axes, data, Labels(type(data), None, (data.index.name, data.columns.name), axes)
    if hasattr(data, "index") and hasattr(data, "to_numpy"):
        levels = [np.asarray(data.index.get_level_values(k)) for k in range(data.index.nlevels)]
        points = np.stack([coordinate(x, label, f"level {k} of the index") for k, x in enumerate(levels)], axis=1)
        return points, data, Labels(type(data), type(data.index), tuple(data.index.names), [np.unique(x) for x in levels])
    raise TypeError(f"{label}: Y is missing; give axes and Y, as fit([x, t], Y), or a DataArray, DataFrame or Series with its labels")


def axes_in(X: Any) -> Any:
    """The axes of a DataArray; anything else as it is."""
    return [np.asarray(X[d]) for d in X.dims] if hasattr(X, "coords") and getattr(X, "ndim", 0) > 1 else X


def coordinate(x: Any, label: str, name: str) -> Any:
    """The numbers of an axis; dates and times count in days, since 1970."""
    if _arrays.kind(x) is None and hasattr(x, "__array__"):
        _arguments.refuse_masked(x, label, name)
        x = np.asarray(x)
    if isinstance(x, np.ndarray) and x.dtype.kind in "mM":
        since = x - np.datetime64(0, "D") if x.dtype.kind == "M" else x
        return np.where(np.isnat(x), np.nan, since / _DAY)
    return _arguments.numbers_here(_arguments.points_like(x, label, name), label, name)
