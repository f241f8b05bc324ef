from case import Case


def _case(op, name, shape, axes=None):
    def make(rng):
        return [rng.standard_normal(shape)], {} if axes is None else {"axes": axes}

    return Case(op, name, make)


CASES = [
    case
    for op in ("vals2coeffs", "coeffs2vals")
    for case in (
        *[_case(op, f"n{n}", (n, 3), 0) for n in (1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 31, 32, 33, 34, 65, 97, 98, 101, 129)],
        *[_case(op, f"last-n{n}", (5, n), -1) for n in (1, 2, 3, 8, 13, 33, 64)],
        _case(op, "small", (4, 3)),
        _case(op, "batch", (3, 5, 2), 1),
        _case(op, "d3", (5, 1, 6)),
        _case(op, "one-vector", (37,)),
        _case(op, "many-pencils", (3, 9, 50), 1),
        _case(op, "many-rows", (53, 12), 1),
        _case(op, "two-axes", (6, 5, 9), (2, 0)),
        _case(op, "from-behind", (6, 5, 9), [-1, -3]),
        _case(op, "no-axes", (4, 5), ()),
        _case(op, "no-pencils", (0, 7, 2), 1),
        _case(op, "prime", (2, 524), 1),
        _case(op, "long", (257, 2), 0),
        _case(op, "long-odd", (1100,), 0),
    )
]
