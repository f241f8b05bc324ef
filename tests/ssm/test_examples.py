"""The state-space examples run and print results of the expected quality."""

import re

import numpy as np
import pytest

pytestmark = pytest.mark.slow


def test_ptd_example(example, printed):
    text = printed(example("ptd"), 8)
    plain, ptd = map(float, re.search(r"plain diagonal ([\d.]+) .* PTD ([\d.]+)", text).groups())
    assert plain == pytest.approx(0.598, abs=1e-3)
    assert ptd < plain / 10
    for name, bound in (("slow, eps 0.01", 0.06), ("tone, eps 0.1", 0.2), ("tone, eps 0.01", 0.03)):
        plain, *ptd = map(float, re.search(rf"{name}: plain diagonal ([\d.]+), S4-PTD ([\d.]+), S5-PTD ([\d.]+)", text).groups())
        assert max(ptd) < bound
        assert plain > 10 or name.startswith("slow")


def test_lotka_volterra_example(example, printed):
    text = printed(example("lotka_volterra"))
    error, mean = map(float, re.search(r"deviations: ([\d.]+) \(forecasting the mean: ([\d.]+)", text).groups())
    assert error < 0.02
    assert mean > 0.5


def test_arma_example(example, printed):
    """The ratio of mean squared errors is 0.5 in theory for long series. With 300 series its standard error is about 10 %."""
    text = printed(example("arma_asymmetric"), 300)
    ratios = [float(x) for x in re.findall(r"a ratio of ([\d.]+)", text)]
    assert len(ratios) == 2
    assert max(ratios) < 0.75
    assert re.search(r"in long series the ratio is 0\.50", text)


@pytest.mark.torch
def test_s4d_example_learns(example, printed):
    pytest.importorskip("torch")
    pytest.importorskip("pywt")
    text = printed(example("train_s4d"), 60)
    losses = [float(x) for x in re.findall(r"loss ([\d.]+)", text)]
    assert losses[-1] < losses[0] / 4
    error, naive = map(float, re.search(r"error ([\d.]+) .* last value: ([\d.]+)", text).groups())
    assert error < 0.75 * naive
    assert float(re.search(r"the same within (\S+)", text).group(1)) < 1e-4


def test_the_spectral_update_is_a_kalman_filter_and_smoother(rng, example):
    """Compare with the joint means and variances of all lines, conditioned on the measurements up to each line or up to the last one."""
    module = example("spectral_update")
    T, H, noise = 6, 4, 0.7
    a, q = rng.uniform(0.3, 0.95, H), rng.uniform(0.5, 2.0, H)
    Y, seen = rng.standard_normal((T, H)), np.array([True, False, True, True, False, True])
    Y[~seen] = np.nan
    estimates = module.assimilate(Y, seen, noise, a, q)
    D = module.dct(np.eye(H), axis=0, norm="ortho")
    before = q / (1 - a * a)  # stationary variance, the same for all lines
    lag = np.abs(np.subtract.outer(np.arange(T), np.arange(T)))
    prior = np.einsum("tsh,hi,hj->tisj", before * a ** lag[..., None], D, D).reshape(T * H, T * H)
    for t in range(T):
        for name, known in (("filter", seen & (np.arange(T) <= t)), ("smoother", seen)):
            at, current = np.repeat(known, H), slice(t * H, (t + 1) * H)
            gain = prior[current, at] @ np.linalg.inv(prior[np.ix_(at, at)] + noise**2 * np.eye(at.sum()))
            lines, spread = estimates[name]
            np.testing.assert_allclose(lines[t], gain @ Y.ravel()[at], atol=1e-9)
            covariance = D @ (prior[current, current] - gain @ prior[at, current]) @ D.T
            np.testing.assert_allclose(spread[t], np.diag(covariance), atol=1e-9)
    np.testing.assert_allclose(estimates["filter"][0], module.full(Y, seen, noise, a, q), atol=1e-9)


def test_lines_are_assimilated(monkeypatch, example, printed):
    module = example("spectral_update")
    Z = module.landscape()[:, :96]
    monkeypatch.setattr(module, "landscape", Z.copy)
    text = printed(module, 50.0)
    alone, before = map(float, re.search(r"on its own: RMS error ([\d.]+) m; .* lost one ([\d.]+) m", text).groups())
    (filtered, _, _, _), (smooth, expected, lost, _) = (
        map(float, x) for x in re.findall(r"RMS error ([\d.]+) m, expected ([\d.]+) m; of lost lines ([\d.]+) m, expected ([\d.]+) m", text)
    )
    assert smooth < filtered < alone
    assert smooth < 0.85 * alone
    assert lost < 0.8 * before
    assert 0.6 < smooth / expected < 1.6
    assert float(re.search(r"the same within (\S+),", text)[1]) < 1e-10


def test_waves_are_assimilated(example, printed):
    """The filter's error is below that of the gauges and close to the ensemble spread. Without gauges, it is comparable to the waves."""
    text = printed(example("assimilate_waves"), 0.3)
    size = float(re.search(r"waves ([\d.]+)", text)[1])
    error, expected, forecast = map(float, re.search(r"mean ([\d.]+) \(ensemble spread ([\d.]+)\); without gauges ([\d.]+)", text).groups())
    assert error < 0.2
    assert 0.6 < error / expected < 1.6
    assert forecast > 0.6 * size


@pytest.mark.torch
def test_hankel_networks_step_dynamical_systems(example, printed):
    """Errors are less than three times those of networks with a full matrix, which has more than seven times as many weights."""
    pytest.importorskip("torch")
    text = printed(example("hankel_network"), 100)
    rows = re.findall(r"(\S+), (\w+) matrix with (\d+) weights: error after one step ([\d.]+), after \d+ steps ([\d.]+)", text)
    assert [kind for _, kind, *_ in rows] == ["Hankel", "full"] * 2
    for hankel, full in zip(rows[::2], rows[1::2]):
        assert int(hankel[2]) * 7 < int(full[2])
        assert float(hankel[3]) < 0.1
        assert all(float(hankel[k]) < 3 * float(full[k]) for k in (3, 4))
