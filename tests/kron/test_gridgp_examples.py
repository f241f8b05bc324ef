"""The examples of Gaussian processes run, and their results are accurate."""

import re

import numpy as np
import pytest

import quatrefoil as qf

pytestmark = pytest.mark.slow

pytest.importorskip("pywt")


def test_the_photograph(monkeypatch, example, printed):
    """The error at the lost pixels agrees with the predicted variance, and is below that of an unfitted kernel."""
    import pywt.data

    module = example("restore_photograph")
    monkeypatch.setattr(module, "PART", 32)
    text, truth = printed(module, 64), pywt.data.camera()[224:288, 224:288] / 255.0
    error, expected = map(float, re.search(r"RMS ([\d.]+), expected ([\d.]+)", text).groups())
    assert 0.5 < error / expected < 2
    axes, seen = [np.arange(64.0)] * 2, np.random.default_rng(0).random(truth.shape) >= module.LOST
    fixed = qf.kron.GridGP(optimizer=None).fit(axes, truth, mask=seen).predict(axes)
    assert error < np.sqrt(np.mean((fixed - truth)[~seen] ** 2))


def test_the_sea(example, printed):
    module = example("sea_temperature")
    years, Y = module.series()
    assert years[0] == 1950
    assert Y.shape == (66, 4)
    text = printed(module)
    error, plain, within = map(float, re.search(r"RMS error ([\d.]+) \(of the mean of the others: ([\d.]+)\); .*: (\d+)%", text).groups())
    assert error < 0.7 * plain
    assert within > 80


def test_the_rate_of_change(example, printed):
    text = printed(example("rate_of_change"))
    assert "rate of change: largest 0.150 degrees per day" in text
    for largest, error, within in re.findall(r"largest ([\d.]+) .*RMS error ([\d.]+), within two standard deviations: (\d+)%", text):
        assert float(error) < 0.1 * float(largest)
        assert int(within) > 90


def test_the_clouds(example, printed):
    pytest.importorskip("xarray")
    text = printed(example("clouds"))
    filled, plain = map(float, re.search(r"under clouds: ([\d.]+) degrees, ([\d.]+) by", text).groups())
    assert filled < 0.3 * plain
    assert int(re.search(r"two standard deviations: (\d+)%", text)[1]) > 90


def test_the_stripes(example, printed):
    text = printed(example("stripes"))
    plain, clean = re.findall(r"RMS error ([\d.]+) degrees, within two standard deviations: (\d+)%", text)
    assert float(clean[0]) < 0.5 * float(plain[0])
    assert int(clean[1]) > 90 > int(plain[1])
    size, length = map(float, re.search(r"learnt drift: ([\d.]+) degrees over (\d+) km", text).groups())
    assert 0.4 < size < 0.9
    assert 20 < length < 180
