import numpy as np

from case import Case


def scan(
    shape, P, N, *, groups=1, chunk=64, D="heads", gate=True, bias=True, start=False, packed=0, cuts=None, growing=False, rate=1.0,
    step=0.5, **options,
):  # fmt: skip
    """``shape``: items, length, heads. ``packed``: the mean length of a sequence."""

    def make(rng):
        items, L, H = shape
        dt = step * rng.standard_normal((items, L, H))
        dt = dt if options.get("dt_softplus") else abs(dt) + 0.05
        A = -rate * np.exp(0.5 * rng.standard_normal(H))
        arrays = [rng.standard_normal((items, L, H, P)), dt, -0.03 * A if growing else A]
        arrays += [rng.standard_normal((items, L, groups, N)) for _ in "BC"]
        keywords = {"chunk_size": chunk, **options}
        if D:
            keywords["D"] = rng.standard_normal((H, P) if D == "channels" else H)
        if gate:
            keywords["z"] = rng.standard_normal((items, L, H, P))
        if bias:
            keywords["dt_bias"] = 0.1 * rng.standard_normal(H)
        if start:
            keywords["initial_states"] = rng.standard_normal((items, H, P, N))
        if packed:
            keywords["seq_idx"] = (rng.uniform(size=(items, L)) < 1 / packed).cumsum(axis=1) * 7 % 5  # an index may recur
        if cuts is not None:
            keywords["cu_seqlens"] = np.array(cuts)
        return arrays, keywords

    return make


NAME = "mamba_chunk_scan_combined"
ALL = {"dt_softplus": True, "start": True, "return_final_states": True}
VARLEN = {"dt_softplus": True, "return_varlen_states": True}
CASES = [
    Case(NAME, "small", scan((2, 5, 2), 3, 2, chunk=4, **ALL)),
    *[Case(NAME, f"long{n}", scan((2, n, 3), 5, 4, **ALL)) for n in (1, 2, 7, 63, 64, 65, 131)],
    *[Case(NAME, f"chunk{n}", scan((1, 70, 2), 4, 3, chunk=n, **ALL)) for n in (1, 2, 5, 31, 1000)],
    *[Case(NAME, f"channels{n}", scan((1, 66, 2), n, 5, D="channels", **ALL)) for n in (1, 2, 17, 24, 37)],
    *[Case(NAME, f"states{n}", scan((1, 66, 2), 6, n, **ALL)) for n in (1, 3, 16, 41)],
    Case(NAME, "plain", scan((2, 50, 2), 7, 3, D=None, gate=False, bias=False)),
    Case(NAME, "no-gate", scan((2, 50, 2), 7, 3, gate=False, **ALL)),
    Case(NAME, "many-heads", scan((3, 70, 12), 16, 8, **ALL)),
    Case(NAME, "groups", scan((2, 70, 12), 24, 3, groups=3, **ALL)),
    Case(NAME, "group-per-head", scan((2, 70, 4), 3, 5, groups=4, gate=False, **ALL)),
    Case(NAME, "limits", scan((2, 70, 3), 4, 3, dt_limit=(0.3, 0.8), bias=False, **ALL)),
    Case(NAME, "negative-steps", scan((1, 40, 3), 4, 3, dt_limit=(-np.inf, np.inf), gate=False, rate=0.1)),
    Case(NAME, "growing", scan((1, 70, 2), 4, 3, growing=True, **ALL)),
    Case(NAME, "forgetful", scan((1, 70, 2), 4, 3, rate=200.0, step=3.0, **ALL)),
    Case(NAME, "lasting", scan((1, 200, 2), 4, 3, rate=1e-4, **ALL)),
    Case(NAME, "packed", scan((3, 150, 4), 8, 4, packed=20, **ALL)),
    Case(NAME, "packed-short", scan((2, 40, 3), 5, 4, packed=1.5, D="channels", **ALL)),
    Case(NAME, "cuts", scan((1, 150, 3), 8, 5, cuts=[0, 40, 40, 41, 150], **VARLEN, return_final_states=True)),
    Case(NAME, "cuts-alone", scan((1, 90, 2), 3, 5, chunk=16, cuts=[0, 0, 32, 90, 90], start=True, **VARLEN)),
    Case(NAME, "cuts-and-packed", scan((1, 90, 2), 3, 5, packed=30, cuts=[0, 32, 64, 90], start=True, **VARLEN)),
    Case(NAME, "cuts-unasked", scan((1, 70, 4), 3, 5, groups=2, cuts=[0, 32, 70])),
    Case(NAME, "no-items", scan((0, 5, 2), 3, 2, **ALL)),
    Case(NAME, "no-heads", scan((2, 5, 0), 3, 2, **ALL)),
    Case(NAME, "no-channels", scan((2, 5, 2), 0, 2, D="channels", **ALL)),
    Case(NAME, "no-states", scan((2, 5, 2), 3, 0, **ALL)),
    Case(NAME, "no-samples", scan((2, 0, 2), 3, 2, **ALL)),
    Case(NAME, "no-sequences", scan((1, 0, 2), 3, 2, cuts=[0], **VARLEN)),
]
NAN_STAYS = {NAME: ("B H", "L", "group-per-head", "initial_states")}
CUTS = {NAME: ("L", "initial_states", "small long131 groups", False)}
RESULT = 8000 * 24 * 64 * 4
MEMORY = {  # forward: result, products of B and C, a state per thread, but none per chunk; gradient: states per chunk, but not per step
    NAME: (
        "f = lambda L: (np.ones((1, L, 24, 64), 'f'), np.ones((1, L, 24), 'f'), -np.ones(24, 'f'), *np.ones((2, 1, L, 1, 128), 'f'))\n"
        f"qf.ssm.{NAME}(*f(100), 64, num_threads=2)\ninputs = f(8000)",
        [
            (f"y = qf.ssm.{NAME}(*inputs, 64, num_threads=2)", 1.5 * RESULT + (8 << 20)),
            (f"y = qf.ssm.{NAME}_vjp(*inputs, inputs[0], chunk_size=64, num_threads=2)", 5 * RESULT),
        ],
    )
}
