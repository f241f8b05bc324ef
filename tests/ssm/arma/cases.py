import numpy as np

from case import Case


def _filter(shape, Q, P, *, rows="shared", start=True, radius=0.6, **options):
    """Poles within ``radius``, in conjugate pairs plus possibly one real pole; a_0 is not 1.

    Many poles that are close together and far from 0 amplify rounding errors.
    """

    def make(rng):
        def poly(count):
            roots = []
            while len(roots) < count - 1:
                r = radius * rng.uniform(0.2, 1)
                angle = rng.uniform(0, np.pi)
                roots += [r * np.exp(1j * angle), r * np.exp(-1j * angle)] if len(roots) < count - 2 else [r * rng.choice([-1, 1])]
            return np.poly(roots).real * rng.uniform(0.5, 2) * rng.choice([-1, 1]) if count > 1 else rng.uniform(0.5, 2, 1)

        lead = shape[:-1]
        a = poly(P) if rows in ("shared", "b") else np.array([poly(P) for _ in range(int(np.prod(lead)))]).reshape(*lead, P)
        b = rng.standard_normal(Q if rows in ("shared", "a") else (*lead, Q))
        return [b, a, rng.standard_normal(shape), rng.standard_normal((*lead, max(P, Q) - 1)) if start else None], options

    return make


CASES = [
    Case("arma_filter", "small", _filter((2, 7), 2, 3)),
    *[Case("arma_filter", f"long{n}", _filter((3, n), 3, 3)) for n in (1, 2, 3, 4, 5, 255, 256, 257, 600)],
    *[Case("arma_filter", f"rows{n}", _filter((n, 30), 2, 3)) for n in (1, 3, 4, 5, 8, 9, 17)],
    *[Case("arma_filter", f"order{n}", _filter((5, 40), n + 1, n + 1, radius=min(0.6, 2.4 / (n + 1)))) for n in (*range(10), 12)],
    Case("arma_filter", "one-row", _filter((300,), 5, 5, radius=0.4)),
    Case("arma_filter", "autoregression", _filter((6, 90), 1, 5, start=False)),
    Case("arma_filter", "moving-average", _filter((6, 300), 6, 1)),
    Case("arma_filter", "gain", _filter((2, 5), 1, 1, start=False)),
    Case("arma_filter", "longer-than-rows", _filter((3, 2), 6, 4)),
    Case("arma_filter", "each-row", _filter((2, 5, 33), 3, 4, rows="each")),
    *[Case("arma_filter", f"rows-of-{rows}", _filter((2, 3, 20), 3, 4, rows=rows)) for rows in "ba"],
    Case("arma_filter", "each-row-long", _filter((9, 300), 4, 2, rows="each", start=False)),
    Case("arma_filter", "state-asked-for", _filter((3, 20), 2, 4, start=False, return_state=True)),
    Case("arma_filter", "state-not-asked-for", _filter((3, 20), 2, 4, return_state=False)),
    Case("arma_filter", "no-rows", _filter((0, 7), 2, 3)),
    Case("arma_filter", "no-samples", _filter((2, 0), 2, 3)),
    Case("arma_filter", "no-samples-no-start", _filter((2, 0), 2, 3, start=False)),
]
NAN_STAYS = {"arma_filter": ("..1", "L", "long257 rows9 each-row-long")}
CUTS = {"arma_filter": ("L", "zi", "long257 long600 each-row", True)}
