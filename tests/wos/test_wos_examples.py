"""The examples of ten dimensions and of a mountain run, and their numbers are right."""

import re

import numpy as np
import pytest


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
