import math

from case import Case


def _product(shapes, batch=(), transpose=False):
    def make(rng):
        size = math.prod(s[0 if transpose else 1] for s in shapes)
        keywords = {"transpose": True} if transpose else {}
        return [[rng.standard_normal(s) for s in shapes], rng.standard_normal((*batch, size))], keywords

    return make


def _case(name, shapes, batch=(), **options):
    shapes = [(s, s) if isinstance(s, int) else s for s in shapes]
    return Case("matvec", name, _product(shapes, batch, **options))


# If one sum determines many entries of the result, the batch is long, so that the largest of 40 sums does not come from cancellation.
CASES = [
    *[_case(f"one-{n}", [n], (3,)) for n in (1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 33, 64, 67)],
    *[
        _case(f"two-{m}x{n}", [m, n], (2,))
        for m, n in ((1, 5), (5, 1), (2, 3), (4, 4), (3, 29), (29, 3), (8, 8), (16, 16), (23, 37), (64, 32))
    ],
    _case("three", [5, 7, 16]),
    _case("three-odd", [13, 11, 9], (3,)),
    _case("four", [8, 8, 8, 8]),
    _case("four-tiny", [4, 2, 4, 3], (2, 2)),
    _case("five-tiny", [2, 3, 2, 5, 2], (3,)),
    _case("five-ones", [1, 1, 6, 1, 1], (2,)),
    _case("rows-and-columns", [(9, 1), (1, 9)], (40,)),
    _case("columns-and-rows", [(1, 12), (12, 1)], (40,)),
    _case("shrinks", [(2, 9), (3, 11)], (4,)),
    _case("grows", [(17, 3), (9, 2)], (4,)),
    _case("shrinks-and-grows", [(3, 8), (6, 6), (11, 2)], (2,)),
    _case("grows-and-shrinks", [(20, 3), (4, 4), (2, 19)], (2,)),
    _case("to-a-number", [(1, 6), (1, 7)], (40,)),
    _case("transposed", [(3, 8), (6, 6), (11, 2)], (2,), transpose=True),
    _case("transposed-square", [8, 12, 5], transpose=True),
    _case("long-sum", [(5, 300), (2, 3)]),
    _case("long-last-sum", [(2, 3), (5, 300)], (2,)),
    _case("empty-batch", [4, 5], (0,)),
    _case("empty-inner-batch", [4, 5], (2, 0, 3)),
    _case("no-columns", [(3, 0), (2, 4)], (2,)),
    _case("no-rows", [(0, 3), (2, 4)], (2,)),
    _case("no-rows-transposed", [(0, 3), (2, 4)], (2,), transpose=True),
    _case("one-vector", [6, 5, 4]),
]
ROWS = {"matvec": "..1"}
