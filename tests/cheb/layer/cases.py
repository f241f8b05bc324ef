import numpy as np

from case import Case


def _case(name, N, I, K, O, rows=False, deep=False):
    """deep: polynomials that stay bounded for any degree. With arbitrary a and b they may grow, and then cancel in float32."""

    def make(rng):
        shape = (I, K) if rows else (K,)
        X = np.tanh(rng.standard_normal((N, I)))
        a, b = rng.uniform(-0.3, 0.3, shape), rng.uniform(0.2, 1.0, shape)
        if deep:
            a, b, X = 0 * a, 0 * b + 0.25, 0.9 * X
        return [X, rng.standard_normal((I, K, O)), a, b], {}

    def valid(arguments):
        return [*arguments[:3], abs(arguments[3]) + 0.1]

    return Case("poly_layer", name, make, valid)


def _products(op, name, N, degrees, O, rows=False):
    degrees = np.asarray(degrees)

    def make(rng):
        (M, I), K = degrees.shape, int(degrees.max(initial=0)) + 1
        X, W = np.tanh(rng.standard_normal((N, I))), rng.standard_normal((M, O))
        shape = (I, K) if rows else (K,)
        recurrence = [rng.uniform(-0.3, 0.3, shape), rng.uniform(0.2, 1.0, shape)] if op == "product_layer" else []
        return [X, W, *recurrence], {"degrees": degrees.tolist()}

    def valid(arguments):
        return [*arguments[:3], *(abs(b) + 0.1 for b in arguments[3:])]

    def fitted(arguments):
        """``degrees`` determine all sizes except those of rows and outputs."""
        X, W, *recurrence = arguments
        (M, I), K = degrees.shape, int(degrees.max(initial=0)) + 1
        shapes = [(len(X), I), (M, W.shape[1]), *[(I, K) if rows else (K,)] * len(recurrence)]
        return [np.resize(x if x.size else np.ones_like(x, shape=1), shape) for x, shape in zip(arguments, shapes)]

    return Case(op, name, make, valid, fitted)


PAIRS = [[0, 0, 0], [1, 0, 0], [0, 2, 0], [3, 0, 1], [1, 1, 1], [0, 0, 4]]
CASES = [
    _case("plain", 40, 5, 4, 6),
    _case("rows", 33, 3, 5, 7, rows=True),
    *[_case(f"N{n}", n, 4, 3, 5) for n in (0, 1, 2, 95, 96, 97, 200)],
    *[_case(f"O{o}", 20, 3, 4, o, rows=True) for o in (0, 1, 2, 15, 16, 17, 31, 49, 130)],
    *[_case(f"K{k}", 11, 3, k, 4) for k in (0, 1, 2, 12)],
    *[_case(f"I{i}", 10, i, 3, 4) for i in (0, 1, 2, 67)],
    _case("degree-40", 9, 2, 41, 3, deep=True),
    _case("deeper-than-a-panel", 40, 1, 140, 8, deep=True),
    _case("many-rows", 7000, 2, 3, 2),
    *[
        _products(op, name, *sizes)
        for op in ("product_layer", "trig_layer")
        for name, sizes in {
            "products": (20, PAIRS, 4),
            "one-input": (9, [[3], [0], [1]], 2),
            "constant": (5, [[0, 0]], 3),
            "no-rows": (0, PAIRS, 2),
            "no-outputs": (4, PAIRS, 0),
            "many-rows": (5000, PAIRS, 1),
        }.items()
    ],
    _products("product_layer", "measures", 20, PAIRS, 4, rows=True),
]
ROWS = {"poly_layer": "N", "product_layer": "N", "trig_layer": "N"}
