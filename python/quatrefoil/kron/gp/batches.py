"""Batches of grids: factors (..., n_k, n_k), one call per item."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ... import _arguments, _arrays
from ..product.batches import batch_shape, spread, stacked

_SEQUENCES, _ARRAYS = ("factors", "cross_factors", "prior_factors"), ("y", "noise", "mask", "start")


def per_item(label: str, function: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """Results of all items, batch axes first, or gradients in the shapes of the arguments. Arrays need the factors' batch axes."""
    factors = arguments["factors"]
    for i, f in enumerate(factors):
        _arguments.real_array(f, label, f"factors[{i}]")
    batch = batch_shape(factors)
    for name in _ARRAYS:
        shape = tuple(getattr(arguments.get(name), "shape", ()))
        if (shape or (name == "y" and name in arguments)) and shape[: len(batch)] != batch:
            raise ValueError(f"{label}: {name} has shape {shape}, expected the leading batch axes {batch} of the factors")
    if not np.prod(batch):
        raise ValueError(f"{label}: the factors have batch axes {batch}, expected no axis of length 0")
    shared = dict(arguments)
    if "rng" in shared:
        shared["rng"] = _arguments.generator(shared["rng"], label)  # shared, so that each item draws different numbers
    sequences = {name: spread(arguments[name], batch) for name in _SEQUENCES if arguments.get(name) is not None}
    results = []
    for at in np.ndindex(batch):
        item = {name: [f[at] for f in values] for name, values in sequences.items()}
        item |= {name: arguments[name][at] for name in _ARRAYS if getattr(arguments.get(name), "shape", ())}
        results.append(function(**shared | item))
    if not arguments.get("grad"):
        return stacked(results, batch)
    *values, dfactors, dnoise = stacked(results, batch)
    of_factors = [_arrays.sum_to_shape(d, f.shape) for d, f in zip(dfactors, factors)]
    return (*values, of_factors, _arrays.sum_to_shape(dnoise, getattr(arguments["noise"], "shape", ())))
