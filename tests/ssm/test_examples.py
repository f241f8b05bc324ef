"""The state-space examples run, and their numbers are good ones."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def output_of(name, *arguments):
    done = subprocess.run([sys.executable, EXAMPLES / name, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_ptd_example(tmp_path):
    pytest.importorskip("matplotlib")
    text = output_of("ptd.py", "8", str(tmp_path / "ptd.png"))
    assert (tmp_path / "ptd.png").stat().st_size > 10_000
    plain, ptd = map(float, re.search(r"plain diagonal ([\d.]+) .* PTD ([\d.]+)", text).groups())
    assert plain == pytest.approx(0.598, abs=1e-3)
    assert ptd < plain / 10


def test_lotka_volterra_example():
    text = output_of("lotka_volterra.py")
    error, mean = map(float, re.search(r"deviations: ([\d.]+) \(forecasting the mean: ([\d.]+)", text).groups())
    assert error < 0.02
    assert mean > 0.5


def test_lotka_volterra_fit_is_the_dense_ridge_fit(rng):
    example = runpy.run_path(str(EXAMPLES / "lotka_volterra.py"))
    s = np.sin(np.arange(300) / 7) + 0.1 * rng.standard_normal(300)
    w, _ = example["fit"](s, 20, 2.0)
    H = np.lib.stride_tricks.sliding_window_view(s[:-1], 20)
    np.testing.assert_allclose(w, np.linalg.solve(H.T @ H + 2 * np.eye(20), H.T @ s[20:]), atol=2e-3)


def test_arma_example(tmp_path):
    """The variance falls as the theory of long series says: half of it, of 300 series, whose own error is a tenth."""
    pytest.importorskip("matplotlib")
    text = output_of("arma_asymmetric.py", "300", str(tmp_path / "arma.png"))
    assert (tmp_path / "arma.png").stat().st_size > 10_000
    ratios = [float(x) for x in re.findall(r"a ratio of ([\d.]+)", text)]
    assert len(ratios) == 2
    assert max(ratios) < 0.75
    assert re.search(r"in long series the ratio is 0\.50", text)


def test_arma_estimates_are_those_of_a_search(rng):
    """Sums of squares of one series, over a fine grid around the estimate, by the difference equation in a loop."""
    example = runpy.run_path(str(EXAMPLES / "arma_asymmetric.py"))
    y = example["simulate"](3, rng)
    estimates = example["css"](y)

    def squares(row, phi, theta):
        total = before = e = 0.0
        for value in row:
            e, before = value - phi * before - theta * e, value
            total += e * e
        return total

    for row, (phi, theta) in zip(y, estimates):
        least = squares(row, phi, theta)
        for step in ((0.01, 0), (-0.01, 0), (0, 0.01), (0, -0.01), (0.01, -0.01), (-0.01, 0.01)):
            assert squares(row, phi + step[0], theta + step[1]) > least


@pytest.mark.torch
def test_s4d_example_learns():
    pytest.importorskip("torch")
    pytest.importorskip("pywt")
    text = output_of("train_s4d.py", "60")
    losses = [float(x) for x in re.findall(r"loss ([\d.]+)", text)]
    assert losses[-1] < losses[0] / 4
    error, naive = map(float, re.search(r"error ([\d.]+) .* forecast: ([\d.]+)", text).groups())
    assert error < 0.75 * naive
    assert float(re.search(r"the same within (\S+)", text).group(1)) < 1e-4
