"""Argument checks that the op table does not make, and conversion of tables (..., n_1, ..., n_d) to rows."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

import numpy as np

from ... import _arguments, _arrays
from ..._arguments import host_array
from ..._bind import check_device
from ..product.batches import is_batch
from .batches import per_item

P = ParamSpec("P")
R = TypeVar("R")


def takes_grids(label: str, *, per_point: bool = True) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator: y, noise, mask and start may be tables (..., n_1, ..., n_d) instead of rows (..., N), and factors may be batches.

    The last axis distinguishes tables from rows. With ``per_point``, results have one number per point, and are tables if y is one.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        names = list(inspect.signature(function).parameters)
        positional = sum(p.kind is not p.KEYWORD_ONLY for p in inspect.signature(function).parameters.values())

        @functools.wraps(function)
        def called(*args: P.args, **options: P.kwargs) -> R:
            arguments: dict[str, Any] = dict(zip(names, args)) | options
            if len(args) > positional or len(arguments) < len(args) + len(options):
                return function(*args, **options)  # raises TypeError
            if isinstance(arguments.get("factors"), (list, tuple)) and is_batch(arguments["factors"]):
                return per_item(label, called, arguments)
            sizes = _sizes(arguments.get("factors"))
            tables = {n: _rows(arguments[n], sizes) for n in ("y", "noise", "mask", "start") if _is_table(arguments.get(n), sizes)}
            if sizes and "y" not in tables:
                _check_cells(label, arguments.get("y"), sizes, arguments.get("mask") is not None)
            if not tables:
                return function(*args, **options)
            plain: Any = function
            results = plain(**arguments | tables)
            if not per_point and "noise" in tables and arguments.get("grad"):  # the last result is the gradient with respect to the noise
                results = (*results[:-1], results[-1].reshape(sizes))
            elif per_point and "y" in tables:
                shape = _sizes(arguments["cross_factors"]) if "cross_factors" in names else sizes
                several = [a.reshape(*a.shape[:-1], *shape) for a in (results if isinstance(results, tuple) else [results])]
                results = tuple(several) if isinstance(results, tuple) else several[0]
            return results

        return called

    return decorate


def _sizes(factors: Any) -> tuple[int, ...]:
    """The factors' numbers of rows; () if they are not matrices, which a later check reports."""
    is_known = isinstance(factors, (list, tuple)) and all(_arrays.kind(f) is not None and f.ndim == 2 for f in factors)
    return tuple(f.shape[0] for f in factors) if is_known else ()


def _is_table(a: Any, sizes: tuple[int, ...]) -> bool:
    if a is None or isinstance(a, (int, float)):  # torch.compile cannot trace getattr on a number
        return False
    shape = tuple(getattr(a, "shape", ()))
    return len(sizes) > 1 and shape[-len(sizes) :] == sizes and sizes[-1] != math.prod(sizes) and _arrays.kind(a) is not None


def _rows(a: Any, sizes: tuple[int, ...]) -> Any:
    return a.reshape(*a.shape[: -len(sizes)], math.prod(sizes))


def _check_cells(label: str, y: Any, sizes: tuple[int, ...], is_masked: bool) -> None:
    N = math.prod(sizes)
    if _arrays.kind(y) is not None and tuple(y.shape[-1:]) != (N,):
        expected = f"(..., {N})" + (f" or (..., {', '.join(map(str, sizes))})" if len(sizes) > 1 else "")
        which = ", with all cells of the grid; mask marks the observed ones" if is_masked else ", one number per cell of the grid"
        raise ValueError(f"{label}: y has shape {tuple(y.shape)}, expected {expected}{which}")


def same_kind(label: str, name: str, arrays: Sequence[Any], y: Any = None) -> list[Any]:
    """The arrays without gradients, as NumPy arrays unless on a device. They must have the kind, dtype and device of y or of the first."""
    leader, other = (arrays[0], f"{name}[0]") if y is None else (y, "y")
    plain = [host_array(a, label, f"{name}[{k}]", device="keep") for k, a in enumerate(arrays)]
    for k, a in enumerate(arrays):
        if a is leader:
            continue
        if a.dtype != leader.dtype or _arrays.kind(a) != _arrays.kind(leader):
            raise TypeError(f"{label}: {name}[{k}] is {_arrays.describe(a)} but {other} is {_arrays.describe(leader)}")
        check_device(label, f"{name}[{k}]", a, other, leader)
    return plain


def cross_sizes(label: str, factors: Any, cross: Sequence[Any], y: Any) -> list[int]:
    """Check cross_factors against factors and return their sizes m_k; ``gp_solve`` checks the other arguments."""
    matrices = _arguments.sequence(factors, label)
    if len(cross) != len(matrices):
        raise ValueError(f"{label}: got {len(cross)} cross_factors for {len(matrices)} factors, expected one per factor")
    for k, (c, f) in enumerate(zip(cross, matrices)):
        _arguments.real_array(c, label, f"cross_factors[{k}]")
        _arguments.real_array(f, label, f"factors[{k}]")
        if c.dtype != f.dtype or _arrays.kind(c) != _arrays.kind(f):
            raise TypeError(f"{label}: cross_factors[{k}] is {_arrays.describe(c)} but factors[{k}] is {_arrays.describe(f)}")
        check_device(label, f"cross_factors[{k}]", c, f"factors[{k}]", f)
        if f.ndim != 2 or f.shape[0] != f.shape[1]:
            raise ValueError(f"{label}: factors[{k}] has shape {tuple(f.shape)}, expected a square matrix")
        if c.ndim != 2 or c.shape[1] != f.shape[0]:
            raise ValueError(f"{label}: cross_factors[{k}] has shape {tuple(c.shape)}, expected (m, {f.shape[0]})")
    _arguments.real_array(y, label, "y")
    return [c.shape[0] for c in cross]


def plain_inputs(label: str, factors: Any, noise: Any, mask: Any, y: Any) -> tuple[list[Any], Any, Any]:
    """Factors, noise (1,) or (N,) and mask of a call with this y, as NumPy arrays unless y is on a device."""
    if not _arrays.on_host(y):
        return same_kind(label, "factors", factors, y), *same_kind(label, "noise", [noise_of(noise, y, label)], y), mask
    plain = same_kind(label, "factors", factors)
    is_number = _arrays.kind(noise) is None
    s = np.full(1, _arguments.number(noise, label, "noise")) if is_number else _arguments.host_array(noise, label, "noise")
    if mask is not None:
        _arguments.array(mask, label, "mask", dtypes=("bool",))
    return plain, s.reshape(-1), None if mask is None else _arrays.to_host(mask)


def noise_of(noise: Any, y: Any, label: str) -> Any:
    """The noise as an array (1,) or (N,) of y's kind and precision."""
    if not isinstance(noise, float) and _arrays.kind(noise) is not None:
        return noise.reshape(1) if noise.ndim == 0 else noise
    value = _arguments.number(noise, label, "noise")
    if _arrays.kind(y) is None:
        return np.full(1, value)  # a later check reports what is wrong with y
    if _arrays.kind(y) == "torch":
        return y.new_full((1,), value)
    return _arrays.to_device_of(np.full(1, value, _arrays.dtype_name(y)), y)


def check_numbers(label: str, y: Any, noise: Any, mask: Any) -> None:
    """ValueError if noise is negative or not finite, or an observed cell is not finite; arrays on a device are not read."""
    if not isinstance(y, np.ndarray):
        return
    check_noise(label, noise)
    try:
        _arguments.finite(y if mask is None else np.where(mask, y, 0), label, "y")
    except ValueError as error:
        raise ValueError(f"{error}; mask=~np.isnan(y) excludes NaN (for other arrays, torch.isnan or jnp.isnan)") from None


def check_noise(label: str, noise: np.ndarray) -> None:
    bad = np.flatnonzero(~(np.isfinite(noise) & (noise >= 0))) if isinstance(noise, np.ndarray) else ()
    if len(bad):
        where = f"noise[{bad[0]}]" if len(noise) > 1 else "noise"
        raise ValueError(f"{label}: {where} is {noise[bad[0]]}, expected a finite nonnegative number")
