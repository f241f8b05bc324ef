import numpy as np

from case import Case


def s5(shape, P, D=True, state=False, decay=(0.01, 1), **options):
    def make(rng):
        def normal(*size):
            return rng.standard_normal(size) + 1j * rng.standard_normal(size)

        H = shape[-1]
        poles = np.exp(-rng.uniform(*decay, P) + 1j * rng.uniform(-3, 3, P))
        columns = 2 * P if options.get("bidirectional") else P
        keywords = {**options, **({"initial_state": normal(*shape[:-2], P)} if state else {})}
        return [rng.standard_normal(shape), poles, normal(P, H), normal(H, columns), rng.standard_normal(H) if D else None], keywords

    return make


CASES = [
    Case("s5_apply", "small", s5((2, 7, 3), 4, state=True, return_state=True)),
    Case("s5_apply", "both-directions-short", s5((2, 6, 3), 2, bidirectional=True)),
    *[Case("s5_apply", f"L{n}", s5((2, n, 5), 3, state=True, return_state=True)) for n in (1, 2, 95, 96, 97, 1000)],
    *[Case("s5_apply", f"P{n}", s5((3, 50, 4), n, return_state=True)) for n in (1, 7, 16, 31, 33, 64, 101)],
    *[Case("s5_apply", f"H{n}", s5((130, n), 5, state=True)) for n in (1, 2, 17, 48, 49, 64, 113)],
    Case("s5_apply", "deep", s5((40, 700), 3)),
    Case("s5_apply", "no-batch", s5((33, 4), 6, D=False)),
    Case("s5_apply", "three-batch-axes", s5((2, 1, 3, 30, 4), 6, state=True, return_state=True)),
    Case("s5_apply", "many-sequences", s5((40, 29, 3), 5, state=True, return_state=True)),
    Case("s5_apply", "plain-real-part", s5((9, 40, 4), 6, conj_sym=False, return_state=True)),
    Case("s5_apply", "both-directions", s5((3, 250, 20), 18, bidirectional=True)),
    Case("s5_apply", "both-directions-plain", s5((300, 3), 5, D=False, bidirectional=True, conj_sym=False)),
    Case("s5_apply", "slow", s5((4, 1000, 2), 24, D=False, decay=(5e-4, 5e-3))),
    Case("s5_apply", "long", s5((2, 17000, 2), 3, state=True, return_state=True)),
    Case("s5_apply", "both-directions-no-batch", s5((9, 2), 3, bidirectional=True)),
    Case("s5_apply", "both-directions-long", s5((17000, 2), 4, bidirectional=True)),
    Case("s5_apply", "empty-batch", s5((0, 20, 4), 3, state=True, return_state=True)),
    Case("s5_apply", "no-samples", s5((2, 0, 4), 3, state=True, return_state=True)),
    Case("s5_apply", "no-samples-no-state", s5((2, 0, 4), 3, return_state=True)),
    Case("s5_apply", "no-channels", s5((2, 20, 0), 3, state=True, return_state=True)),
    Case("s5_apply", "no-states", s5((2, 20, 4), 0, return_state=True)),
]
NAN_STAYS = {"s5_apply": ("..1", "L", "small L96")}
CUTS = {"s5_apply": ("L", "initial_state", "small L97 L1000", True)}
MEMORY = {  # L P complex states of this call are 1 GiB
    "s5_apply": (
        "u = np.ones((1 << 19, 1), 'f')\n"
        "z, b, c = np.full(256, 0.5j, np.complex64), np.ones((256, 1), np.complex64), np.ones((1, 256), np.complex64)\n"
        "qf.ssm.s5_apply_vjp(u[:200], z, b, c, u[:200])",
        [("qf.ssm.s5_apply(u, z, b, c)\nqf.ssm.s5_apply_vjp(u, z, b, c, u)", 64 << 20)],
    )
}
