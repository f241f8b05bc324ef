"""The examples of Chebyshev-Tucker tensors and of charges run, and their results are right."""

import itertools
import re

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import minimize_scalar

pytestmark = pytest.mark.slow


def test_drawdowns_solve_their_equation(rng, example):
    module = example("tucker_snapshots")
    T = 10 ** rng.uniform(-4, -3, (5, 6))
    A, padded = np.zeros((30, 30)), np.pad(T, 1, mode="edge")
    for (i, j), (k, m) in itertools.product(np.ndindex(5, 6), ((1, 0), (-1, 0), (0, 1), (0, -1))):
        conducts = 2 / (1 / T[i, j] + 1 / padded[i + k + 1, j + m + 1])  # also at edges: h = 0 half a cell beyond them
        A[6 * i + j, 6 * i + j] += conducts
        if 0 <= i + k < 5 and 0 <= j + m < 6:
            A[6 * i + j, 6 * (i + k) + j + m] -= conducts
    np.testing.assert_allclose(module.flow(T).toarray(), A, atol=1e-15)
    result = module.drawdown(T, 2)
    assert result.shape == (2, module.SNAPSHOTS, 5, 6)
    storage = module.STORAGE * module.CELL**2 / (module.DAYS * 86400)
    h = result.reshape(2, module.SNAPSHOTS, 30)
    steps = np.diff(h, axis=1, prepend=0) * storage + h @ A
    np.testing.assert_allclose(steps, np.repeat(steps[:, :1], module.SNAPSHOTS, axis=1), atol=1e-12)
    np.testing.assert_allclose(np.sort(steps[:, 0]), [[0] * 29 + [module.PUMPED]] * 2, atol=1e-12)


def test_snapshots(monkeypatch, example, printed):
    module = example("tucker_snapshots")
    monkeypatch.setattr(module, "EVERY", 8)
    monkeypatch.setattr(module, "CELL", 660.0)
    monkeypatch.setattr(module, "SNAPSHOTS", 20)
    text = printed(module, 3)
    rows = [[float(x) for x in row] for row in re.findall(r"Tucker ([\d.]+), one SVD per snapshot ([\d.]+), one SVD of all ([\d.]+)", text)]
    assert len(rows) == len(module.TOLERANCES)
    assert all(tucker > single for tucker, single, _ in rows)
    assert [row[0] for row in rows] == sorted((row[0] for row in rows), reverse=True)
    assert rows[1][0] > 2 * rows[1][2]


def test_groups_of_snapshots(rng, example):
    """Snapshots along three directions, of any size and sign, are separated; each direction's tensor needs fewer modes than one for all."""
    module = example("tucker_snapshots")
    maps = np.linalg.qr(rng.standard_normal((30, 3)))[0].T
    which = rng.permutation(np.arange(60) % 3)
    flat = (maps[which] + 0.01 * rng.standard_normal((60, 30))) * rng.choice([-1, 1], 60)[:, None] * rng.uniform(0.1, 10, 60)[:, None]
    group = module.groups(flat, 3)
    assert len({(a, b) for a, b in zip(which, group)}) == 3
    (_, together, _), (_, apart, _) = (module.local(flat.reshape(1, 60, 5, 6), 0.2, count) for count in (1, 3))
    assert apart == 1 < together


def test_option_prices(example, printed, tmp_path):
    pytest.importorskip("pychebyshev")
    module = example("option_greeks")
    module.TOL, module.SLOW, module.BOX = 1e-4, 200, [(95, 105), (98, 102), (0.5, 1), (0.2, 0.3), (0.02, 0.05)]
    result = module.main(2000)
    step = 1e-5
    X = np.array([101.0, 100.0, 0.7, 0.25, 0.03])
    for k in range(5):
        hi, lo = X + step * np.eye(5)[k], X - step * np.eye(5)[k]
        np.testing.assert_allclose(module.greeks(*X)[k], (module.price(*hi) - module.price(*lo)) / (2 * step), rtol=1e-6)
    assert result["tensor"][1] < 1e-3
    assert result["tensor"][0] < result["PyChebyshev"][0]


def test_uncertainties_compared(example, monkeypatch):
    for package in ("chaospy", "SALib", "pychebyshev"):
        pytest.importorskip(package)
    module = example("uncertainty_compared")
    monkeypatch.setattr(module, "CALLS", (100,))
    monkeypatch.setattr(module, "FUNCTIONS", {"Ishigami": module.FUNCTIONS["Ishigami"]})
    table = module.main()
    best = table["Ishigami", 100, "PolynomialChaos"]
    assert all(all(ours <= theirs for ours, theirs in zip(best, errors)) for errors in table.values())


def test_pipes(example, tmp_path, rng):
    pytest.importorskip("matplotlib")
    module = example("pipe_friction")
    result = module.main(str(tmp_path / "pipe.png"))
    reynolds, roughness = rng.uniform(500, 20000, 500), 0.05 * rng.random(500) ** 3
    np.testing.assert_allclose(result["chart"](reynolds, roughness), module.factor(reynolds, roughness), rtol=1e-6)
    d, k = module.DIAMETER, module.ROUGHNESS
    speed = result["speed"]
    np.testing.assert_allclose(module.loss(speed, d, k), module.LIMIT, rtol=1e-6)
    np.testing.assert_allclose(result["start"], quad(module.loss, 0.5, speed, (d, k))[0] / (speed - 0.5), rtol=1e-6)
    np.testing.assert_allclose(result["shear"](speed, d, k), np.sqrt(9.81 * d * module.LIMIT / 400), rtol=1e-6)
    slope = np.log(module.loss(1.001 * speed, d, k) / module.loss(speed / 1.001, d, k)) / np.log(1.001**2)
    np.testing.assert_allclose(speed * result["exponent"](speed, d, k), slope, rtol=1e-4)
    best = minimize_scalar(module.costs, bounds=(0.07, 0.15), method="bounded", options={"xatol": 1e-8})
    np.testing.assert_allclose([result["cheapest"].point[0], result["cheapest"].value], [best.x, best.fun], rtol=1e-5)
    np.testing.assert_allclose([result["mean"], result["deviation"]], [result["values"].mean(), result["values"].std()], rtol=0.01)
    assert abs(result["sections"].sum() - 1) < 1e-6
    D = rng.uniform(0.08, 0.12, module.SECTIONS)
    np.testing.assert_allclose(result["swapped"](*D[::-1]), module.series(*D), rtol=1e-4)
    assert (tmp_path / "pipe.png").stat().st_size > 10_000


def test_throws(example, tmp_path):
    pytest.importorskip("matplotlib")
    module = example("trajectory")
    np.testing.assert_allclose(module.throw(30.0, 20.0, 0.0), np.array([400 * np.sin(np.pi / 3), 20]) / module.GRAVITY, rtol=1e-7)
    result = module.main(str(tmp_path / "throws.png"))
    distance, duration = result["tensors"]
    assert result["calls"] == distance.n_evaluations + 1 == duration.n_evaluations + 1  # only the failed one is repeated
    np.testing.assert_allclose(result["best"].value, 50**2 / module.GRAVITY, rtol=1e-4)
    np.testing.assert_allclose(result["best"].point, [45, 50, 0], atol=0.05)
    low, high = result["hits"]
    assert low < result["farthest"].point[0] < high
    np.testing.assert_allclose([module.throw(a, 40.0, 0.005)[0] for a in (low, high)], module.TARGET, rtol=1e-4)
    np.testing.assert_allclose(result["chaos"].mean(), distance.mean(), rtol=3 * result["chaos"].error_estimate)
    assert (tmp_path / "throws.png").stat().st_size > 10_000


@pytest.mark.slow
def test_digits(example, printed):
    pytest.importorskip("sklearn")
    text = printed(example("deep_chaos"), 3)
    logistic = float(re.search(r"logistic regression +: ([\d.]+)%", text)[1])
    deep = float(re.search(r"two layers +: [\d.]+%, ensemble of 3 ([\d.]+)%", text)[1])
    assert deep > logistic
    products = float(re.search(r"one layer, products +: ([\d.]+)%", text)[1])
    assert products > deep


def test_the_crystal(monkeypatch, example, printed):
    module = example("ionic_crystal")
    assert abs(module.madelung(10, 5) - module.MADELUNG) < 1e-10
    monkeypatch.setattr(module, "N", 33)
    monkeypatch.setattr(module, "TOL", 1e-8)
    text = printed(module, 6)
    assert "2197 ions" in text
    assert float(re.search(r", (\S+) from", text)[1]) < 2e-4  # error of a block of 13 ions per side, with weights at its faces


def test_the_molecule(tmp_path, example, printed):
    module = example("molecule")
    X, q = module.helix(8)
    lines = [f"ATOM {i} X ALA 1 {x[0]:.3f} {x[1]:.3f} {x[2]:.3f} {charge:.4f} 1.5" for i, (x, charge) in enumerate(zip(X, q))]
    file = tmp_path / "helix.pqr"
    file.write_text("REMARK made here\n" + "\n".join(lines) + "\nEND\n")
    again = module.read_pqr(str(file))
    np.testing.assert_allclose(again[0], X, atol=6e-4)
    np.testing.assert_allclose(again[1], q, atol=1e-12)
    for source in (5, file):
        text = printed(module, source).replace("-0.000", "0.000")
        assert "atoms of charge 0.000" in text
        assert float(re.search(r"error (\S+);", text)[1]) <= 1e-6
