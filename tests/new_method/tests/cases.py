from case import Case


def _decay(*shape):
    return lambda rng: ([rng.standard_normal(shape), rng.uniform(0, 0.5, shape[-2])], {})


CASES = [
    Case("decay_apply", "small", _decay(2, 3, 7)),
    *[Case("decay_apply", f"long{n}", _decay(2, n)) for n in (1, 2, 15, 16, 17, 101)],
    Case("decay_apply", "batches", _decay(2, 3, 4, 33)),
    Case("decay_apply", "no-items", _decay(0, 3, 7)),
    Case("decay_apply", "no-channels", _decay(2, 0, 7)),
    Case("decay_apply", "no-samples", _decay(2, 3, 0)),
]
