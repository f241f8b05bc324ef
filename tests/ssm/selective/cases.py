import functools

import numpy as np

from case import Case


def scan(shape, N, *, groups=None, B="varying", C="varying", complex=False, skip=True, gate=True, bias=True, initial=False, **options):
    items, D, L = shape

    def make(rng):
        def normal(size, complex=complex):
            return rng.standard_normal(size) + (1j * rng.standard_normal(size) if complex else 0)

        def mixing(kind):
            if kind == "constant":
                return normal((D, N))
            lead = (items, N) if groups is None else (items, groups, N)
            return normal((*lead, L)) if kind == "varying" else normal((*lead, 2 * L), False)

        A = -np.exp(0.5 * rng.standard_normal((D, N))) + (1j * 3 * rng.standard_normal((D, N)) if complex else 0)
        delta = 0.5 * rng.standard_normal(shape)
        delta = delta if options.get("delta_softplus") else abs(delta) + 0.05
        arrays = [rng.standard_normal(shape), delta, A, mixing(B), mixing(C)]
        arrays += [rng.standard_normal(D) if skip else None, rng.standard_normal(shape) if gate else None]
        arrays += [0.1 * abs(rng.standard_normal(D)) if bias else None]
        return arrays, {"initial_state": normal((items, D, N)), **options} if initial else options

    return make


def within(arguments):
    """Nondecreasing cu_seqlens within the existing samples."""
    x, ends = arguments
    return [x, np.maximum.accumulate(np.clip(ends, 0, len(x)))]


def varlen(lengths, channels, state_len, before=0, after=0):
    def make(rng):
        ends = np.cumsum([before, *lengths])
        return [rng.standard_normal((int(ends[-1]) + after, channels)), ends], {"state_len": state_len}

    return make


def existing(arguments):
    """Existing rows, each once, with the others replaced by padding."""
    *others, rows = arguments
    if rows is None:
        return arguments
    _, first = np.unique(rows, return_index=True)
    is_first = np.isin(np.arange(len(rows)), first)
    return [*others, np.where(is_first & (rows < len(others[0])), rows, -1)]


def step(items, P, N, *, heads=None, groups=None, rows=None, count=None, skip=True, gate=True, bias=True, **options):
    """Arguments of a step of the states ``rows`` out of ``count``.

    With a few dozen outputs, not all can be small by chance compared with the terms of their sums.
    """

    def make(rng):
        H = () if heads is None else (heads,)
        count_ = items if rows is None else count
        mixing = (items, N) if groups is None else (items, groups, N)
        shapes = [(count_, *H, P, N), (items, *H, P), (items, *H, P), (*H, P, N), mixing, mixing]
        arrays = [rng.standard_normal(s) for s in shapes]
        arrays[2] = 0.5 * arrays[2] if options.get("dt_softplus") else 0.5 * abs(arrays[2]) + 0.05
        arrays[3] = -np.exp(0.5 * arrays[3])
        arrays += [rng.standard_normal((*H, P)) if skip else None, rng.standard_normal((items, *H, P)) if gate else None]
        arrays += [0.1 * abs(rng.standard_normal((*H, P))) if bias else None, None if rows is None else np.array(rows, np.int64)]
        return arrays, options

    return make


def _conv(shape, taps, *, bias=True, packed=False, padded=0, initial=False, **options):
    items, D, L = shape

    def make(rng):
        arrays = [rng.standard_normal(shape), rng.standard_normal((D, taps)), rng.standard_normal(D) if bias else None]
        sequences = rng.integers(0, 2, (items, L)).cumsum(axis=1) // 3
        sequences[rng.uniform(size=(items, L)) < padded] = -1
        arrays += [sequences if packed else None]
        arrays += [rng.standard_normal((items, D, taps - 1)) if initial else None]
        return arrays, options

    return make


STEP = functools.partial(Case, "selective_state_step", fitted=existing)
ALL = {"delta_softplus": True, "return_last_state": True}
CASES = [
    Case("selective_scan_fn", "small", scan((2, 3, 5), 2, **ALL)),
    *[Case("selective_scan_fn", f"long{n}", scan((2, 5, n), 3, **ALL)) for n in (1, 2, 15, 31, 32, 33, 64, 65, 100, 257)],
    *[Case("selective_scan_fn", f"channels{n}", scan((1, n, 40), 4, **ALL)) for n in (1, 15, 16, 17, 40)],
    *[Case("selective_scan_fn", f"states{n}", scan((2, 4, 35), n, **ALL)) for n in (1, 16, 19)],
    Case("selective_scan_fn", "plain", scan((2, 7, 50), 3, skip=False, gate=False, bias=False)),
    Case("selective_scan_fn", "gated", scan((2, 7, 50), 3, skip=False, bias=False)),
    Case("selective_scan_fn", "many-channels", scan((3, 100, 70), 2, **ALL)),
    Case("selective_scan_fn", "groups", scan((2, 36, 40), 3, groups=2, **ALL)),
    Case("selective_scan_fn", "group-per-channel", scan((2, 5, 40), 3, groups=5, **ALL)),
    Case("selective_scan_fn", "constant-B", scan((2, 20, 70), 3, B="constant", **ALL)),
    Case("selective_scan_fn", "constant-C", scan((2, 20, 70), 3, C="constant", **ALL)),
    Case("selective_scan_fn", "constant-both", scan((2, 20, 70), 3, B="constant", C="constant")),
    Case("selective_scan_fn", "complex", scan((2, 3, 6), 2, complex=True, B="constant", C="constant", **ALL)),
    Case("selective_scan_fn", "complex-pairs", scan((2, 20, 70), 3, complex=True, B="pairs", C="pairs", **ALL)),
    Case("selective_scan_fn", "complex-varying", scan((2, 20, 70), 3, complex=True, **ALL)),
    Case("selective_scan_fn", "complex-groups", scan((2, 6, 40), 2, complex=True, groups=3, B="pairs", C="constant")),
    Case("selective_scan_fn", "initial", scan((2, 20, 70), 3, initial=True, **ALL)),
    Case("selective_scan_fn", "initial-short", scan((2, 5, 3), 19, initial=True, skip=False, gate=False, bias=False)),
    Case("selective_scan_fn", "initial-constant", scan((2, 9, 33), 3, B="constant", C="constant", initial=True, **ALL)),
    Case("selective_scan_fn", "initial-complex", scan((2, 6, 40), 2, complex=True, groups=3, B="pairs", initial=True, **ALL)),
    Case("selective_scan_fn", "initial-no-samples", scan((2, 3, 0), 2, initial=True, **ALL)),
    Case("selective_scan_fn", "no-items", scan((0, 3, 5), 2, **ALL)),
    Case("selective_scan_fn", "no-channels", scan((2, 0, 5), 2, **ALL)),
    Case("selective_scan_fn", "no-states", scan((2, 3, 5), 0, **ALL)),
    Case("selective_scan_fn", "no-samples", scan((2, 3, 0), 2, **ALL)),
    Case("causal_conv1d_fn", "small", _conv((2, 3, 6), 4, initial=True, activation="silu", return_final_states=True)),
    Case("causal_conv1d_fn", "batch", _conv((2, 3, 9), 3, packed=True, activation="swish")),
    *[
        Case("causal_conv1d_fn", f"taps{n}-long{m}", _conv((2, 5, m), n, initial=True, activation="silu", return_final_states=True))
        for n, m in ((1, 40), (2, 63), (3, 64), (4, 65), (4, 1), (4, 2), (4, 300), (4, 2100), (7, 128), (70, 10), (100, 257))
    ],
    Case("causal_conv1d_fn", "plain", _conv((2, 20, 100), 4, bias=False)),
    Case("causal_conv1d_fn", "final-of-zeros", _conv((2, 20, 2), 5, return_final_states=True)),
    Case("causal_conv1d_fn", "packed", _conv((2, 17, 150), 4, packed=True)),
    Case("causal_conv1d_fn", "packed-wide", _conv((2, 3, 70), 9, packed=True, activation="silu")),
    Case("causal_conv1d_fn", "padded", _conv((2, 17, 150), 4, packed=True, padded=0.3)),
    Case("causal_conv1d_fn", "padded-silu", _conv((3, 5, 70), 3, packed=True, padded=0.5, activation="silu")),
    Case("causal_conv1d_fn", "padded-wide", _conv((2, 3, 70), 9, bias=False, packed=True, padded=0.3, activation="silu")),
    Case("causal_conv1d_fn", "padding-alone", _conv((2, 3, 9), 4, packed=True, padded=1, activation="silu")),
    Case("causal_conv1d_fn", "many-channels", _conv((2, 100, 70), 4, activation="silu")),
    Case("causal_conv1d_fn", "no-items", _conv((0, 3, 5), 4, initial=True, activation="silu", return_final_states=True)),
    Case("causal_conv1d_fn", "no-channels", _conv((2, 0, 5), 4)),
    Case("causal_conv1d_fn", "no-samples", _conv((2, 3, 0), 4, initial=True, return_final_states=True)),
    Case("causal_conv1d_varlen_states", "usual", varlen([5, 1, 0, 3, 9], 7, 3), fitted=within),
    Case("causal_conv1d_varlen_states", "gaps", varlen([2, 70, 3], 20, 4, before=3, after=2), fitted=within),
    Case("causal_conv1d_varlen_states", "no-states", varlen([2, 3], 4, 0), fitted=within),
    Case("causal_conv1d_varlen_states", "no-sequences", varlen([], 4, 3, after=5), fitted=within),
    Case("causal_conv1d_varlen_states", "no-samples", varlen([0, 0], 4, 3), fitted=within),
    Case("causal_conv1d_varlen_states", "no-channels", varlen([2, 3], 0, 3), fitted=within),
    STEP("small", step(4, 9, 5, dt_softplus=True)),
    *[STEP(f"dims{n}", step(max(2, 24 // n), n, 4, dt_softplus=True)) for n in (1, 7, 8, 9, 16, 17, 64, 65, 130)],
    *[STEP(f"states{n}", step(6, 8, n, dt_softplus=True)) for n in (1, 7, 8, 9, 16, 19, 64)],
    STEP("plain", step(3, 20, 16, skip=False, gate=False, bias=False)),
    STEP("one-group", step(2, 20, 16, groups=1, gate=False)),
    STEP("heads", step(3, 5, 9, heads=4, dt_softplus=True)),
    STEP("groups", step(2, 17, 20, heads=6, groups=3, dt_softplus=True)),
    STEP("group-per-head", step(2, 3, 4, heads=5, groups=5, bias=False)),
    STEP("rows", step(3, 9, 5, rows=[4, 0, 2], count=6, dt_softplus=True)),
    STEP("rows-heads", step(3, 9, 5, heads=4, groups=2, rows=[1, 3, 0], count=4, dt_softplus=True)),
    STEP("padding", step(5, 9, 5, heads=2, rows=[4, -1, 2, -7, 0], count=5, dt_softplus=True)),
    STEP("padding-alone", step(2, 3, 4, rows=[-1, -1], count=3)),
    STEP("no-items", step(0, 3, 4)),
    STEP("no-items-of-rows", step(0, 3, 4, rows=[], count=2)),
    STEP("no-heads", step(2, 3, 4, heads=0)),
    STEP("no-dims", step(2, 0, 4, heads=2, rows=[1, 0], count=3)),
    STEP("no-states", step(2, 3, 0, heads=2, groups=2)),
]
NAN_STAYS = {
    "selective_scan_fn": ("B D", "L", "many-channels initial long100"),
    "causal_conv1d_fn": ("B D", "L", "small taps7-long128 many-channels"),
}
CUTS = {
    "selective_scan_fn": ("L", "initial_state", "initial initial-constant", False),
    "causal_conv1d_fn": ("L", "initial_states", "small taps7-long128 taps70-long10", False),
}
