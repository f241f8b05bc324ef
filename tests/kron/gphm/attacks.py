"""Random programs over ``GPHM``: units, refits, components, states, interrupts and changed arrays, compared with other units."""

import contextlib
import copy
import itertools
import pickle
from unittest import mock

import numpy as np

import quatrefoil as qf

EQUATIONS = {"poisson": qf.kron.Poisson, "allencahn": qf.kron.AllenCahn, "advection": qf.kron.Advection}
ENDS = (KeyboardInterrupt, np.linalg.LinAlgError, FloatingPointError, OSError)


class Problem:
    def __init__(self, rng, backend):
        self.equation = str(rng.choice(list(EQUATIONS)))
        dims = 2 if self.equation == "advection" else int(rng.integers(1, 3))
        self.axes = [axis(rng, int(rng.integers(3, 11))) for _ in range(dims)]
        shape, ends = tuple(map(len, self.axes)), [abs(float(x[-1]) - float(x[0])) for x in self.axes]
        size = 1.0 if self.equation == "allencahn" else 10 ** rng.uniform(-12, 12)
        self.speed = float(rng.standard_normal() * ends[0] / ends[-1] * (rng.random() < 0.9))
        rate = 1 / ends[1] if self.equation == "advection" else ends[0] ** -2.0
        self.source = size * rate * rng.standard_normal(shape) * (rng.random() < 0.8)
        self.boundary = size * rng.standard_normal(shape)
        self.options = {
            "kind": str(rng.choice(["student_t", "gaussian"])), "components": int(rng.integers(1, 5)), "jitter": 10 ** rng.uniform(-4, -1),
            "boundary_weight": rng.uniform(1, 300), "optimizer": str(rng.choice(["adam", "projection"])), "backend": backend,
        }  # fmt: skip
        if rng.random() < 0.5:
            self.options["freq_scale"] = rng.uniform(0.2, 0.9) * (shape[0] - 1) / (2 * ends[0])

    def solver(self, length=1.0, size=1.0, wrap=lambda field: field):
        """A solver in units smaller by ``length`` and ``size``. ``wrap`` may turn a field into a callable."""
        order = 1 if self.equation == "advection" else 2
        inputs = {"source": wrap(self.source * (size / length**order)), "boundary": wrap(self.boundary * size)}
        if self.equation == "advection":
            inputs["speed"] = self.speed
        options = self.options | {name: value / length for name, value in self.options.items() if name == "freq_scale"}
        return qf.kron.GPHM(EQUATIONS[self.equation](**inputs), [x if length == 1 else x * length for x in self.axes], **options)


def axis(rng, n):
    """A random axis: uniform or not, ascending or descending, with any offset and unit."""
    x = np.linspace(0, 1, n) if rng.random() < 0.6 else np.cumsum(rng.uniform(0.5, 1.5, n))
    x = x * 10 ** rng.uniform(-9, 9)
    x = x + rng.choice([0, 0, 3]) * (x[-1] - x[0])
    x = x[::-1].copy() if rng.random() < 0.3 else x
    return x.astype(np.float32) if rng.random() < 0.2 else x


def states(gp):
    return [np.asarray(a) for a in (*gp.state_dict().values(), *gp.params.values())]


def same(got, expected, what):
    assert len(got) == len(expected), what
    for a, b in zip(got, expected):
        assert np.array_equal(a, b, equal_nan=a.dtype.kind == "f"), (what, a, b)


def step(rng, gp, more):
    """One random user action, as a function of a solver. Only documented errors may occur."""
    kind = rng.integers(6)
    if kind == 0:
        return lambda gp: gp.set_params(optimizer=more["optimizer"])
    if kind == 1:
        return lambda gp: gp.set_params(learning_rate=more["rate"])
    if kind == 2 and gp.held_params is None:
        return lambda gp: gp.add_smooth_component()
    if kind == 3:
        return lambda gp: gp.load_state_dict(gp.state_dict())
    if kind == 4:
        return lambda gp: pickle.loads(pickle.dumps(gp)) if more["pickle"] else copy.deepcopy(gp)
    return lambda gp: gp.fit(more["steps"])


def interrupted(rng, gp):
    error, at, before = ENDS[rng.integers(len(ENDS))], int(rng.integers(4)), states(gp)
    loss, calls = gp._state.components[-1].loss, itertools.count(1)
    set_axes = loss.set_axes

    def counted(*inputs):
        if next(calls) == at:
            raise error
        return set_axes(*inputs)

    def stop(done, loss):
        raise error

    with mock.patch.object(loss, "set_axes", counted), contextlib.suppress(*ENDS):
        gp.fit(3, progress=None if at else stop)
        return  # it finished
    same(states(gp), before, f"interrupted by {error.__name__}")


def attack_programs(rng, backend):
    """Run a program in two units that differ by powers of two: the bits agree, despite interrupts and changed arrays."""
    p = Problem(rng, backend)
    length, size = (float(2.0**k) for k in rng.integers(-20, 20, 2))
    if p.equation == "allencahn":  # its reaction term depends on the units
        length = size = 1.0
    selected = []

    def wrap(field):
        selected.append(field)
        return field if len(selected) % 2 else lambda *x: field.copy()

    one, other, axes = p.solver(wrap=wrap), p.solver(length, size), [x.copy() for x in p.axes]
    for array in (*selected, *p.axes):
        array[...] = np.nan  # the solver has copies
    for _ in range(rng.integers(1, 6)):
        more = {"optimizer": str(rng.choice(["adam", "projection"])), "rate": 10 ** rng.uniform(-3, 0)}
        more |= {"steps": int(rng.integers(0, 4)), "pickle": rng.random() < 0.5}
        do, results = step(rng, one, more), []
        for gp in (one, other):
            before = states(gp)
            try:
                results.append((do(gp), ""))
            except ENDS as error:
                results.append((gp, type(error).__name__))
                same(states(gp), before, "an error")
        (one, error), (other, other_error) = results
        assert error == other_error
        if rng.random() < 0.3:
            interrupted(rng, one)
        a, b = one.params, other.params
        same([b["U"] / size], [a["U"]], "U in other units")
        same([b[n] * length for n in b if n[:5] == "freqs"], [a[n] for n in a if n[:5] == "freqs"], "frequencies in other units")
    if not one.report()["steps"]:
        return
    new = [np.sort(rng.uniform(min(x), max(x), 5)) for x in axes]
    predictions = [other.predict([x * length for x in new]) / size, one.predict(new)]
    # the rounding of terms below the least normal number depends on the units
    same(*([np.where(np.abs(p) < 1e-290, 0, p)] for p in predictions), "predictions in other units")


ATTACKS = [attack_programs]
