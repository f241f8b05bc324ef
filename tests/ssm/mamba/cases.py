import numpy as np

from case import Case


def _scan(shape, N, *, groups=None, B="varying", C="varying", complex=False, skip=True, gate=True, bias=True, **options):
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


ALL = {"delta_softplus": True, "return_last_state": True}
CASES = [
    Case("selective_scan_fn", "small", _scan((2, 3, 5), 2, **ALL)),
    *[Case("selective_scan_fn", f"long{n}", _scan((2, 5, n), 3, **ALL)) for n in (1, 2, 15, 31, 32, 33, 64, 65, 100, 257)],
    *[Case("selective_scan_fn", f"channels{n}", _scan((1, n, 40), 4, **ALL)) for n in (1, 15, 16, 17, 40)],
    *[Case("selective_scan_fn", f"states{n}", _scan((2, 4, 35), n, **ALL)) for n in (1, 16, 19)],
    Case("selective_scan_fn", "plain", _scan((2, 7, 50), 3, skip=False, gate=False, bias=False)),
    Case("selective_scan_fn", "gated", _scan((2, 7, 50), 3, skip=False, bias=False)),
    Case("selective_scan_fn", "many-channels", _scan((3, 100, 70), 2, **ALL)),
    Case("selective_scan_fn", "groups", _scan((2, 36, 40), 3, groups=2, **ALL)),
    Case("selective_scan_fn", "group-per-channel", _scan((2, 5, 40), 3, groups=5, **ALL)),
    Case("selective_scan_fn", "constant-B", _scan((2, 20, 70), 3, B="constant", **ALL)),
    Case("selective_scan_fn", "constant-C", _scan((2, 20, 70), 3, C="constant", **ALL)),
    Case("selective_scan_fn", "constant-both", _scan((2, 20, 70), 3, B="constant", C="constant")),
    Case("selective_scan_fn", "complex", _scan((2, 3, 6), 2, complex=True, B="constant", C="constant", **ALL)),
    Case("selective_scan_fn", "complex-pairs", _scan((2, 20, 70), 3, complex=True, B="pairs", C="pairs", **ALL)),
    Case("selective_scan_fn", "complex-varying", _scan((2, 20, 70), 3, complex=True, **ALL)),
    Case("selective_scan_fn", "complex-groups", _scan((2, 6, 40), 2, complex=True, groups=3, B="pairs", C="constant")),
    Case("selective_scan_fn", "no-items", _scan((0, 3, 5), 2, **ALL)),
    Case("selective_scan_fn", "no-channels", _scan((2, 0, 5), 2, **ALL)),
    Case("selective_scan_fn", "no-states", _scan((2, 3, 5), 0, **ALL)),
    Case("selective_scan_fn", "no-samples", _scan((2, 3, 0), 2, **ALL)),
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
]
