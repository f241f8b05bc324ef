import numpy as np

from case import Case


def points(rng, n, shape=(), near=None):
    """Points around 0. With ``near``, x[0] is close to near[0], so that one covariance is near its maximum: errors are relative to it."""
    x = rng.standard_normal((n, *shape))
    if near is not None and n and len(near):
        x[0] = near[0] + 0.01 * rng.standard_normal(shape)
    return x


def uniform(rng, n):
    """An ascending or descending axis, exact in float32 too."""
    return (rng.integers(-64, 64) + rng.choice([-3, -1, 1, 5]) * np.arange(n)) / 64


def same_step(rng, n, m):
    """Two axes with the same step, exact in float32 too. Their starts are close, and may differ by a fraction of the step."""
    h, start = rng.choice([-3, -1, 1, 5]), rng.integers(-64, 64)
    return [(start + rng.integers(-3, 4) + rng.choice([0, 0.25]) + h * np.arange(k)) / 64 for k in (n, m)]


def axes(rng, n, m, shape):
    if shape == "one-step":
        return same_step(rng, n, m)
    x = uniform(rng, n) if shape == "uniform" else points(rng, n, shape)
    return [x] if m is None else [x, points(rng, m, x.shape[1:], x)]


def mixture(rng, Q):
    """A mixture of low frequencies, because errors of phases are those of the points times 2π times the frequency."""
    return {"log_weights": 0.5 * rng.standard_normal(Q), "log_scales": 0.3 * rng.standard_normal(Q), "freqs": rng.uniform(0, 1, Q)}


def _radial(n, m, shape, scale, **more):
    """``more``: the shapes of other positive arguments."""

    def make(rng):
        return axes(rng, n, m, shape), {name: np.asarray(rng.uniform(0.5, 2, s)) for name, s in {"scale": scale, **more}.items()}

    return make


def _spectral(n, m, Q, shape=(), **options):
    def make(rng):
        return axes(rng, n, m, shape), mixture(rng, Q) | options

    return make


def _lags(n, Q, **options):
    def make(rng):
        d = rng.standard_normal(n)
        d[:1] = 0
        return [d, *mixture(rng, Q).values()], options

    return make


def _product(n, m, A, shape=(), means=None, std=()):
    """``means`` and ``std`` are shapes. The values of std are small, as in a grid of components."""

    def make(rng):
        at = (A, *shape) if means is None and not isinstance(shape, str) else (A,) if means is None else means
        numbers = {"weights": rng.uniform(0.1, 1, A), "means": rng.uniform(0, 0.5, at), "std": np.asarray(rng.uniform(0.05, 0.2, std))}
        return axes(rng, n, m, shape), numbers

    return make


RADIAL = [
    ("small", (5, None, (), ())),
    ("rectangular", (4, 3, (2,), (2,))),
    ("d3", (3, None, (3,), ())),
    ("one", (1, None, (), ())),
    ("one-row", (1, 37, (), ())),
    ("one-column", (37, 1, (2,), ())),
    ("many-columns", (7, 301, (5,), (5,))),
    ("prime", (67, 131, (), ())),
    ("uniform", (65, None, "uniform", ())),
    ("uniform-two", (2, None, "uniform", ())),
    ("uniform-long", (263, None, "uniform", ())),
    ("tiles", (139, None, (2,), ())),
    ("one-step", (61, 37, "one-step", ())),
    ("one-step-two", (2, 3, "one-step", ())),
    ("one-step-long", (5, 263, "one-step", ())),
    ("no-points", (0, None, (), ())),
    ("no-others", (5, 0, (2,), ())),
    ("no-coordinates", (4, 3, (0,), (0,))),
    ("no-coordinates-one-scale", (4, None, (0,), ())),
]
SPECTRAL = [
    ("one", (1, None, 3)),
    ("one-row", (1, 37, 4)),
    ("one-component", (17, 13, 1)),
    ("prime", (31, 67, 7)),
    ("uniform-two", (2, None, 5, "uniform")),
    ("uniform-long", (257, None, 11, "uniform")),
    ("one-step", (43, 61, 5, "one-step")),
    ("one-step-few", (129, 2, 3, "one-step")),
    ("no-points", (0, None, 3)),
    ("no-others", (5, 0, 3)),
    ("no-components", (4, 3, 0)),
    ("uniform-no-components", (4, None, 0, "uniform")),
]
PRODUCT = [
    ("small", (5, None, 3)),
    ("rectangular", (4, 3, 2, (2,))),
    ("d3", (3, None, 4, (3,), (4,), (4, 3))),
    ("one", (1, None, 1)),
    ("one-row", (1, 37, 2, (), None, (2,))),
    ("shared-means", (13, 17, 5, (4,), (5,), (5,))),
    ("every-std", (23, 9, 3, (2,), None, (3, 2))),
    ("many", (37, 41, 101)),
    ("uniform", (65, None, 7, "uniform")),
    ("uniform-every-std", (129, None, 5, "uniform", None, (5,))),
    ("tiles", (73, None, 4, (2,))),
    ("one-step", (33, 47, 5, "one-step")),
    ("no-points", (0, None, 3, (2,))),
    ("no-others", (5, 0, 3)),
    ("no-components", (4, 3, 0, (2,))),
    ("no-coordinates", (4, 3, 2, (0,))),
]
CASES = [
    *[Case(op, name, _radial(*sizes)) for op in ("rbf", "matern52") for name, sizes in RADIAL],
    *[Case(op, name, _radial(*sizes)) for op in ("matern12", "matern32") for name, sizes in RADIAL[1:2] + RADIAL[8:9] + RADIAL[11:13]],
    *[Case("rational_quadratic", name, _radial(*sizes, alpha=())) for name, sizes in RADIAL],
    *[Case("periodic", name, _radial(*sizes, period=sizes[-1])) for name, sizes in RADIAL],
    Case("periodic", "one-period", _radial(5, 3, (2,), (2,), period=())),
    Case("spectral_mixture", "small", _spectral(5, None, 3)),
    Case("spectral_mixture", "rectangular", _spectral(4, 3, 2, kind="gaussian", order=1)),
    *[Case("spectral_mixture", name, _spectral(*sizes)) for name, sizes in SPECTRAL],
    *[
        Case("spectral_mixture", f"{kind}-{order}{name}", _spectral(n, m, 5, shape, kind=kind, order=order))
        for kind in ("student_t", "gaussian")
        for order in (0, 1, 2)
        for name, n, m, shape in (
            ("", 19, None, ()),
            ("-tiles", 71, None, ()),
            ("-uniform", 43, None, "uniform"),
            ("-one-step", 9, 21, "one-step"),
        )
    ],
    Case("spectral_mixture_lags", "small", _lags(5, 2)),
    *[
        Case("spectral_mixture_lags", f"{kind}-{order}", _lags(301, 7, kind=kind, order=order))
        for kind in ("student_t", "gaussian")
        for order in (0, 1, 2)
    ],
    Case("spectral_mixture_lags", "one", _lags(1, 3)),
    Case("spectral_mixture_lags", "no-lags", _lags(0, 3)),
    Case("spectral_mixture_lags", "no-components", _lags(9, 0, order=2)),
    *[Case("gsmp_kernel", name, _product(*sizes)) for name, sizes in PRODUCT],
]
ROWS = {op: "M" for op in ("rbf", "matern52", "rational_quadratic", "gsmp_kernel")}
