"""``GPHM``'s projection: solutions against dense collocation, gradients against finite differences, and its errors."""

import numpy as np
import pytest

import quatrefoil as qf
from kron.gphm import dense
from kron.gphm.test_gphm import KINDS, SETUPS, Problem, solver, wave
from quatrefoil.kron.models.gphm.inverse import Spectrum
from quatrefoil.kron.models.gphm.projection import Projected


def rough(rng, equation, dims, kind, **options):
    """Narrow kernels: every eigenvalue of K exceeds the jitter by far, so the space contains all functions on the grid."""
    height = 0.3 if equation == "allencahn" else 1.0  # so that there is one solution
    p = Problem(rng, equation, dims, kind, jitter=1e-9, height=height, **options)
    for _ in range(30):  # until no eigenvalue of one axis nearly cancels one of the other
        for k in range(dims):
            p.params[f"log_scales_{k}"] = (1.5 if kind == "student_t" else 2.5) + 0.3 * rng.standard_normal(3)
            p.params[f"freqs_{k}"] = rng.uniform(0, 2, 3)
        if p.options.get("speed") == 0 or collocated(p)[2] < 100:
            return p
    raise AssertionError("no well-conditioned problem")


def collocated(p, params=None, **base):
    options = {name: value for name, value in p.options.items() if name != "weight"}
    return dense.collocated(params or p.params, p.axes, source=p.source, boundary=p.boundary, **options, **base)


def check_solution(p):
    """The tolerance is 1e-7, for condition numbers of 1e6 of the collocated equation and of K."""
    U = Projected(p.gp._state.components[0].loss, p.params).solution(np.zeros(p.source.shape))
    expected, *_ = collocated(p)
    np.testing.assert_allclose(U, expected, rtol=0, atol=1e-7 * np.abs(expected).max())


@pytest.mark.parametrize("uniform", [True, False])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("equation", "dims"), SETUPS)
def test_collocation(backend, rng, equation, dims, kind, uniform):
    p = rough(rng, equation, dims, kind, uniform=uniform)
    check_solution(p)
    loss = p.gp._state.components[0].loss
    projected = Projected(loss, p.params)
    assert [axis.inverse.vectors.shape[1] for axis in loss.axes] == [len(x) for x in p.axes]
    _, prior, _ = collocated(p)
    value, gradients, _ = projected.evaluate(projected.solution(np.zeros(p.source.shape)))
    assert value == pytest.approx(prior, rel=1e-7, abs=1e-6)
    for name, result in gradients.items():
        if name in ("U", "log_tau", "log_v"):
            assert not np.any(result)
            continue
        slope, direction = p.gradient_by_differences(name, lambda params: collocated(p, params)[1])
        assert abs(np.sum(result * direction) - slope) <= 1e-5 * (np.sum(np.abs(result * direction)) + 1e-3 * abs(value)), name


@pytest.mark.parametrize("speed", [3.0, -3.0, 0.0])
def test_characteristics_come_in_by_one_side(rng, speed):
    p = rough(rng, "advection", 2, "student_t", speed=speed)
    if speed:
        check_solution(p)
        return
    U = Projected(p.gp._state.components[0].loss, p.params).solution(np.zeros(p.source.shape))
    # every row has its own equation along t, which descends
    np.testing.assert_allclose(U[:, -1], [p.boundary[0, -1], *U[1:-1, -1], p.boundary[-1, -1]], atol=1e-9)


@pytest.mark.parametrize("dims", [1, 2])
def test_a_base_solution(rng, dims):
    p = rough(rng, "allencahn", dims, "student_t")
    params = p.params | {"U": 0.1 * p.params["U"]}
    p.gp.load_state_dict(p.gp.state_dict() | {f"0.{name}": value for name, value in params.items()})
    p.gp.add_smooth_component()
    loss = p.gp._state.components[1].loss
    base = loss.base.u, loss.base.terms
    np.testing.assert_array_equal(base[0], params["U"])
    own = {f"log_{name}_{k}": np.full(1, value) for k in range(dims) for name, value in (("weights", 0.1), ("scales", 2.0))}
    U = Projected(loss, own).solution(np.zeros(p.source.shape))
    expected, *_ = collocated(p, own | {f"freqs_{k}": np.zeros(1) for k in range(dims)}, base=base)
    np.testing.assert_allclose(U, expected, rtol=0, atol=1e-6 * np.abs(expected).max())


def test_a_spectrum(rng):
    """Eigenvalues have errors of 4 eps, as the largest is 4, and their inverses 4 eps / smallest^2. Allow 4 times that."""
    vectors = np.linalg.qr(rng.standard_normal((9, 9)))[0]
    values = np.array([-1e-17, 1e-14, 3e-6, 2e-5, 0.1, 0.2, 0.5, 1.0, 4.0])
    result = Spectrum((vectors * values) @ vectors.T, 1e-6, "axes[0]")
    np.testing.assert_allclose(result.values, values[3:], rtol=1e-9)
    every = np.maximum(values, 1e-6)
    assert result.logdet == pytest.approx(np.log(every).sum(), abs=1e-8)
    np.testing.assert_allclose(result.dense(), (vectors / every) @ vectors.T, rtol=0, atol=16 * np.finfo(float).eps / 1e-12)
    np.testing.assert_allclose(result.first_column(), result.dense()[0], rtol=0, atol=1e-7)
    rows = rng.standard_normal((3, 9))
    expected = rows @ (vectors[:, 3:] / values[3:]) @ vectors[:, 3:].T
    np.testing.assert_allclose(result.solve(rows), expected, rtol=1e-7, atol=16 * np.finfo(float).eps / 2e-5**2)
    smallest = Spectrum(np.diag([1e-20, 1e-20, 1e-20, 1.0]), 0.0, "axes[0]")
    assert smallest.floor == 4 * np.finfo(float).eps
    assert smallest.vectors.shape == (4, 3)
    with pytest.raises(FloatingPointError, match=r"covariance of axes\[0\] is not finite"):
        Spectrum(np.full((3, 3), np.nan), 0.0, "axes[0]")


@pytest.mark.parametrize("kind", KINDS)
def test_it_solves(best_backend, kind):
    """Measured errors are 1e-6 to 1e-7."""
    gp = solver(kind=kind).fit(60, truth=wave, check_every=20)
    t = np.linspace(0, 2 * np.pi, 300)
    error = np.linalg.norm(gp.predict([t]) - wave(t)) / np.linalg.norm(wave(t))
    assert error < 1e-4
    assert gp.report()["error"] == gp.history_["error"][-1] == pytest.approx(error, rel=1e-9)
    assert gp.report()["best_error"] == min(gp.history_["error"])
    assert gp.history_["error_step"] == [20, 40, 60]
    assert np.abs(gp.params["U"] - wave(gp.axes[0])).max() < 1e-3


def test_initial_frequencies_are_resolved_by_the_grid():
    x = np.linspace(0, 2 * np.pi, 100)
    pde, resolved = qf.kron.Poisson(source=0.0, boundary=0.0), 0.9 * 99 / (4 * np.pi)
    for freq_scale, optimizer, expected in [
        (20.0, "adam", 20.0), (20.0, "projection", resolved), (3.0, "projection", 3.0),
        (None, "adam", resolved), (None, "projection", resolved),
    ]:  # fmt: skip
        gp = qf.kron.GPHM(pde, [x], optimizer=optimizer, freq_scale=freq_scale)
        assert gp.params["freqs_0"][-1] == pytest.approx(expected)


@pytest.mark.parametrize("dims", [1, 2])
def test_newton_never_goes_uphill(rng, dims):
    """A source of -10^4, and starts far from the solution."""
    p = rough(rng, "allencahn", dims, "student_t")
    loss = p.gp._state.components[0].loss
    projected = Projected(loss, p.params)
    for size in (3.0, 30.0, 300.0):
        start = projected.solution(np.zeros(p.source.shape)) + projected.up(size * rng.standard_normal(projected.down(p.source).shape))
        loss.pde.source = p.source - 1e4

        def left(u):
            A = loss.solved(u)
            return np.linalg.norm(projected.down(loss.residual(u, A)[0]))

        result = projected.solution(start)
        assert left(result) <= 1.001 * left(start)
        loss.pde.source = p.source


@pytest.mark.parametrize("equation", ["poisson", "allencahn"])
@pytest.mark.parametrize("sizes", [(9, 3), (3, 9), (3, 3)])
def test_one_inner_point_of_an_axis(rng, equation, sizes):
    """With one inner point, Sylvester's equation has a 1 x 1 matrix on one side."""
    check_solution(rough(rng, equation, 2, "student_t", sizes=sizes))
