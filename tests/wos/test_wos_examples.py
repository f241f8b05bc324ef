"""The examples of walks run, and their numbers are right."""

import re

import numpy as np
import pytest

from quatrefoil import wos
from quatrefoil._backends import native
from wos.labels import oracle
from wos.query.oracle import icosphere


def test_the_mountain(tmp_path, capsys, example):
    pytest.importorskip("matplotlib")
    module = example("under_mountains")
    module.main(1024, str(tmp_path / "mountain.png"))
    text = capsys.readouterr().out
    rms, largest = map(float, re.search(r"errors of ([\d.]+) standard errors, the largest ([\d.]+)", text).groups())
    assert 0.2 < rms < 2
    assert largest < 6
    ridge, valley = (float(x) for x in re.findall(r"0\.3 km: .* gradient ([\d.]+) ", text))
    assert ridge < module.FLOW - 2
    assert valley > module.FLOW + 1
    assert (tmp_path / "mountain.png").stat().st_size > 10_000


def test_the_known_temperature_has_no_flow_through_the_walls(rng, example):
    """It is harmonic, by differences; below a plain T is linear."""
    module = example("under_mountains")
    top = np.stack([np.linspace(0, 6, 30), np.full(30, 0.4)], axis=1)
    v = module.known(top)
    X, h = rng.uniform([1, -3], [5, 0], (20, 2)), 1e-3
    ex, ey = np.array([h, 0]), np.array([0, h])
    laplacian = (v(X + ex) + v(X - ex) + v(X + ey) + v(X - ey) - 4 * v(X)) / h**2
    np.testing.assert_allclose(laplacian, 0, atol=1e-4 * np.abs(v(X)).max())
    for wall, normal in (((0.0, -1.0), ex), ((6.0, -1.0), ex), ((2.0, module.BOTTOM), ey)):
        at = np.array([wall])
        assert abs(v(at + normal) - v(at - normal))[0] < 1e-9
    hole = module.boreholes(top)["ridge"]
    T, gradient, _ = module.temperatures(top, hole, 64)
    depth = 0.4 - hole[:, 1]
    np.testing.assert_allclose(T, module.SEA_LEVEL - module.LAPSE * 0.4 + module.FLOW * depth, atol=1e-3)
    np.testing.assert_allclose(gradient, module.FLOW, atol=0.05)


@pytest.mark.torch
def test_ten_dimensions(tmp_path, capsys, example):
    torch = pytest.importorskip("torch")
    pytest.importorskip("matplotlib")
    module, before = example("ten_dimensions"), torch.get_num_threads()
    try:
        module.main(0.5, str(tmp_path / "ten.png"))
    finally:
        torch.set_num_threads(before)
    text = capsys.readouterr().out
    spreads = [float(x) for x in re.findall(r"values of \S+ \+- ([\d.]+)", text)]
    networks = [float(x) for x in re.findall(r"network: RMS error (\S+) ", text)]
    walks = [tuple(map(float, x)) for x in re.findall(r"walks: RMS error (\S+), (\S+) by", text)]
    assert len(spreads) == len(networks) == len(walks) == 2
    assert networks[0] < 2 * spreads[0]
    for rms, expected in walks:
        assert 0.5 < rms / expected < 2
    assert (tmp_path / "ten.png").stat().st_size > 10_000


@pytest.mark.torch
def test_the_network_knows_its_laplacian(example):
    """By autograd, twice; the solutions are harmonic."""
    torch = pytest.importorskip("torch")
    module = example("ten_dimensions")
    torch.manual_seed(0)
    model = module.Network().double()
    X = torch.rand(3, 10, dtype=torch.float64)
    with torch.no_grad():
        value, laplacian = model(X)
        torch.testing.assert_close(value, model.value(X))
    hessians = [torch.autograd.functional.hessian(lambda x: model.value(x[None])[0], x) for x in X]
    torch.testing.assert_close(laplacian, torch.stack([H.trace() for H in hessians]))
    for A in (1.0, 4.0):
        H = torch.autograd.functional.hessian(lambda x, A=A: module.solution(x[None], A, torch)[0], X[0])
        assert abs(H.trace()) < 1e-12
        assert H.abs().max() > 1e-3


@pytest.mark.skipif(native.reason() is not None, reason="takes many walks")
def test_a_ball_of_tissue(example):
    """u = u(R) (R / r) sinh(m r) / sinh(m R)."""
    brain, (V, F) = example("brain"), icosphere(4)
    mesh, R = wos.TriangleMesh((20 * V).astype(np.float32), F), 20.0
    X = np.array([[0.0, 3.0, 0.0], [10.0, 0.0, 4.0], [0.0, 15.0, -5.0], [2.0, 2.0, 17.0]], np.float32)
    result = brain.temperatures(mesh, X, 1 << 15)
    r, m = np.linalg.norm(X, axis=1), np.sqrt(brain.PERFUSION / brain.CONDUCTIVITY)
    u = (brain.SURFACE - brain.BLOOD - brain.HEAT / brain.PERFUSION) * R / r * np.sinh(m * r) / np.sinh(m * R)
    assert np.abs(result.value - u).max() < 0.05  # 4 standard errors, and what an icosphere is smaller than a ball


@pytest.mark.skipif(native.reason() is not None, reason="takes many walks")
def test_it_runs_on_a_file(example, tmp_path, capsys):
    meshio = pytest.importorskip("meshio")
    pytest.importorskip("matplotlib")
    brain, (V, F) = example("brain"), icosphere(2)
    meshio.write_points_cells(tmp_path / "ball.ply", 10 * V, [("triangle", F)])
    brain.main(24, 64, str(tmp_path / "slice.png"), str(tmp_path / "ball.ply"))
    deep = [float(t) for t in re.findall(r"deep: (\d+\.\d+) °C", capsys.readouterr().out)]
    assert len(deep) == 5
    assert deep == sorted(deep)
    assert 33 < deep[0] < deep[-1] < 37.4
    assert (tmp_path / "slice.png").stat().st_size > 10_000


def test_finite_elements(rng):
    pytest.importorskip("skfem")
    from quatrefoil.wos.models.bench import FiniteElements

    c1, c2 = rng.uniform(-0.2, 0.2, 2)
    X = oracle.points(rng, 200, c1, c2, within=0.98)
    errors = []
    for refine in (2, 4, 5):
        fem = FiniteElements(c1, c2, refine)
        found = fem.at(X) @ fem.solve(oracle.solution, lambda x: np.ones(len(x)))
        errors.append(np.sqrt(np.mean((found - oracle.solution(X)) ** 2)))
    assert errors[2] < 5e-3
    assert errors[2] < errors[0] / 4


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_finite_elements_and_walks_agree():
    pytest.importorskip("skfem")
    from quatrefoil.wos.models.bench import Instances

    given = Instances(3, 100, seed=4)
    result = given.labels(4096, gradient=False)
    z = (result.value - given.elements(6)) / result.stderr
    assert np.mean(z**2) < 1.6
    assert np.abs(z).max() < 6
    shared = Instances(2, 50, geometries=1)
    assert shared.labels().value.shape == shared.elements(3).shape == (2, 50)


@pytest.mark.slow
@pytest.mark.torch
def test_the_neural_operator(example, tmp_path, capsys, monkeypatch):
    torch = pytest.importorskip("torch")
    pytest.importorskip("skfem")
    pytest.importorskip("matplotlib")
    module = example("neural_operator")
    monkeypatch.setattr(module, "HELD_OUT", 4)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        module.main(4, 64, str(tmp_path / "operator.png"))
    finally:
        torch.set_num_threads(before)
    text = capsys.readouterr().out
    first, last = (tuple(map(float, found)) for found in re.findall(r"network ([\d.]+), of labels ([\d.]+)", text))
    assert last[0] < 0.1  # of values of about 0.5, from 100 steps
    assert last[1] == pytest.approx(first[1] / 2, rel=0.2)  # four times the walks
    assert (tmp_path / "operator.png").stat().st_size > 10_000


@pytest.mark.torch
def test_the_network_is_right_on_the_boundary_and_linear(example, rng):
    torch = pytest.importorskip("torch")
    pytest.importorskip("skfem")
    module = example("neural_operator")
    given = module.Instances(3, 20, seed=1)
    theta = np.arctan2(given.points[..., 1], given.points[..., 0])
    given.points /= (np.linalg.norm(given.points, axis=-1) / given.radius(theta))[..., None].astype(np.float32)
    network = module.Operator()
    place, g, f = given.inputs()
    with torch.no_grad():
        found = network(place, g, f).numpy().reshape(3, 20)
        for b in range(3):
            np.testing.assert_allclose(found[b], wos.Fourier(given.g[b])(given.points[b]), atol=1e-5)
        inner = (0.5 * place, g, f)
        twice = (inner[0], 2 * g, torch.cat([2 * f[..., :1], f[..., 1:]], dim=-1))
        np.testing.assert_allclose(network(*twice).numpy(), 2 * network(*inner).numpy(), atol=1e-5)
