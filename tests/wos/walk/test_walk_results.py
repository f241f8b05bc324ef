"""Which results may be merged, and that later changes to inputs do not change a result."""

import functools
import pickle
import types

import numpy as np
import pytest

from quatrefoil import wos
from wos.domains import SQUARE, cfunc

X = np.array([[0.5, 0.5], [0.25, 0.75], [0.1, 0.9]])
SCALE = 2.0
here = types.ModuleType("here")
here.scale = 2.0


def solve(first=0, walks=8, *, points=X, boundary=None, dirichlet=1.0, **options):
    boundary = wos.Polygon(SQUARE) if boundary is None else boundary
    return wos.solve(boundary, points, dirichlet=dirichlet, walks=walks, walk_offset=first, rng=3, **options)


class Linear:
    factor = 1.0

    def __init__(self, scale):
        self.scale = scale

    def __call__(self, Y):
        return self.values(Y)

    def values(self, Y):
        return self.factor * self.scale * Y[:, 0]


class Slots:
    __slots__ = ("scale",)

    def __init__(self, scale):
        self.scale = scale

    def __call__(self, Y):
        return self.scale * Y[:, 0]


def attribute(scale):
    def f(Y):
        return f.scale * Y[:, 0]

    f.scale = scale
    return f


def by_constant(two, three):
    """A factory of functions whose code differs by a constant."""
    return lambda scale: {2: two, 3: three}[scale]


def with_globals(code):
    """A factory of functions with separate globals: a number, and a module that contains it."""

    def make(scale):
        module = types.ModuleType("made_here")
        module.scale = scale
        return types.FunctionType(code, {"SCALE": scale, "here": module})

    return make


def another_method(scale):
    values = by_constant(lambda self, Y: 2 * Y[:, 0], lambda self, Y: 3 * Y[:, 0])(scale)
    return type("Mine", (Linear,), {"values": values})(1.0)


def closure(scale):
    return lambda Y: scale * Y[:, 0]


def njit(f):
    return pytest.importorskip("numba").njit(f)


FUNCTIONS = {
    "constant": by_constant(lambda Y: 2 * Y[:, 0], lambda Y: 3 * Y[:, 0]),
    "constant of a function inside": by_constant(
        lambda Y: next(map(lambda y: 2 * y, [Y[:, 0]])), lambda Y: next(map(lambda y: 3 * y, [Y[:, 0]]))
    ),
    "closure": closure,
    "default": lambda scale: lambda Y, s=scale: s * Y[:, 0],
    "keyword default": lambda scale: lambda Y, *, s=scale: s * Y[:, 0],
    "attribute": attribute,
    "global": with_globals((lambda Y: SCALE * Y[:, 0]).__code__),
    "global of a module": with_globals((lambda Y: here.scale * Y[:, 0]).__code__),
    "callable": Linear,
    "slots": Slots,
    "bound method": lambda scale: Linear(scale).values,
    "attribute of a class": lambda scale: type("Mine", (Linear,), {"factor": scale})(1.0),
    "method of a class": another_method,
    "partial": lambda scale: functools.partial(lambda Y, s: s * Y[:, 0], s=scale),
    "partial of a lambda": lambda scale: functools.partial(lambda s, Y: s * Y[:, 0], scale),
    "closure of a function": lambda scale: (lambda g: lambda Y: g(Y) + 1)(closure(scale)),
    "array in a closure": lambda scale: (lambda table: lambda Y: table[1] * Y[:, 0])(np.array([1.0, scale])),
    "array of functions": lambda scale: (lambda fs: lambda Y: fs[0](Y))(np.array([closure(scale)], object)),
    "cached values": lambda scale: (lambda f: lambda Y: f(len(Y)) * Y[:, 0])(functools.lru_cache(lambda n: scale)),
    "list": lambda scale: [closure(1), closure(scale)],
    "list with numbers": lambda scale: [1.0, scale, closure(1)],
    "list with series": lambda scale: [wos.Fourier(np.array([1.0, scale, 0.0])), closure(1)],
    "njit": lambda scale: njit(closure(scale)),
    "njit of njit": lambda scale: njit((lambda inner: lambda Y: inner(Y))(njit(closure(scale)))),
    "cfunc": lambda scale: cfunc(closure(scale)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FUNCTIONS)
def test_walks_of_other_functions_are_not_merged(name):
    make = FUNCTIONS[name]
    for where in ("dirichlet",) if name == "njit of njit" else ("dirichlet", "source"):  # slow to compile
        two, again, three = (make(scale) for scale in (2, 2, 3))
        first, same, other = solve(**{where: two}), solve(8, **{where: again}), solve(8, **{where: three})
        np.testing.assert_array_equal(first.merge(same).value, solve(walks=16, **{where: two}).value)
        for a, b in ((first, other), (other, first)):
            with pytest.raises(ValueError, match=rf"merge: the two results belong to different problems, which differ in {where}$"):
                a.merge(b)


def test_changed_functions_are_different_data():
    g = Linear(2.0)
    first = solve(dirichlet=g)
    g.scale = 3.0
    other = solve(8, dirichlet=g)
    with pytest.raises(ValueError, match="differ in dirichlet"):
        first.merge(other)
    again = pickle.loads(pickle.dumps(first)), pickle.loads(pickle.dumps(other))
    with pytest.raises(ValueError, match="differ in dirichlet"):
        again[0].merge(again[1])


def test_what_cannot_be_compared_is_rejected():
    with open(__file__) as file:
        open_file = solve(8, dirichlet=(lambda f: lambda Y: 0 * Y[:, 0] + (f is None))(file))
    generator = solve(8, source=(lambda scales: lambda Y: next(scales) * Y[:, 0])(2.0 for _ in range(10**6)))
    first = solve(dirichlet=1.0)
    for other, name, what in ((open_file, "dirichlet", "TextIOWrapper"), (generator, "source", "generator")):
        with pytest.raises(ValueError, match=rf"merge: {name} depends on an object of class \S*{what}, which cannot be compared"):
            first.merge(other)
        assert np.isfinite(other.resume(4).value).all()


def test_other_problems_are_not_merged():
    """Data that differ by 1e-9 are treated as different. Pickled data are treated as the same."""
    c, box = np.array([[1.0, 1.0], [1.0, 1.0]]), ((0, 0), (1, 1))
    off, where = c + np.array([[0, 1e-9], [0, 0]]), np.arange(4) == 1
    robin = {"neumann": (np.arange(4) == 0, 1.0), "robin": (where, 2.0, 1.0)}
    for base, changes in (
        (
            {"source": 1.0},
            [
                ("boundary", wos.Polygon(SQUARE * 2)), ("boundary", wos.Ball([0.5, 0.5], 1.0)), ("boundary", wos.Box([0, 0], [1, 1])),
                ("points", X[::-1]), ("dirichlet", 2.0), ("source", 2.0), ("epsilon", 1e-2), ("relative", False), ("max_steps", 100),
                ("dirichlet", wos.Fourier(np.array([1.0, 2.0, 0.5]))), ("dirichlet", wos.Polynomial(c)),
                ("dirichlet", wos.GridField(c, box)), ("dirichlet", lambda Y: np.ones(len(Y))), ("neumann", (where, 1.0)),
                ("gradient", True), ("screening", 2.0),
            ],
        ),
        ({"dirichlet": wos.Polynomial(c)}, [("dirichlet", wos.Polynomial(off)), ("dirichlet", wos.Polynomial(np.ones((2, 3))))]),
        ({"source": wos.GridField(c, box)}, [("source", wos.GridField(off, box)), ("source", wos.GridField(c, ((0, 0), (1, 2))))]),
        (
            robin,
            [
                ("neumann and robin", {"robin": (where, 3.0, 1.0)}), ("robin", {"robin": (where, 2.0, 2.0)}),
                ("neumann", {"neumann": (np.arange(4) == 0, 2.0)}),
            ],
        ),
        ({"diffusion": wos.Polynomial(c)}, [("diffusion", wos.Polynomial(off)), ("screening", wos.Polynomial(c))]),
        ({"boundary": wos.Ball([5, 5, 5], 1.0), "points": np.zeros((1, 3)), "exterior": True}, [("boundary", wos.Ball([5, 5, 5], 2.0))]),
    ):  # fmt: skip
        first = solve(**base)
        again = pickle.loads(pickle.dumps({k: v for k, v in base.items() if k != "points"}))
        np.testing.assert_array_equal(first.merge(solve(8, **{**base, **again})).value, solve(walks=16, **base).value)
        for name, other in changes:
            options = {**base, **(other if isinstance(other, dict) else {name: other})}
            with pytest.raises(ValueError, match=name if name == "gradient" else rf"differ in {name}"):
                first.merge(solve(8, **options))
    first = solve()
    for other, text in ((solve(7), "share walks"), (wos.solve(wos.Polygon(SQUARE), X, dirichlet=1.0, walks=8, rng=4), "seeds differ")):
        with pytest.raises(ValueError, match=text):
            first.merge(other)
    with pytest.raises(TypeError):
        first.merge(1)


@pytest.mark.torch
def test_a_result_of_tensors_owns_them(backend):
    torch = pytest.importorskip("torch")
    c, points = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64, requires_grad=True), torch.tensor(X)

    def run(first=0, walks=8):
        return solve(first, walks, boundary=wos.Polygon(torch.tensor(SQUARE)), points=points, dirichlet=wos.Fourier(c))

    whole = run(walks=16)
    expected = torch.autograd.grad(whole.value.sum(), c)[0]
    r, other = run(), run(8)
    joined = r.merge(run(12, 4)).merge(run(8, 4))  # joins both ends before the middle
    torch.testing.assert_close(torch.autograd.grad(joined.value.sum(), c)[0], expected)
    with torch.no_grad():
        c.zero_()
        points.fill_(0.25)
    assert torch.equal(r.resume(8).value, whole.value)
    again = pickle.loads(pickle.dumps(r))
    assert torch.equal(again.resume(8).value, whole.value)
    assert torch.equal(again.merge(other).value, whole.value)
    r.value.detach().zero_()
    assert torch.equal(r.resume(8).value, whole.value)
    with pytest.raises(ValueError, match="differ in"):
        r.merge(solve(8, dirichlet=wos.Fourier(np.array([1.0, 2.0, 0.5]))))
