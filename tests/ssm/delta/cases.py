import numpy as np

from case import Case


def inputs(rng, B, T, H, K, V, HV=None, gates="g beta", state=False, lengths=None, unit=True):
    """Queries of norm sqrt(K), keys of norm 1 (any norm for kernels that normalise), decays of up to 0.2 per token."""
    HV = H if HV is None else HV
    q, k = rng.standard_normal((2, B, T, H, K))
    if unit:
        k = k / np.maximum(np.linalg.norm(k, axis=-1, keepdims=True), 1e-3)
    drawn = {"g": -0.2 * rng.uniform(0, 1, (B, T, HV)), "beta": rng.uniform(0, 1, (B, T, HV))}
    arrays = [q, k, rng.standard_normal((B, T, HV, V)), *[drawn[name] if name in gates.split() else None for name in drawn]]
    more = {}
    if lengths is not None:
        more["cu_seqlens"] = np.cumsum([0, *lengths])
    if state:
        more["initial_state"] = rng.standard_normal((B if lengths is None else len(lengths), HV, K, V))
    return arrays, more


def delta(*shape, options=(), **drawn):
    def make(rng):
        arrays, more = inputs(rng, *shape, unit=not dict(options).get("use_qk_l2norm_in_kernel"), **drawn)
        return arrays, {**more, **dict(options)}

    return make


def gla(*shape, options=(), gates="g", **drawn):
    def make(rng):
        arrays, more = inputs(rng, *shape, gates=gates, **drawn)
        return arrays[:4], {**more, **dict(options)}

    return make


def channels(op):
    """Arguments of attentions with one decay per channel: one log-decay in 37 is -inf, and some decays are strong."""

    def case_of(*shape, options=(), **drawn):
        def make(rng):
            (q, k, v, *_), more = inputs(rng, *shape, unit=not dict(options).get("use_qk_l2norm_in_kernel"), gates="", **drawn)
            heads, K = v.shape[:3], q.shape[3]
            g = -rng.choice([0.0, 0.01, 0.3, 5.0, 40.0], (*heads, K), p=[0.3, 0.3, 0.3, 0.07, 0.03])
            g[rng.uniform(0, 1, g.shape) < 1 / 37] = -900.0
            a = rng.standard_normal((*heads, K)) / max(K, 1) ** 0.5
            if op == "chunk_dplr_delta_rule":
                a = a / np.maximum(np.linalg.norm(a, axis=-1, keepdims=True), 1)
                gates = [a, -rng.uniform(0, 1, a.shape) * a, g]
            elif op == "chunk_kda":
                gates = [g, rng.uniform(0, 1, heads)]
            else:
                gates = [g, rng.uniform(0, 1, a.shape), rng.uniform(0, 1, v.shape)]
            return [q, k, v, *gates], {**more, **dict(options)}

        return make

    return case_of


NORM = {"use_qk_l2norm_in_kernel": True}
ALL = {"output_final_state": True, **NORM}
LAST = {"output_final_state": True}
CASES = [
    Case("chunk_gated_delta_rule", "all", delta(2, 11, 2, 5, 7, HV=4, state=True, options=ALL)),
    *[Case("chunk_gated_delta_rule", f"T{n}", delta(2, n, 2, 8, 8, state=True, options=ALL)) for n in (1, 2, 7, 8, 9, 15, 16, 17)],
    *[Case("chunk_gated_delta_rule", f"T{n}", delta(1, n, 1, 4, 4, state=True, options=ALL)) for n in (31, 32, 33, 63, 64, 65, 129, 200)],
    *[Case("chunk_gated_delta_rule", f"K{n}", delta(1, 12, 1, n, 5, state=True, options=ALL)) for n in (1, 3, 16, 17, 33)],
    *[Case("chunk_gated_delta_rule", f"V{n}", delta(1, 12, 1, 5, n, state=True, options=ALL)) for n in (1, 3, 16, 17, 33, 50)],
    Case("chunk_gated_delta_rule", "large", delta(1, 70, 1, 64, 48, options=NORM)),
    Case("chunk_gated_delta_rule", "few-large", delta(1, 3, 2, 32, 70, state=True, options=ALL)),
    Case("chunk_gated_delta_rule", "unnormalised", delta(2, 20, 3, 6, 9, state=True, options=LAST), longest=17),
    Case("chunk_gated_delta_rule", "plain", delta(1, 30, 2, 8, 8), longest=17),
    Case("chunk_gated_delta_rule", "ungated", delta(2, 20, 2, 8, 8, gates="beta", state=True, options=ALL)),
    Case("chunk_gated_delta_rule", "no-beta", delta(2, 20, 2, 8, 8, gates="g", options=NORM)),
    Case("chunk_gated_delta_rule", "no-gates", delta(1, 20, 2, 8, 8, gates="", options=NORM)),
    Case("chunk_gated_delta_rule", "scale", delta(1, 12, 2, 4, 4, options={"scale": -0.7, **ALL})),
    Case("chunk_gated_delta_rule", "groups", delta(2, 19, 2, 8, 6, HV=6, state=True, options=ALL)),
    Case("chunk_gated_delta_rule", "packed", delta(1, 90, 2, 6, 5, HV=4, lengths=(3, 0, 70, 1, 16), state=True, options=ALL)),
    Case("chunk_gated_delta_rule", "packed-alone", delta(1, 20, 2, 6, 5, lengths=(9, 11), options=NORM)),
    Case("chunk_gated_delta_rule", "packed-tokens", delta(1, 5, 2, 6, 5, lengths=(1, 1, 1, 1, 1), state=True, options=ALL)),
    Case("chunk_gated_delta_rule", "no-sequences", delta(1, 0, 2, 6, 5, lengths=(), state=True, options=ALL)),
    Case("chunk_gated_delta_rule", "no-tokens", delta(2, 0, 2, 4, 3, state=True, options=ALL)),
    Case("chunk_gated_delta_rule", "no-batch", delta(0, 3, 2, 4, 3, state=True, options=ALL)),
    Case("chunk_gated_delta_rule", "no-heads", delta(1, 3, 0, 4, 3, options=ALL)),
    Case("chunk_gated_delta_rule", "no-value-heads", delta(1, 12, 2, 4, 3, HV=0, options=ALL)),
    Case("chunk_gated_delta_rule", "no-keys", delta(1, 12, 2, 0, 3, state=True, options=ALL)),
    Case("chunk_gated_delta_rule", "no-values", delta(1, 12, 2, 4, 0, state=True, options=ALL)),
    Case("chunk_simple_gla", "small", gla(2, 11, 2, 5, 7, HV=4, state=True, options=LAST)),
    *[Case("chunk_simple_gla", f"T{n}", gla(1, n, 2, 6, 5, state=True, options=LAST)) for n in (1, 8, 9, 64, 131)],
    Case("chunk_simple_gla", "large", gla(1, 70, 1, 33, 50)),
    Case("chunk_simple_gla", "ungated", gla(2, 20, 1, 8, 8, gates="")),
    Case("chunk_simple_gla", "packed", gla(1, 90, 2, 6, 5, HV=4, lengths=(3, 0, 70, 1, 16), state=True, options=LAST)),
    Case("chunk_simple_gla", "no-tokens", gla(2, 0, 2, 4, 3, state=True, options=LAST)),
    Case("chunk_simple_gla", "no-keys", gla(1, 12, 2, 0, 3, state=True, options=LAST)),
]
NAN_STAYS = {"chunk_gated_delta_rule": ("B H", "T", "T8 T17 T200 unnormalised"), "chunk_simple_gla": ("B H", "T", "T131")}
CUTS = {
    "chunk_gated_delta_rule": ("T", "initial_state", "T17 T200 groups", False),
    "chunk_simple_gla": ("T", "initial_state", "small T131", False),
}
for OP, FINAL in (("chunk_kda", ALL), ("chunk_gdn2", ALL), ("chunk_dplr_delta_rule", LAST)):
    MAKE = channels(OP)
    NAN_STAYS[OP], CUTS[OP] = ("B H", "T", "T8 T17 T65"), ("T", "initial_state", "T17 T200 groups", False)
    CASES += [
        Case(OP, "all", MAKE(2, 11, 2, 5, 7, HV=4, state=True, options=FINAL)),
        *[Case(OP, f"T{n}", MAKE(1, n, 2, 8, 5, state=True, options=FINAL)) for n in (1, 7, 8, 9, 16, 17, 32, 64, 65, 200)],
        *[Case(OP, f"K{n}", MAKE(1, 19, 1, n, 5, state=True, options=FINAL)) for n in (1, 17, 33, 64, 150)],
        *[Case(OP, f"V{n}", MAKE(1, 35, 1, 5, n, state=True, options=FINAL)) for n in (1, 16, 50)],
        Case(OP, "large", MAKE(1, 70, 1, 64, 48)),
        Case(OP, "few-large", MAKE(1, 3, 2, 32, 70, state=True, options=LAST)),
        Case(OP, "plain", MAKE(1, 30, 2, 8, 8), longest=17),
        Case(OP, "scale", MAKE(1, 12, 2, 4, 4, options={"scale": -0.7, **LAST})),
        Case(OP, "groups", MAKE(2, 19, 2, 8, 6, HV=8, state=True, options=FINAL)),
        Case(OP, "packed", MAKE(1, 90, 2, 6, 5, HV=4, lengths=(3, 0, 70, 1, 16), state=True, options=FINAL)),
        Case(OP, "packed-tokens", MAKE(1, 5, 2, 6, 5, lengths=(1, 1, 1, 1, 1), state=True, options=FINAL)),
        Case(OP, "no-sequences", MAKE(1, 0, 2, 6, 5, lengths=(), state=True, options=FINAL)),
        Case(OP, "no-tokens", MAKE(2, 0, 2, 4, 3, state=True, options=FINAL)),
        Case(OP, "no-batch", MAKE(0, 3, 2, 4, 3, state=True, options=FINAL)),
        Case(OP, "no-value-heads", MAKE(1, 12, 2, 4, 3, HV=0, options=FINAL)),
        Case(OP, "no-keys", MAKE(1, 12, 2, 0, 3, state=True, options=FINAL)),
        Case(OP, "no-values", MAKE(1, 12, 2, 4, 0, state=True, options=FINAL)),
    ]
