"""The examples of Gaussian processes run, and their numbers are good ones."""

import re

import numpy as np
import pytest

pytest.importorskip("pywt")


def test_the_photograph(monkeypatch, example, printed):
    """The error at the lost pixels is what the model expects, and below that of a kernel that was not fitted."""
    import pywt.data

    module = example("restore_photograph")
    monkeypatch.setattr(module, "PART", 32)
    truth = pywt.data.camera()[200:264, 200:264] / 255.0
    seen = np.random.default_rng(0).random(truth.shape) >= module.LOST
    image, deviation, gp = module.restore(truth, seen)
    error = np.sqrt(np.mean((image - truth)[~seen] ** 2))
    assert 0.5 < error / np.sqrt(np.mean(deviation[~seen] ** 2)) < 2
    fixed = type(gp)(optimizer=None).fit([np.arange(64.0)] * 2, truth, mask=seen)
    assert error < np.sqrt(np.mean((fixed.predict([np.arange(64.0)] * 2) - truth)[~seen] ** 2))
    assert "64 x 64 pixels, 30% lost" in printed(module, 64)


def test_the_sea(example, printed):
    module = example("sea_temperature")
    years, Y = module.series()
    assert years[0] == 1950
    assert Y.shape == (66, 4)
    seen = module.gaps(Y.shape, np.random.default_rng(0))
    mean, deviation, _ = module.fill(Y, seen)
    off = ((mean - Y) / deviation)[~seen]
    assert np.sqrt(np.mean((mean - Y)[~seen] ** 2)) < 0.7 * Y.std()
    assert np.mean(np.abs(off) < 2) > 0.8
    assert "quarters taken out" in printed(module)


def test_the_rate_of_change(example, printed):
    text = printed(example("rate_of_change"))
    assert "rate of change: largest 0.150 degrees a day" in text
    for largest, error, within in re.findall(r"largest ([\d.]+) .*RMS error ([\d.]+), within two deviations: (\d+)%", text):
        assert float(error) < 0.1 * float(largest)
        assert int(within) > 90
