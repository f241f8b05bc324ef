"""The examples of self-distillation and of the neural tangent kernel run, and their formulas are right."""

import numpy as np
import pytest
from scipy import integrate


def test_rounds_are_fits(rng, example):
    module = example("self_distillation")
    K = module.teacher((5, 6))
    y, truth = 1000 * rng.standard_normal((2, 30))  # far beyond the noise, so that Stein's estimate is positive
    dense = np.kron(*(np.asarray(f) for f in K.factors))
    hat = dense @ np.linalg.inv(dense + 0.3 * np.eye(30))
    S = np.linalg.matrix_power(hat, 4)
    np.testing.assert_allclose(module.distil(K, y, 4, ridge=0.3), S @ y, atol=1e-8)
    errors = module.Errors(K, y, truth)
    assert errors.true(4, 0.3) == pytest.approx(np.sqrt(np.mean((S @ y - truth) ** 2)))
    stein = np.mean((y - S @ y) ** 2) + module.NOISE**2 * (2 * np.trace(S) / 30 - 1)
    assert errors.stein(4, 0.3) ** 2 == pytest.approx(stein, rel=1e-9)


def test_the_landscape_is_distilled(monkeypatch, tmp_path, capsys, example):
    pytest.importorskip("matplotlib")
    module = example("self_distillation")
    Z = module.landscape()[:96, :96]
    monkeypatch.setattr(module, "landscape", lambda: Z)
    module.main(60, str(tmp_path / "distilled.png"))
    lines = capsys.readouterr().out.splitlines()
    after = {int(line.split()[1]): float(line.split("error")[1].split()[0]) for line in lines if line.startswith("after")}
    by_stein = min(float(line.split("error")[1].split()[0]) for line in lines if "is least" in line)
    assert by_stein < 0.8 * after[1]  # the teacher fits the noise
    assert by_stein < 1.05 * min(after.values())
    one = float(lines[-2].split("error")[1].split()[0])
    assert by_stein == pytest.approx(one, rel=0.1)
    assert float(lines[-1].split()[-1]) < 1e-10
    assert (tmp_path / "distilled.png").stat().st_size > 10_000


@pytest.fixture
def ntk_grid(example):
    pytest.importorskip("pywt")
    return example("ntk_grid")


def test_a_layer_is_an_expectation(rng, ntk_grid):
    """Of products of ReLU and of their slopes, over pairs of normal variables: integrals by angle, kinks at their ends."""
    for c in rng.uniform(-0.99, 0.99, 5):
        # u = r cos φ, v = r cos(φ - angle): both positive between angle - π/2 and π/2; E r² = 2.
        angle = np.arccos(c)
        low, high = angle - np.pi / 2, np.pi / 2
        products = integrate.quad(lambda phi, angle=angle: 2 / np.pi * np.cos(phi) * np.cos(phi - angle), low, high)[0]
        slopes = (high - low) / np.pi
        tangent, cov = ntk_grid.layers(np.array([[c]]), depth=1)
        assert cov[0, 0] == pytest.approx(products, abs=1e-12)
        assert tangent[0, 0] == pytest.approx(products + c * slopes, abs=1e-12)


def test_the_grid_is_solved_as_the_whole_matrix(rng, ntk_grid):
    seen, wanted = rng.standard_normal((5, 6)), [np.array([0.3, 0.4]), np.array([0.1, 0.5, 0.9])]
    for inputs in (ntk_grid.plain, ntk_grid.fourier(8.0)):
        axes = [np.linspace(0, 0.9, n) + 0.02 * rng.random(n) for n in (5, 6)]
        (T1, S1), (T2, S2) = (ntk_grid.layers(inputs(x, x)) for x in axes)
        (t1, s1), (t2, s2) = (ntk_grid.layers(inputs(z, x)) for z, x in zip(wanted, axes))
        weights = np.linalg.solve(np.kron(T1, S2) + np.kron(S1, T2), (seen - seen.mean()).ravel())
        expected = seen.mean() + ((np.kron(t1, s2) + np.kron(s1, t2)) @ weights).reshape(2, 3)
        np.testing.assert_allclose(ntk_grid.regress(inputs, axes, seen, wanted), expected, atol=1e-8)


def test_the_photograph_is_filled(tmp_path, capsys, ntk_grid):
    pytest.importorskip("matplotlib")
    ntk_grid.main(96, str(tmp_path / "ntk.png"))
    text = capsys.readouterr().out
    db = {line.split(":")[0].strip(): float(line.split(":")[1].split()[0]) for line in text.splitlines()[1:]}
    assert len(db) == 7
    kernels = [value for name, value in db.items() if "splines" not in name]
    assert max(kernels) > db["linear splines"] - 0.3
    assert kernels[-1] < max(kernels)
    assert (tmp_path / "ntk.png").stat().st_size > 10_000
