import math

import numpy as np

from case import Case


def factor(rng, n):
    """A covariance with eigenvalues from 0.1 to about 2: solves lose two digits at most."""
    q = np.linalg.qr(rng.standard_normal((n, n)))[0] if n else np.zeros((0, 0))
    a = (q * rng.uniform(0.1, 2, n)) @ q.T
    return (a + a.T) / 2


def symmetric(arguments):
    """What a derivative may see: factors whose two triangles move together."""
    factors, *rest = arguments
    return [[(f + f.T) / 2 for f in factors], *rest]


def _grid(shape, batch=(), noise="one", mask=None, start=False):
    def make(rng):
        N = math.prod(shape)
        y = rng.standard_normal((*batch, N))
        s = rng.uniform(0.2, 1, N if noise == "cells" else 1)
        arguments = [[factor(rng, n) for n in shape], y, s]
        keywords = {}
        if mask is not None:
            observed = rng.random(y.shape if mask == "rows" else N) < (0.3 if mask == "few" else 0.8)
            keywords["mask"] = observed
            if N > 1:
                y[~np.broadcast_to(observed, y.shape)] = np.nan
        if start:
            keywords["start"] = rng.standard_normal(y.shape)
        return arguments, keywords

    return make


def _spectrum(shape, noise=0.3):
    def make(rng):
        return [[rng.uniform(0.1, 2, n) for n in shape], rng.standard_normal(math.prod(shape))], {"noise": noise}

    return make


_SHAPES = [
    ("one-1", [1], {}),
    ("one-5", [5], {}),
    ("two", [4, 3], {}),
    ("two-odd-batch", [7, 5], {"batch": (3,)}),
    ("three", [3, 4, 5], {"batch": (2,)}),
    ("four", [2, 3, 1, 2], {}),
    ("empty", [3, 0], {"batch": (2,)}),
    ("no-rows", [3, 2], {"batch": (0,)}),
    ("noise-per-cell", [4, 5], {"noise": "cells", "batch": (2,)}),
    ("gaps", [5, 6], {"mask": "most", "batch": (2,)}),
    ("few-seen", [4, 6], {"mask": "few"}),
    ("gaps-per-row", [3, 4], {"mask": "rows", "batch": (3,)}),
    ("gaps-and-noise-per-cell", [3, 2, 4], {"mask": "most", "noise": "cells"}),
]
CASES = [
    *[Case("gp_nll", name, _grid(shape, **options), symmetric) for name, shape, options in _SHAPES],
    *[Case("gp_solve", name, _grid(shape, **options), symmetric) for name, shape, options in _SHAPES],
    *[
        Case("gp_spectrum", "x".join(map(str, shape)), _spectrum(shape))
        for shape in ([1], [7], [16], [40], [3, 5], [5, 33], [2, 3, 17], [4, 1, 6, 1], [0, 3], [3, 0], [30, 16, 9])
    ],
    Case("gp_solve", "start", _grid([4, 5], mask="most", start=True), symmetric),
]
