from case import Case, complex_normal


def _cauchy(shape, L, *, poles=None, **keywords):
    """Points on the imaginary axis, with poles well separated to its left. ``poles``: their shape, if different from that of v."""

    def make(rng):
        of_w = shape if poles is None else poles
        w = -rng.uniform(0.5, 2, of_w) + 2j * rng.standard_normal(of_w)
        return [complex_normal(rng, shape), 3j * rng.standard_normal(L), w], keywords

    return make


def s4(H, N, L, Q=False, **keywords):
    def make(rng):
        shape = (H, N)
        Lambda = -rng.uniform(0.5, 1.5, shape) + 1j * rng.uniform(-4, 4, shape)
        P, B, C = (0.5 * complex_normal(rng, shape) for _ in range(3))
        other = {"Q": P + 0.1 * complex_normal(rng, shape)} if Q else {}
        return [rng.uniform(0.1, 0.4, H), Lambda, P, B, C], {"L": L, **keywords, **other}

    return make


CASES = [
    *[Case("cauchy_mult", f"L{L}-N{N}", _cauchy((2, N), L)) for L, N in ((1, 1), (7, 5), (8, 3), (33, 17), (700, 20))],
    Case("cauchy_mult", "small", _cauchy((2, 3), 5)),
    Case("cauchy_mult", "d3", _cauchy((2, 3), 5, symmetric=False)),
    Case("cauchy_mult", "plain", _cauchy((2, 3, 9), 101, symmetric=False)),
    Case("cauchy_mult", "shared-poles", _cauchy((3, 2, 4, 5), 33, poles=(4, 5))),
    Case("cauchy_mult", "shared-weights", _cauchy((3, 1, 5), 9, poles=(2, 1, 4, 5), symmetric=False)),
    Case("cauchy_mult", "one-row", _cauchy((6,), 65)),
    Case("cauchy_mult", "no-rows", _cauchy((0, 6), 5)),
    Case("cauchy_mult", "no-poles", _cauchy((2, 0), 5)),
    Case("cauchy_mult", "no-points", _cauchy((2, 3), 0)),
    *[Case("s4_kernel", f"L{L}-N{N}", s4(2, N, L)) for L, N in ((1, 1), (2, 3), (15, 8), (16, 9), (100, 4), (1001, 5))],
    *[Case("s4_kernel", f"truncated-L{L}-N{N}", s4(2, N, L, truncated=True), longest=300) for L, N in ((1, 1), (2, 3), (30, 4), (63, 9))],
    Case("s4_kernel", "small", s4(2, 3, 7)),
    Case("s4_kernel", "batch", s4(2, 3, 6, Q=True, truncated=True), longest=300),
    Case("s4_kernel", "two-factors", s4(3, 5, 50, Q=True)),
    Case("s4_kernel", "no-channels", s4(0, 3, 5)),
    Case("s4_kernel", "no-modes", s4(2, 0, 5)),
    Case("s4_kernel", "no-modes-truncated", s4(2, 0, 5, truncated=True)),
    Case("s4_kernel", "no-length", s4(2, 3, 0, truncated=True)),
]
NAN_STAYS = {"s4_kernel": ("H", "", "two-factors truncated-L30-N4")}
