import numpy as np

from case import Case


def gka(B, T, heads, D, gates="", **options):
    """Keys of norm up to 1, queries of norm 1 that resemble their token's key, decays of up to 0.1 per token; `gates`: the gates present.

    A query that is nearly orthogonal to all keys has a result near 0, for which every solver loses a factor of the condition number.
    """

    def make(rng):
        def unit(x):
            return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-3)

        shape = (B, T, heads, D)
        keys = unit(rng.standard_normal(shape))
        queries = unit(keys + 0.5 * unit(rng.standard_normal(shape)))
        drawn = {"alpha": rng.uniform(0, 1, shape[:3]), "g": -0.1 * rng.uniform(0, 1, shape[:3]), "gk": -0.1 * rng.uniform(0, 1, shape[:3])}
        arrays = [queries, keys * rng.uniform(0.2, 1, (*shape[:3], 1)), rng.standard_normal(shape)]
        return arrays + [drawn[name] if name in gates.split() else None for name in drawn], options

    return make


# The gradient is computed for the linear system, so the iteration must have converged where it is compared with finite differences of the
# oracle. At a ridge of 0.1 its error decreases by 0.537 per step and is below 1e-16 after 64 steps.
CONVERGED = {"ridge_strength": 0.1, "num_iter": 64}

CASES = [  # the first three need several warps on a GPU, so missing barriers are detected early
    Case("gka", "D15", gka(1, 9, 2, 15, "alpha g gk", **CONVERGED)),
    Case("gka", "exact", gka(2, 23, 2, 13, "alpha g gk", solver="exact", ridge_strength=0.1), longest=300),
    Case("gka", "final-states-alone", gka(2, 6, 1, 18, "g gk", output_final_state=True, num_iter=0)),
    *[Case("gka", f"D{d}", gka(1, 9, 2, d, "alpha g gk", **CONVERGED)) for d in (1, 2, 7, 8, 16, 17, 33, 64, 65, 100)],
    Case("gka", "large", gka(1, 5, 1, 128, "alpha g", **CONVERGED)),
    Case("gka", "larger", gka(1, 3, 1, 200, "gk", **CONVERGED)),
    Case("gka", "small", gka(2, 4, 2, 3, "alpha g gk", **CONVERGED)),
    Case("gka", "odd-steps", gka(2, 20, 3, 5, "alpha gk", ridge_strength=0.1, num_iter=63)),
    Case("gka", "no-gates", gka(1, 30, 2, 6, **CONVERGED)),
    Case("gka", "only-alpha", gka(2, 17, 1, 11, "alpha", **CONVERGED)),
    Case("gka", "only-g", gka(1, 17, 3, 9, "g", **CONVERGED)),
    Case("gka", "long", gka(1, 131, 1, 4, "alpha g gk", **CONVERGED)),
    Case("gka", "exact-large", gka(1, 6, 1, 67, "g gk", solver="exact", ridge_strength=0.3), longest=300),
    Case("gka", "exact-one", gka(1, 5, 2, 1, "alpha", solver="exact", ridge_strength=0.1), longest=300),
    Case("gka", "linear-attention", gka(2, 12, 2, 10, "alpha g gk", num_iter=0)),
    Case("gka", "final-states", gka(1, 10, 2, 5, "alpha g gk", output_final_state=True, **CONVERGED)),
    Case("gka", "no-tokens", gka(2, 0, 2, 4, "alpha g gk", **CONVERGED)),
    Case("gka", "no-tokens-states", gka(2, 0, 2, 4, "gk", output_final_state=True, **CONVERGED)),
    Case("gka", "no-heads", gka(1, 3, 0, 4, "alpha")),
    Case("gka", "no-batch", gka(0, 3, 2, 4, "alpha g")),
    Case("gka", "no-dimension", gka(1, 3, 2, 0, "alpha")),
    Case("gka", "one-token", gka(3, 1, 2, 6, "alpha g gk", **CONVERGED)),
]
NAN_STAYS = {"gka": ("B H", "T", "odd-steps exact linear-attention", "alpha gk")}
CUTS = {"gka": ("T", "initial_state", "final-states final-states-alone", False)}
