"""The Walk on Spheres examples run and give correct results."""

import re

import numpy as np
import pytest

from quatrefoil import wos
from wos.domains import needs_native
from wos.query.oracle import icosphere


@pytest.fixture
def torch_threads():
    """Restore PyTorch's number of threads, which examples change."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_the_mountain(example, printed):
    module = example("under_mountains")
    text = printed(module, 1024)
    rms, largest = map(float, re.search(r"error of ([\d.]+) standard errors, the largest ([\d.]+)", text).groups())
    assert 0.2 < rms < 2
    assert largest < 6
    ridge, valley = (float(x) for x in re.findall(r"0\.3 km: .* gradient ([\d.]+) ", text))
    assert ridge < module.FLOW - 2
    assert valley > module.FLOW + 1


@pytest.mark.torch
def test_ten_dimensions(example, printed, torch_threads):
    text = printed(example("ten_dimensions"), 0.5)
    spreads = [float(x) for x in re.findall(r"values of \S+ \+- ([\d.]+)", text)]
    networks = [float(x) for x in re.findall(r"network: RMS error (\S+) ", text)]
    walks = [tuple(map(float, x)) for x in re.findall(r"walks: RMS error (\S+), (\S+) according", text)]
    assert len(spreads) == len(networks) == len(walks) == 2
    assert networks[0] < 2 * spreads[0]
    for rms, expected in walks:
        assert 0.5 < rms / expected < 2


@pytest.mark.torch
def test_the_network_knows_its_laplacian(example):
    """The network's Laplacian equals that of autograd, applied twice; the solutions are harmonic."""
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


@needs_native
def test_a_ball_of_tissue(example):
    """u = u(R) (R / r) sinh(m r) / sinh(m R)."""
    brain, (V, F) = example("brain"), icosphere(4)
    mesh, R = wos.TriangleMesh((20 * V).astype(np.float32), F), 20.0
    X = np.array([[0.0, 3.0, 0.0], [10.0, 0.0, 4.0], [0.0, 15.0, -5.0], [2.0, 2.0, 17.0]], np.float32)
    result = brain.temperatures(mesh, X, 1 << 15)
    r, m = np.linalg.norm(X, axis=1), np.sqrt(brain.PERFUSION / brain.CONDUCTIVITY)
    u = (brain.SURFACE - brain.BLOOD - brain.HEAT / brain.PERFUSION) * R / r * np.sinh(m * r) / np.sinh(m * R)
    assert np.abs(result.value - u).max() < 0.05  # 4 standard errors, and the difference between an icosphere and a ball


@needs_native
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


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_finite_elements_and_walks_agree():
    pytest.importorskip("skfem")
    from quatrefoil.wos.models.bench import Instances

    instances = Instances(3, 100, seed=4)
    result = instances.labels(4096, gradient=False)
    z = (result.value - instances.elements(6)) / result.stderr
    assert np.mean(z**2) < 1.6
    assert np.abs(z).max() < 6
    shared = Instances(2, 50, geometries=1)
    assert shared.labels().value.shape == shared.elements(3).shape == (2, 50)


@pytest.mark.slow
@pytest.mark.torch
def test_the_neural_operator(example, printed, monkeypatch, torch_threads):
    pytest.importorskip("skfem")
    module = example("neural_operator")
    monkeypatch.setattr(module, "HELD_OUT", 4)
    pytest.importorskip("torch").set_num_threads(1)
    text = printed(module, 10, 64)
    first, last = (tuple(map(float, errors)) for errors in re.findall(r"network ([\d.]+), of labels ([\d.]+)", text))
    assert last[0] < 0.1  # for values of about 0.5, from 40 steps
    assert last[1] == pytest.approx(first[1] / 10**0.5, rel=0.2)  # ten times the walks
