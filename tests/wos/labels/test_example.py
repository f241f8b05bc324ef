"""The example of a neural operator runs and learns; the finite elements that it and the benchmark compare with are right."""

import re

import numpy as np
import pytest

from quatrefoil import wos
from wos.labels import oracle


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
