"""Conversion of labelled tables of pandas and xarray to axes and back, without importing either. Dates become numbers of days."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ... import _arguments, _arrays
from ..product.dense import namespace

_DAY = np.timedelta64(1, "D")
_KINDS = {"M": "dates", "m": "durations"}
_TO_TYPE = {
    "numbers": "numbers",
    "dates": "dates such as np.datetime64('2026-03-01')",
    "durations": "durations such as np.timedelta64(36, 'h')",
}


class Labels(NamedTuple):
    """The type and the labels of a table, to build a table of values on other axes."""

    table: Any  # type of the table
    index: Any  # type of the index of a Series
    names: Sequence[Any]
    axes: Sequence[Any]

    def build(self, values: np.ndarray, axes: Sequence[Any] | None) -> Any:
        """A table of values, on this table's axes or on others; samples (size, ...) of a DataArray get a first dimension ``sample``."""
        labels = list(self.axes) if axes is None else [x if hasattr(x, "get_level_values") else _plain(x) for x in axes]
        if hasattr(self.table, "dims"):
            dims = ["sample", *self.names] if values.ndim > len(labels) else self.names
            return self.table(values, coords=dict(zip(self.names, map(np.asarray, labels))), dims=dims)
        if values.ndim > len(labels):
            return values
        if hasattr(self.table, "columns"):
            return self.table(values, index=labels[0], columns=labels[1]).rename_axis(index=self.names[0], columns=self.names[1])
        if len(labels) == 1:
            return self.table(values, index=labels[0]).rename_axis(self.names[0])
        return self.table(values.reshape(-1), index=self.index.from_product(labels, names=self.names))

    def axes_in(self, X: Any, label: str) -> Any:
        """The axes of a mapping by name or of a table, with absent ones from this table; anything else unchanged."""
        if isinstance(X, Mapping) or (hasattr(X, "dims") and hasattr(X, "coords")):
            axes = {d: X[d] for d in getattr(X, "dims", X)}
            if unknown := [d for d in axes if d not in self.names]:
                names = ", ".join(repr(name) for name in self.names if name is not None)
                expected = (
                    f"expected {names}" if names else "the axes of the table have no names; use df.rename_axis(index='t', columns='x')"
                )
                raise ValueError(f"{label}: unknown axis {unknown[0]!r}; {expected}")
            return [axes.get(name, x) for name, x in zip(self.names, self.axes)]
        if not _is_frame(X):
            return X
        if set(X.columns) == set(self.names):
            return X[list(self.names)]
        is_table = hasattr(self.table, "columns") and list(X.columns) != [0, 1]
        return [X.index, X.columns] if is_table else X


def dataset(arrays: Sequence[Any]) -> Any:
    """An xarray Dataset of a mean and, if present, a standard deviation, both DataArrays."""
    result = arrays[0].to_dataset(name="mean")
    return result.assign(std=arrays[1]) if len(arrays) > 1 else result


def unlabelled(data: Any, label: str) -> tuple[Any, Any, Labels]:
    """(axes, values, labels) of a DataArray or DataFrame, (index, values, labels) of a Series; TypeError for anything else."""
    if hasattr(data, "data_vars"):
        raise TypeError(f"{label}: got a Dataset, expected one of its variables: ds[{next(iter(data.data_vars), 'name')!r}]")
    if hasattr(data, "dims") and hasattr(data, "coords"):
        axes = [np.asarray(data[d]) for d in data.dims]
        return axes, data, Labels(type(data), None, tuple(data.dims), axes)
    if _is_frame(data) and len(data.columns) == 1 and isinstance(data.columns[0], str):
        data = data[data.columns[0]]
    if _is_frame(data):
        axes = [data.index, data.columns]
        records = "for records pass the values with their coordinates as index: df.set_index(['x', 't'])['value']"
        for k, (x, name) in enumerate(zip(axes, ("the index", "columns"))):
            fix = f"use positions instead of names, as in df.set_axis(range({len(x)}), axis={k}); {records}"
            plain(x, label, name, fix)
        return axes, data, Labels(type(data), None, (data.index.name, data.columns.name), axes)
    if hasattr(data, "index") and hasattr(data, "to_numpy"):
        levels = [data.index.get_level_values(k).unique().sort_values() for k in range(data.index.nlevels)]
        return data.index, data, Labels(type(data), type(data.index), tuple(data.index.names), levels)
    raise TypeError(f"{label}: Y is missing; pass axes and Y, as in fit([x, t], Y), or a DataArray, DataFrame or Series with labels")


def series_in(data: Any, label: str) -> Any:
    """A Series, or the only column of a DataFrame; TypeError for anything else."""
    if _is_frame(data) and len(data.columns) == 1:
        data = data[data.columns[0]]
    if _is_frame(data) or not (hasattr(data, "index") and hasattr(data, "to_numpy")):
        fix = "pass X and y, or a Series whose index is X: df.stack(), da.to_series() or df.set_index(['x', 't'])['value']"
        raise TypeError(f"{label}: y is missing; {fix}")
    return data


def columns(X: Any, label: str) -> list[Any]:
    """The columns of points (P, d) or of a DataFrame, or the levels of an index; a single axis is one column. Dates become NumPy's."""
    if _is_frame(X):
        parts = {f"X[{c!r}]": X[c] for c in X.columns}
    elif getattr(X, "nlevels", 1) > 1:
        parts = {f"level {k} of the index": X.get_level_values(k) for k in range(X.nlevels)}
    elif str(getattr(X, "dtype", "")) == "object" and X.ndim == 2:
        parts = {f"X[:, {k}]": np.array(X[:, k].tolist()) for k in range(X.shape[1])}
    else:
        numbers = plain(X, label, "X")
        return [numbers[:, k] for k in range(numbers.shape[1])] if numbers.ndim == 2 else [numbers]
    return [plain(part, label, what) for what, part in parts.items()]


def stacked(parts: Sequence[Any], label: str, kinds: Sequence[str] = ()) -> Any:
    """A copy of ``columns`` as one array of finite numbers (P, columns) in double precision, after a check of their kinds."""
    expected: Sequence[str | None] = kinds or [None] * len(parts)
    numbers = [_arrays.double(coordinate(part, label, f"X[:, {k}]", e)) for k, (part, e) in enumerate(zip(parts, expected))]
    points = namespace(numbers[0]).stack(numbers, axis=1)
    _arguments.finite(points if len(parts) > 1 else points[:, 0], label, "X")
    return points


def plain(x: Any, label: str, name: str, fix: str = "") -> Any:
    """Real numbers, or NumPy dates (in UTC) or durations, from anything that NumPy or pandas reads as such."""
    if _arrays.kind(x) is None or (isinstance(x, np.ndarray) and x.dtype.kind in "OU"):
        _arguments.reject_masked(x, label, name)
        try:
            x = _plain(x)
        except (ValueError, TypeError) as error:
            fix = fix or f"convert it, for example with pd.to_datetime({name})"
            raise TypeError(f"{label}: {name}, expected numbers or dates: {error}; {fix}") from None
    if isinstance(x, np.ndarray) and x.dtype.kind in _KINDS:
        return x
    return _arguments.host_array(x, label, name, device="keep", convert=True)


def kind(x: Any) -> str:
    """The kind of a result of ``plain``: "numbers", "dates" or "durations"."""
    return _KINDS.get(x.dtype.kind, "numbers") if isinstance(x, np.ndarray) else "numbers"


def coordinate(x: Any, label: str, name: str, expected: str | None = None) -> Any:
    """The numbers of an axis: dates in days since 1970, durations in days. TypeError if the kind is not the expected one."""
    x = plain(x, label, name)
    own_kind = kind(x)
    if expected is not None and own_kind != expected:
        raise TypeError(f"{label}: {name} has {own_kind}, but fit had {expected}; pass {_TO_TYPE[expected]}")
    if own_kind == "numbers":
        return x
    return np.where(np.isnat(x), np.nan, (x - np.datetime64(0, "D") if own_kind == "dates" else x) / _DAY)


def is_scalar(value: Any) -> bool:
    """Whether this is one coordinate: a number, a date or duration of any library, or a date as text."""
    return _arguments.is_number(value) or _is_date(value)


def _is_frame(data: Any) -> bool:
    return hasattr(data, "index") and hasattr(data, "columns")


def _is_date(value: Any) -> bool:
    types = (str, datetime.date, datetime.timedelta, np.datetime64, np.timedelta64)
    return isinstance(value, types) or (hasattr(value, "to_timestamp") and not hasattr(value, "__len__"))


def _plain(x: Any) -> Any:
    """Dates and durations as NumPy's; anything else unchanged, or as a NumPy array if it converts to one."""
    first = x[0] if isinstance(x, (list, tuple)) and len(x) else None
    array = np.asarray(x) if hasattr(x, "__array__") or _is_date(first) else None
    if array is None or array.dtype.kind not in "OU" or not array.size or not _is_date(array.flat[0]):
        return x if array is None else array
    with contextlib.suppress(ValueError, TypeError):  # numbers as text, for example from a file
        if isinstance(array.flat[0], str):
            return array.astype(np.float64)
    dates = list(map(_numpy_date, array.reshape(-1).tolist()))
    is_duration = isinstance(dates[0], (datetime.timedelta, np.timedelta64))
    return np.array(dates, "timedelta64" if is_duration else "datetime64").reshape(array.shape)


def _numpy_date(value: Any) -> Any:
    """A date (in UTC, without a time zone) or duration that NumPy can convert."""
    if isinstance(value, str):
        if "-" not in value:
            raise ValueError(f"{value!r} is neither a number nor an ISO date")
        value = datetime.datetime.fromisoformat(value) if value.endswith("Z") or "+" in value else value
    value = value.to_timestamp() if hasattr(value, "to_timestamp") else value
    if getattr(value, "tzinfo", None) is not None:
        value = value.astimezone(datetime.UTC).replace(tzinfo=None)
    return getattr(value, "asm8", value)
