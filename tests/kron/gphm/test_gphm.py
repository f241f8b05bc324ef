"""``GPHM``: its loss against the definition, gradients against finite differences, training against plain Adam, and wrong arguments."""

import copy
import functools
import math
import pickle

import numpy as np
import pytest

import quatrefoil as qf
from checks import check_rejected
from kron.gp.oracle import inverse
from kron.gphm import dense
from kron.gphm.attacks import same
from quatrefoil.kron import pde

EQUATIONS = {
    "poisson": qf.kron.Poisson,
    "allencahn": qf.kron.AllenCahn,
    "advection": qf.kron.Advection,
    "helmholtz": functools.partial(pde.Helmholtz, 3.0),
    "heat": functools.partial(pde.Heat, 0.7),
    "convection": lambda source, boundary: pde.ConvectionDiffusion([2.0, -3.0][: source.ndim], 0.7, source=source, boundary=boundary),
}
SETUPS = [
    ("poisson", 1), ("allencahn", 1), ("poisson", 2), ("allencahn", 2), ("advection", 2), ("helmholtz", 1), ("helmholtz", 2),
    ("convection", 1), ("convection", 2), ("heat", 2),
]  # fmt: skip
KINDS = ("student_t", "gaussian")


def plain(gp):
    """A solver without internal units, for tests of its parts."""
    state, dims = gp.state_dict(), len(gp.axes)
    state |= {f"0.freqs_{k}": state[f"0.freqs_{k}"] / state["units.lengths"][k] for k in range(dims)}
    state |= {"units.origins": np.zeros(dims), "units.lengths": np.ones(dims), "units.size": 1.0, "units.rate": 1.0}
    return gp.load_state_dict(state)


class Problem:
    def __init__(self, rng, equation="poisson", dims=1, kind="student_t", jitter=0.05, sizes=(10, 7), Q=3, **options):
        self.axes = [np.linspace(-1, 1, sizes[0]), np.linspace(2, -0.5, sizes[1])][:dims]
        if not options.pop("uniform", True):
            self.axes = [x + 0.03 * rng.uniform(-1, 1, len(x)) for x in self.axes]
        shape = tuple(map(len, self.axes))
        self.source, self.boundary = rng.standard_normal(shape), options.pop("height", 1.0) * rng.standard_normal(shape)
        speed = {"speed": options.pop("speed", 3.0)} if equation == "advection" else {}
        self.pde = EQUATIONS[equation](source=self.source, boundary=self.boundary, **speed)
        self.gp = plain(qf.kron.GPHM(self.pde, self.axes, kind=kind, components=Q, jitter=jitter, boundary_weight=70.0, **options))
        self.params = {"U": rng.standard_normal(shape), "log_tau": np.array(0.3), "log_v": np.array(-0.4)}
        for k in range(dims):
            self.params[f"log_weights_{k}"] = rng.standard_normal(Q)
            self.params[f"log_scales_{k}"] = 0.3 * rng.standard_normal(Q)
            self.params[f"freqs_{k}"] = rng.uniform(0, 2, Q)
        self.options = {"equation": equation, "kind": kind, "weight": 70.0, "jitter": jitter, **speed}

    def dense_loss(self, params):
        return dense.loss(np, params, self.axes, source=self.source, boundary=self.boundary, **self.options)

    def gradient_by_differences(self, name, loss):
        """(directional derivative, direction) for a random direction."""
        direction = np.random.default_rng(0).standard_normal(np.shape(self.params[name]))
        h = 1e-4

        def at(t):
            return loss({**self.params, name: self.params[name] + t * h * direction})

        return (8 * (at(1) - at(-1)) - at(2) + at(-2)) / (12 * h), direction


@pytest.mark.parametrize("uniform", [True, False])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("equation", "dims"), SETUPS)
def test_loss_and_gradients(backend, rng, equation, dims, kind, uniform):
    """Fourth-order finite differences with h = 1e-4 have an error of about 1e-11 / h relative to the loss."""
    p = Problem(rng, equation, dims, kind, uniform=uniform)
    for gp in (p.gp, qf.kron.GPHM(p.pde, p.axes, kind=kind, components=3, jitter=0.05, boundary_weight=70.0)):
        p.options["jitter"] = 0.05 * gp._state.units.size ** (2 / dims)
        value, gradients = gp.value_and_grad(p.params)
        assert math.isclose(value, p.dense_loss(p.params), rel_tol=1e-10, abs_tol=1e-9)  # terms of hundreds may cancel
        assert gradients.keys() == p.params.keys()
        for name, result in gradients.items():
            expected, direction = p.gradient_by_differences(name, p.dense_loss)
            assert result.shape == np.shape(p.params[name])
            scale = np.sum(np.abs(result * direction)) + 1e-3 * abs(value)
            assert abs(np.sum(result * direction) - expected) <= 1e-6 * scale, name


def autograd(p, params=None, base=None):
    torch = pytest.importorskip("torch")
    tensors = {n: torch.tensor(v, dtype=torch.float64, requires_grad=True) for n, v in (params or p.params).items()}
    fields = {"source": torch.from_numpy(p.source), "boundary": torch.from_numpy(p.boundary)}
    value = dense.loss(torch, tensors, [torch.from_numpy(x) for x in p.axes], base=base, **fields, **p.options)
    value.backward()
    return value.item(), {n: t.grad.numpy() for n, t in tensors.items() if t.grad is not None}


def ill_conditioned(rng, dims, kind):
    """Ten smooth components and jitter 5e-8: condition number 1e8. U is smooth, as solutions are, so K resolves it."""
    p = Problem(rng, "poisson", dims, kind, jitter=5e-8, sizes=(24, 20), Q=10)
    p.params = p.gp.params | {"U": np.add.outer(*map(np.sin, p.axes)) if dims == 2 else np.sin(p.axes[0])}
    for k in range(dims):
        p.params |= {f"freqs_{k}": np.linspace(0, 2, 10), f"log_scales_{k}": np.full(10, -3.0)}
    assert 2e7 < np.linalg.cond(dense.pair(np, p.params, 0, p.axes[0], kind, [(2, 1.0)], 5e-8)[0]) < 5e8
    return p


@pytest.mark.torch
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dims", [1, 2])
def test_ill_conditioned(rng, dims, kind):
    """Allow 50 rounding errors times the condition number, for two solves and their adjoints. log det is of size 10 per point."""
    p = ill_conditioned(rng, dims, kind)
    value, gradients = p.gp.value_and_grad(p.params)
    expected, slopes = autograd(p)
    assert abs(value - expected) <= 1e-7 * (abs(expected) + 10 * p.source.size)
    for name, result in gradients.items():
        if name != "U" or dims == 1:  # in 2-D, autograd's own error grows with the square of the condition number
            np.testing.assert_allclose(result, slopes[name], rtol=0, atol=1e-6 * np.abs(slopes[name]).max(), err_msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_ill_conditioned_gradient_of_the_solution(rng, kind):
    p = ill_conditioned(rng, 2, kind)
    inverses, slopes = [], []
    for k, x in enumerate(p.axes):
        params = {name: value.astype(np.longdouble) for name, value in p.params.items()}
        K, D = dense.pair(np, params, k, x.astype(np.longdouble), kind, [(2, 1)], np.longdouble(5e-8))
        inverses.append(inverse(K)[0])
        slopes.append(D @ inverses[k])
    U = p.params["U"].astype(np.longdouble)
    e = slopes[0] @ U + U @ slopes[1].T - p.source
    expected = (inverses[0] @ U @ inverses[1] + slopes[0].T @ e + e @ slopes[1]).astype(float)
    off = 70 * (p.params["U"] - p.boundary)
    for side in np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1]:
        expected[side] += off[side]
    result = p.gp.value_and_grad(p.params)[1]["U"]
    np.testing.assert_allclose(result, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


@pytest.mark.torch
@pytest.mark.parametrize(("equation", "dims"), [("poisson", 1), ("allencahn", 2), ("advection", 2)])
def test_the_first_losses_are_those_of_plain_adam(rng, equation, dims):
    torch = pytest.importorskip("torch")
    p = Problem(rng, equation, dims, jitter=1e-4, freq_scale=2.0, optimizer="adam")
    tensors = {n: torch.tensor(v, requires_grad=True) for n, v in p.gp.params.items()}
    fields = {"source": torch.from_numpy(p.source), "boundary": torch.from_numpy(p.boundary)}
    adam, losses = torch.optim.Adam(tensors.values(), lr=0.01), []
    for _ in range(40):
        adam.zero_grad()
        loss = dense.loss(torch, tensors, [torch.from_numpy(x) for x in p.axes], **fields, **p.options)
        loss.backward()
        losses.append(loss.item())
        adam.step()
    np.testing.assert_allclose(p.gp.fit(40).history_["loss"], losses, rtol=1e-5, atol=1e-7 * losses[0])  # losses pass through 0


def wave(x):
    return np.sin(6 * x) * np.cos(20 * x)


def wave_source(x):
    return -436 * wave(x) - 240 * np.cos(6 * x) * np.sin(20 * x)


def solver(N=100, dims=1, **options):
    """The Nyquist frequency of 100 points on [0, 2 pi] is 7.9; the wave has 4.1."""
    x = np.linspace(0, 2 * np.pi, N)
    # an array, because for a function GPHM would warn that few points do not resolve it
    source = sum(map(wave_source, np.meshgrid(*[x] * dims, indexing="ij")))
    return qf.kron.GPHM(qf.kron.Poisson(source, lambda *x: sum(map(wave, x))), [x] * dims, freq_scale=7.0, **options)


def states(gp):
    return [*gp.state_dict().values(), *([gp.predict([np.linspace(0, 1, 4)] * len(gp.axes))] if gp.report()["steps"] else [])]


@pytest.mark.parametrize(("dims", "optimizer"), [(1, "adam"), (1, "projection"), (2, "adam"), (2, "projection")])
def test_stops_change_no_bit(backend, dims, optimizer, tmp_path):
    options = {"optimizer": optimizer, "components": 4, "dims": dims, "N": 20}
    whole = solver(**options).fit(9).add_smooth_component().fit(6)
    again = solver(**options).fit(4)
    np.savez(tmp_path / "state.npz", **again.state_dict())
    loaded = solver(**options).load_state_dict(np.load(tmp_path / "state.npz")).fit(5).add_smooth_component().fit(2)
    late = solver(**options).load_state_dict(loaded.state_dict()).fit(4)
    copied = pickle.loads(pickle.dumps(copy.deepcopy(loaded))).fit(4)
    for other in (late, copied, loaded.fit(4)):
        same(states(other), states(whole), "stops")


@pytest.mark.torch
@pytest.mark.parametrize(("equation", "dims"), [("poisson", 1), ("allencahn", 1), ("advection", 2)])
def test_smooth_component(rng, equation, dims):
    """The loss is (5) with the first solution fixed. The kernel is Matern-5/2, a mixture of one component at frequency 0."""
    p = Problem(rng, equation, dims)
    p.gp.fit(3)
    first = p.gp.params
    before = p.gp.predict(p.axes)
    p.gp.add_smooth_component()
    np.testing.assert_array_equal(p.gp.predict(p.axes), before)  # the new component starts at 0
    np.testing.assert_array_equal(p.gp.held_params["U"], first["U"])
    pairs = (dense.pair(np, first, k, x, "student_t", dense.terms_of(equation, k, 1.0), 0.05) for k, x in enumerate(p.axes))
    slopes = [D @ np.linalg.inv(K) for K, D in pairs]
    terms = slopes[0] @ first["U"] if dims == 1 else 3.0 * slopes[0] @ first["U"] + first["U"] @ slopes[1].T
    torch = pytest.importorskip("torch")
    params = {n: v + 0.1 * rng.standard_normal(v.shape) for n, v in p.gp.params.items()}
    assert not [n for n in params if n.startswith("freqs")]
    value, gradients = p.gp.value_and_grad(params)
    base = torch.from_numpy(first["U"]), torch.from_numpy(terms)
    expected, slopes = autograd(p, params | {f"freqs_{k}": np.zeros(1) for k in range(dims)}, base)
    assert math.isclose(value, expected, rel_tol=1e-9, abs_tol=1e-7)
    for name, result in gradients.items():
        np.testing.assert_allclose(result, slopes[name], rtol=0, atol=1e-7 * np.abs(slopes[name]).max(), err_msg=name)
    with pytest.raises(ValueError, match="already has a smooth component"):
        p.gp.add_smooth_component()


def test_settings_of_the_training():
    gp = solver(N=20, components=3, optimizer="adam").fit(5)
    gp.set_params(learning_rate=0.1).fit(1)
    before = gp.params
    gp.fit(1)
    assert np.abs(gp.params["U"] - before["U"]).max() > 0.02
    assert len(gp.history_["loss"]) == 7
    gp.set_params(optimizer="projection").fit(2)
    assert gp.report()["steps"] == 9
    assert "error" not in gp.report()
    assert gp.set_params(jitter=1e-4).report() == {"steps": 0, "loss": None}
    assert repr(gp).startswith("GPHM(Poisson(source=..., boundary=...), grid=(20,), components=3, freq_scale=7.0, jitter=0.0001")


def test_truth_changes_only_the_reported_error():
    plain, informed = solver(N=20, components=3).fit(7), solver(N=20, components=3)
    informed.fit(7, truth=wave(informed.axes[0]), check_every=3)
    np.testing.assert_array_equal(plain.params["U"], informed.params["U"])
    assert informed.history_["error_step"] == [3, 6, 7]
    truth = wave(informed.axes[0])
    assert informed.history_["error"][-1] == pytest.approx(np.linalg.norm(informed.params["U"] - truth) / np.linalg.norm(truth))


def test_fields_and_axes(rng):
    x = np.linspace(0, 1, 5)
    by_arrays = qf.kron.Poisson(source=np.ones((5, 4)), boundary=np.where(np.pad(np.ones((3, 2), bool), 1), np.nan, 2.0))
    by_functions = qf.kron.Poisson(source=1.0, boundary=lambda x, y: 2.0)
    y = np.linspace(1, 0, 4, dtype=np.float32)
    a, b = (qf.kron.GPHM(pde, [x, y], components=2).fit(3) for pde in (by_arrays, by_functions))
    np.testing.assert_array_equal(a.params["U"], b.params["U"])
    a.params["U"][:] = 7  # params contains copies
    np.testing.assert_array_equal(a.params["U"], b.params["U"])


LINE = np.linspace(0, 1, 6)
PDE = qf.kron.Poisson(source=0.0, boundary=0.0)


def line(**options):
    return functools.partial(qf.kron.GPHM, PDE, [LINE], **options)


def axes(*inputs):
    return functools.partial(qf.kron.GPHM, PDE, list(inputs))


def field(equation, **inputs):
    return lambda: qf.kron.GPHM(equation(**{"source": 0.0, "boundary": 0.0, **inputs}), [LINE])


def loss_at(pde=PDE, **parameters):
    return lambda: qf.kron.GPHM(pde, [LINE]).value_and_grad(parameters)


def test_array_likes():
    field = np.arange(6.0)
    expected = qf.kron.GPHM(qf.kron.Poisson(source=field, boundary=0.0), [np.arange(6.0)], components=3).fit(2)
    for like in (np.arange(6), list(range(6)), [np.arange(6)], [list(range(6))]):
        gp = qf.kron.GPHM(qf.kron.Poisson(source=list(field), boundary=lambda x: 0 * x.astype(int)), like, components=3).fit(2)
        np.testing.assert_array_equal(gp.predict([1, 2]), expected.predict([np.array([1.0, 2.0])]))
    assert qf.kron.pde.Poisson is qf.kron.Poisson
    assert "Poisson" not in dir(qf.kron)


def test_natural_calls():
    """Positional arguments, boundary values, and predictions without axes, at a number and at a 2-D point."""
    x, y = np.linspace(0, 1, 9), np.linspace(0, 1, 8)
    source = np.vectorize(lambda x: math.sin(3 * x))
    gp = qf.kron.GPHM(qf.kron.Poisson(source, [0.5, 2.0]), x, components=3).fit(2)
    edges = np.concatenate([[0.5], np.zeros(7), [2.0]])
    expected = qf.kron.GPHM(qf.kron.Poisson(source=source(x), boundary=edges), [x], components=3).fit(2).predict([x])
    np.testing.assert_array_equal(gp.predict(), expected)
    assert gp.predict(1.0) == gp.predict([1.0])[0] == pytest.approx(2.0, rel=1e-4)
    gp = qf.kron.GPHM(qf.kron.Advection(2.0, boundary=lambda x, t: x * t), [x, y], components=3).fit(2)
    grid = gp.predict()
    assert grid.shape == (9, 8)
    np.testing.assert_allclose(gp.predict([x, float(y[2])]), grid[:, 2], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(gp.predict([float(x[3]), float(y[2])]), grid[3, 2], rtol=1e-9, atol=1e-12)


def test_points_too_far_apart_for_the_source():
    def output(n, source=lambda *x: np.sin(40 * x[-1]), axes=lambda x: [x]):  # 6.4 cycles
        return qf.kron.GPHM(qf.kron.Poisson(source, 0.0), axes(np.linspace(0, 1, n)), components=3)

    text = r"axes\[{}\] has {} points, which do not resolve the source: \d+% of its energy has frequencies above {} cycles"
    for n, highest in ((10, 4.5), (12, 5.5)):
        with pytest.warns(RuntimeWarning, match=text.format(0, n, highest)) as warned:
            output(n)
        assert warned[0].filename == __file__
    with pytest.warns(RuntimeWarning, match=text.format(1, 10, 4.5)):
        output(10, axes=lambda x: [np.linspace(0, 1, 5), x])
    with pytest.warns(RuntimeWarning, match=text.format(0, 10, 4.5)):
        output(10, axes=lambda x: [x**1.3])
    values = np.linspace(0, 1, 10)
    for silent in (lambda x: 0 * x, lambda x: 3.0, np.exp, lambda x: 1.0 * (x > 0.5), values, lambda x: values):
        output(10, silent)
    output(15)
    output(15, axes=lambda x: [np.linspace(0, 1, 5), x])


def test_rejected():
    poisson, gp = qf.kron.Poisson, line()
    overflow, not_definite = (FloatingPointError, np.linalg.LinAlgError), np.linspace(0, 1e-6, 30)
    check_rejected([
        (lambda: qf.kron.GPHM("poisson", [LINE]), TypeError, "pde is 'poisson', expected Poisson"),
        (axes(LINE + 0j), TypeError, r"axes\[0\] has dtype complex128"),
        (lambda: qf.kron.GPHM(PDE, LINE, lr=0.1), TypeError, "GPHM has no argument 'lr'; use learning_rate"),
        (lambda: poisson(f=0.0, boundary=0.0), TypeError, "has no argument 'f'; use source"),
        (lambda: qf.kron.Advection(1.0, 0.0, 0.0), TypeError,
         "takes speed by position, got 3 arguments; pass source and boundary by keyword"),
        (field(poisson, source=lambda x: math.sin(x)), TypeError, r"source of Poisson failed on arrays: .* so pass np.vectorize\(f\)"),
        (lambda: gp().predict(LINE, return_std=True), TypeError, "no argument 'return_std'; the solver has no error bars"),
        (axes(LINE, LINE, LINE), ValueError, "3 axes, expected 1 or 2 for Poisson"),
        (lambda: qf.kron.GPHM(qf.kron.Advection(speed=1.0, boundary=0.0), [LINE]), ValueError, "1 axes, expected 2 for Advection"),
        (axes(LINE[:2]), ValueError, r"axes\[0\] has 2 points, expected at least 3"),
        (axes(np.array([0.0, 2.0, 1.0])), ValueError, r"axes\[0\] is neither increasing"),
        (axes(np.ones((3, 2))), ValueError, r"axes\[0\] has shape \(3, 2\), expected \(n,\)"),
        (axes(np.array([0.0, np.nan, 1.0])), ValueError, r"axes\[0\]\[1\] is nan"),
        (line(kind="cauchy"), ValueError, "kind is 'cauchy', expected one of 'student_t', 'gaussian'"),
        (line(components=0), ValueError, "components is 0, expected at least 1"),
        (line(freq_scale=-1.0), ValueError, "freq_scale is -1.0"),
        (line(boundary_weight=0.0), ValueError, "boundary_weight is 0.0"),
        (line(jitter=-1e-6), ValueError, "jitter is -1e-06"),
        (line(learning_rate=np.inf), ValueError, "learning_rate is inf"),
        (line(optimizer="sgd"), ValueError, "optimizer is 'sgd', expected one of 'adam'"),
        (field(poisson, source=np.ones(5)), ValueError, r"source of Poisson has shape \(5,\), expected \(6,\)"),
        (field(qf.kron.AllenCahn, source=lambda x: np.where(x > 0.5, np.nan, x)), ValueError, r"source of AllenCahn\[3\] is nan"),
        (field(poisson, boundary=lambda x: x[:2]), ValueError, r"boundary of Poisson has shape \(2,\), expected \(6,\)"),
        (field(poisson, boundary=np.inf), ValueError, r"boundary .* is inf"),
        (field(poisson, source=LINE + 0j), TypeError, "has dtype complex128"),
        (lambda: qf.kron.Advection(speed=np.nan, boundary=0.0), ValueError, "speed is nan"),
        (lambda: gp().set_params(steps=3), ValueError, "unknown parameter 'steps'"),
        (lambda: gp().fit(-1), ValueError, "steps is -1"),
        (lambda: gp().fit(epochs=1), TypeError, "GPHM.fit has no argument 'epochs'; use steps"),
        (lambda: gp().fit(1, truth=LINE[:2]), ValueError, r"truth has shape \(2,\), expected \(6,\)"),
        (lambda: gp().fit(1, truth=0 * LINE), ValueError, "truth is 0 everywhere"),
        (loss_at(V=LINE), ValueError, "unknown parameter 'V', expected U"),
        (loss_at(U=LINE[:3]), ValueError, r"U has shape \(3,\)"),
        (loss_at(U=LINE * np.nan), ValueError, r"U\[0\] is nan"),
        (loss_at(poisson(source=1.0, boundary=0.0), log_v=1e6), FloatingPointError, "the loss is inf"),
        (loss_at(log_weights_0=np.full(30, 1e4)), overflow, "GPHM: "),
        (lambda: qf.kron.GPHM(PDE, [not_definite], freq_scale=1.0, jitter=0.0, optimizer="adam").fit(1),
         np.linalg.LinAlgError, r"covariance of axes\[0\] with jitter 0 is not positive definite"),
        (lambda: qf.kron.GPHM(PDE, [LINE, not_definite], freq_scale=1.0, jitter=0.0, optimizer="adam").fit(1),
         np.linalg.LinAlgError, r"covariance of axes\[\d\] with jitter 0 is not positive definite"),
        (lambda: axes(LINE, LINE)().predict([LINE]), ValueError, "1 axes, expected 2"),
        (lambda: gp().predict([LINE * np.nan]), ValueError, r"axes\[0\]\[0\] is nan"),
        (lambda: gp().load_state_dict(gp(components=3).state_dict()), ValueError, r"log_weights_0 has shape \(3,\), expected \(30,\)"),
        (lambda: gp().load_state_dict(gp(kind="gaussian").state_dict()), ValueError, "the state has kind 'gaussian', expected 'student_t'"),
        (lambda: gp().load_state_dict({"kind": "student_t"}), ValueError, "the state has no 'units.origins'"),
    ])  # fmt: skip


@pytest.mark.slow
def test_steps_until_the_residual_settles():
    """Many periods need more than the minimum of 100 steps. Training stops when the residual has settled."""
    x = np.linspace(0, 2 * np.pi, 400)
    pde = qf.kron.pde.Poisson(source=lambda x: 120 * np.cos(60 * x) - 3600 * x * np.sin(60 * x), boundary=lambda x: x * np.sin(60 * x))
    gp = qf.kron.GPHM(pde, [x], freq_scale=20.0).fit()
    steps, residual = gp.report()["steps"], gp.report()["residual"]
    assert 100 <= steps < 2000
    assert gp.fit(50).report()["residual"] > 0.2 * residual  # initially it falls tenfold in 50 steps
    t = np.linspace(0, 2 * np.pi, 777)
    assert np.abs(gp.predict(t) - t * np.sin(60 * t)).max() < 1e-3
    assert len(qf.kron.GPHM(pde, [x], freq_scale=20.0).fit(3).history_["loss"]) == 3
