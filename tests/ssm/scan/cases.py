import numpy as np

from case import Case


def _scan(shape, a_shape=None, h0=True, complex=False, **options):
    """``a_shape``: shape of the coefficients; "slow": one coefficient per row that forgets slowly, which a GPU raises to powers."""

    def make(rng):
        def normal(size):
            return rng.standard_normal(size) + (1j * rng.standard_normal(size) if complex else 0)

        axis = options.get("axis", -1)
        start = [n for i, n in enumerate(shape) if i != axis % len(shape)]
        a = normal({None: shape, "slow": (*shape[:-1], 1)}.get(a_shape, a_shape))
        a = a / abs(a) * np.exp(-rng.uniform(5e-4, 5e-3, a.shape)) if a_shape == "slow" else 0.9 * a / (1 + abs(a))
        return [np.asarray(a), normal(shape), np.asarray(normal(start)) if h0 else None], options

    return make


CASES = [
    *[Case("linear_scan", f"L{n}", _scan((3, 5, n))) for n in (1, 2, 15, 16, 17, 100)],
    Case("linear_scan", "empty", _scan((3, 0))),
    Case("linear_scan", "no-rows", _scan((0, 7))),
    Case("linear_scan", "no-times", _scan((4, 0, 3), axis=1, reverse=True)),
    Case("linear_scan", "no-times-complex", _scan((2, 0), a_shape=(1, 1), complex=True)),
    Case("linear_scan", "no-inner", _scan((4, 7, 0), axis=1)),
    Case("linear_scan", "no-outer", _scan((0, 7, 3), a_shape=(7, 1), axis=1, complex=True)),
    Case("linear_scan", "one-row", _scan((1000,))),
    Case("linear_scan", "reverse", _scan((37, 61), reverse=True)),
    Case("linear_scan", "first-axis", _scan((50, 4, 9), axis=0)),
    Case("linear_scan", "middle-axis", _scan((4, 50, 33), axis=1, reverse=True)),
    Case("linear_scan", "constant", _scan((20, 45), a_shape=(20, 1), h0=False)),
    Case("linear_scan", "shared", _scan((6, 20, 45), a_shape=(45,))),
    Case("linear_scan", "channels", _scan((6, 20, 45), a_shape=(20, 45))),
    Case("linear_scan", "inner-constant", _scan((5, 45, 70), a_shape=(70,), axis=1)),
    Case("linear_scan", "inner-shared", _scan((5, 45, 70), a_shape=(5, 45, 1), axis=-2)),
    Case("linear_scan", "complex", _scan((7, 64), complex=True)),
    *[Case("linear_scan", f"complex-L{n}", _scan((9, n), complex=True)) for n in (1, 2, 7, 8, 9, 33)],
    Case("linear_scan", "complex-reverse", _scan((21, 61), complex=True, reverse=True)),
    Case("linear_scan", "complex-constant", _scan((20, 45), a_shape=(20, 1), complex=True, h0=False)),
    Case("linear_scan", "complex-inner-shared", _scan((3, 45, 37), a_shape=(3, 45, 1), axis=1, complex=True)),
    Case("linear_scan", "complex-inner", _scan((2, 45, 19), axis=1, complex=True)),
    Case("linear_scan", "long-row", _scan((30011,))),
    Case("linear_scan", "long-row-reverse", _scan((30011,), reverse=True)),
    Case("linear_scan", "long-row-constant", _scan((2, 30011), a_shape=(2, 1))),
    Case("linear_scan", "long-row-complex", _scan((20000,), complex=True, reverse=True)),
    *[Case("linear_scan", f"slow-{n}", _scan((8, n), "slow", h0=False, reverse=n > 1000)) for n in (1000, 5000)],
    *[Case("linear_scan", f"slow-complex-{n}", _scan((8, n), "slow", h0=False, complex=True, reverse=n > 1000)) for n in (1000, 5000)],
    Case("linear_scan", "wide", _scan((5, 4999), axis=0)),
    Case("linear_scan", "wide-complex", _scan((2, 5, 2100), axis=1, complex=True)),
    Case("linear_scan", "wide-shared", _scan((5, 4999), a_shape=(5, 1), axis=0, reverse=True)),
    Case("linear_scan", "complex-axis", _scan((64, 7), complex=True, axis=0, reverse=True)),
]


def _drawn(rng):
    shape = tuple(int(n) for n in rng.choice([0, 1, 2, 3, 7, 16, 31, 33, 65], rng.integers(1, 4)))
    cut = int(rng.integers(len(shape) + 1))
    a_shape = tuple(1 if rng.random() < 0.3 else n for n in shape)[cut:]
    options = {"axis": int(rng.integers(-len(shape), len(shape))), "reverse": bool(rng.integers(2))}
    return Case("linear_scan", "drawn", _scan(shape, a_shape, rng.random() < 0.5, rng.random() < 0.5, **options))


DRAWN = {"linear_scan": _drawn}
