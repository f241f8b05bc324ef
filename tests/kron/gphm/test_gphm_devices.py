"""``GPHM`` of ``Poisson``, ``AllenCahn`` and ``Advection`` with axes on a device: results agree with the host's, and only the documented
values are read back."""

import copy
import pickle

import numpy as np
import pytest

import quatrefoil as qf
import stand_in
from checks import check_rejected
from devices import near
from kron.gphm.test_gphm import SETUPS, Problem, plain
from kron.gphm.test_projection import rough


def moved(p, cupy, **options):
    inputs = {n: v for n, v in p.gp.get_params().items() if n not in ("pde", "axes")}
    pde = copy.copy(p.gp.pde)
    pde.source, pde.boundary = cupy(p.source), cupy(p.boundary)
    return plain(qf.kron.GPHM(pde, [cupy(x) for x in p.axes], **inputs | options))


@pytest.mark.parametrize("uniform", [True, False])
@pytest.mark.parametrize(("equation", "dims"), SETUPS)
def test_loss_and_gradients(equation, dims, uniform, cupy, rng):
    """The tolerance is 1e-9 because the condition number is a few hundred and values of a few thousand may cancel."""
    p = Problem(rng, equation, dims, ["student_t", "gaussian"][dims - 1], uniform=uniform)
    gp = moved(p, cupy)
    cupy.reads.clear()
    value, gradients = gp.value_and_grad({name: cupy(v) if v.ndim else float(v) for name, v in p.params.items()})
    assert len(cupy.reads) == 1
    expected, slopes = p.gp.value_and_grad(p.params)
    assert isinstance(value, float)
    assert value == pytest.approx(expected, rel=1e-9, abs=1e-7)
    assert gradients.keys() == slopes.keys()
    for name, result in gradients.items():
        near(result, slopes[name])


@pytest.mark.parametrize(("optimizer", "equation", "dims"), [("adam", "poisson", 2), *(("projection", *setup) for setup in SETUPS)])
def test_training(optimizer, equation, dims, cupy, rng):
    """Adam's first step depends on the gradient's sign, on which host and device agree unless it is 0."""
    p = Problem(rng, equation, dims, "student_t") if optimizer == "adam" else rough(rng, equation, dims, "student_t")
    gp = moved(p, cupy, optimizer=optimizer)
    p.gp.set_params(optimizer=optimizer)
    state = p.gp.state_dict() | {f"0.{name}": v for name, v in p.params.items()}
    for solver in (p.gp, gp):
        solver.load_state_dict(state)
    truth = rng.standard_normal(p.source.shape)
    p.gp.fit(3, truth=truth, check_every=2)
    cupy.reads.clear()
    gp.fit(3, truth=cupy(truth), check_every=2)
    np.testing.assert_allclose(gp.history_["loss"], p.gp.history_["loss"], rtol=1e-6, atol=1e-6 * abs(p.gp.history_["loss"][0]))
    np.testing.assert_allclose(gp.history_["error"], p.gp.history_["error"], rtol=1e-6)
    for name, v in p.gp.params.items():
        near(gp.params[name], v, 1e-5)
    if optimizer == "adam":
        assert len(cupy.reads) == 3 + 3  # one per step, the size of the true solution, and two errors
        return
    assert gp.report()["residual"] == pytest.approx(p.gp.report()["residual"], rel=1e-5)
    new = [np.linspace(-0.5, 0.5, 4), np.linspace(0.2, 1, 5)][:dims]
    p.gp.load_state_dict(gp.state_dict())
    cupy.reads.clear()
    near(gp.predict([cupy(x) for x in new]), p.gp.predict(new), 1e-7)
    assert len(cupy.reads) == dims  # eigenvalues of every axis


def test_transfers_of_a_projection_step(cupy, rng):
    """Excludes Newton and GMRES: the eigenvalues of each axis and the loss; for two axes, two matrices and two right-hand sides as well."""
    for dims, expected in ((1, 2), (2, 7)):
        gp = moved(Problem(rng, "poisson", dims, sizes=(9, 7)), cupy).fit(1)
        cupy.reads.clear()
        gp.fit(1)
        assert len(cupy.reads) == expected, cupy.reads


def test_a_component_on_top(cupy, rng):
    p = rough(rng, "allencahn", 2, "student_t")
    gp = moved(p, cupy)
    params = p.params | {"U": 0.1 * p.params["U"]}
    state = p.gp.state_dict() | {"steps": 1} | {f"0.{name}": v for name, v in params.items()}
    for solver in (p.gp, gp):
        solver.load_state_dict(state)
        solver.add_smooth_component()
    near(gp.held_params["U"], params["U"])
    value, gradients = gp.value_and_grad({"U": cupy(0.1 * p.source)})
    expected, slopes = p.gp.value_and_grad({"U": 0.1 * p.source})
    assert value == pytest.approx(expected, rel=1e-6)
    for name, result in gradients.items():
        near(result, slopes[name], 1e-6)
    near(gp.predict([cupy(x) for x in p.axes]), p.gp.predict(p.axes), 1e-6)


def test_functions_numbers_and_states(cupy, rng):
    x, seen = [np.linspace(0, 1, 7), np.linspace(0, 2, 6)], []

    def source(a, b):
        seen.append((type(a), a.shape))
        return a * b

    def solver(axes):
        return qf.kron.GPHM(qf.kron.Poisson(source=source, boundary=0.5), axes, components=3, optimizer="adam", jitter=1e-2)

    gp, host = solver(cupy(x)).fit(2, truth=lambda a, b: a + b), solver(x)
    assert seen[0] == (stand_in.ndarray, (7, 6))
    assert seen[1] == (np.ndarray, (7, 6))
    state = gp.state_dict()
    assert all(isinstance(v, np.ndarray) for v in state.values())
    host.load_state_dict(state)
    np.testing.assert_array_equal(host.params["U"], gp.params["U"].get())
    np.testing.assert_allclose(host.fit(1).history_["loss"], gp.fit(1).history_["loss"], rtol=1e-8)
    again = pickle.loads(pickle.dumps(gp))
    np.testing.assert_array_equal(again.params["U"].get(), gp.params["U"].get())
    assert again.predict(cupy(x)).shape == (7, 6)


def test_errors(cupy):
    x, y = np.linspace(0, 1, 6), np.linspace(0, 2, 6)
    at, poisson, missing = cupy(x), qf.kron.Poisson, np.where(np.arange(6) == 2, np.nan, x)
    flat = poisson(source=0.0, boundary=0.0)

    def gp(axis=at, pde=flat, **options):
        return qf.kron.GPHM(pde, [axis], **options)

    heavy = gp(x).state_dict() | {"0.log_weights_0": np.full(30, 1e4)}
    bad = poisson(source=cupy(missing), boundary=0.0)
    singular = gp(cupy(np.linspace(0, 1e-6, 30)), freq_scale=1.0, jitter=0.0, optimizer="adam")
    check_rejected([
        (lambda: qf.kron.GPHM(flat, [at, y]), TypeError, r"GPHM: axes\[1\] is on cpu but axes\[0\] is on cuda:1"),
        (lambda: gp(pde=poisson(source=x, boundary=0.0)), TypeError, r"GPHM: source of Poisson is on cpu but axes\[0\] is on"),
        (lambda: gp(x, poisson(source=0.0, boundary=at)), TypeError, r"GPHM: boundary of Poisson is on cuda:1 but axes\[0\]"),
        (lambda: gp().predict([x]), TypeError, r"GPHM.predict: axes\[0\] is on cpu but the solver's axes\[0\] is on cuda:1"),
        (lambda: gp().value_and_grad({"U": x}), TypeError, r"GPHM.value_and_grad: U is on cpu but axes\[0\] is on cuda:1"),
        (lambda: gp().fit(1, truth=x), TypeError, r"GPHM.fit: truth is on cpu but axes\[0\] is on cuda:1"),
        (lambda: gp(backend="native").fit(1), TypeError, r"on cuda:1, but backend 'native' runs only on the host"),
        (lambda: gp(cupy(x[::-1] * [1, 1, 1, 1, -1, 1])), ValueError, r"GPHM: axes\[0\] is neither increasing nor decreasing"),
        (lambda: gp(cupy(missing)), ValueError, r"GPHM: axes\[0\]\[2\] is nan"),
        (lambda: gp(pde=bad, optimizer="adam").fit(1), FloatingPointError, "GPHM: the loss is"),
        (lambda: gp(pde=bad, optimizer="projection").fit(1), FloatingPointError, "GPHM: the loss is"),
        (lambda: gp().load_state_dict(heavy).fit(1), FloatingPointError, r"GPHM: the covariance of axes\[0\] is not finite"),
        (lambda: singular.fit(1), FloatingPointError, "GPHM: the loss is nan"),
    ])  # fmt: skip
