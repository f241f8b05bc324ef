"""Tests specific to linear scans: every code path is bitwise equal to the recurrence, for any a and with infinities anywhere."""

import itertools

import numpy as np
import pytest

import quatrefoil as qf

DTYPES = [np.float32, np.float64, np.complex64, np.complex128]
LENGTH = 70_001


def sequence(rng, shape, dtype, kind):
    """Return a and b. By kind, the state is forgotten quickly, slowly, never or at resets, overflows, or has an infinity and a NaN."""

    def normal():
        x = rng.standard_normal(shape)
        return (x + 1j * rng.standard_normal(shape) if np.issubdtype(dtype, np.complexfloating) else x).astype(dtype)

    a, b = normal(), normal()
    size = np.abs(a)
    a /= np.where(size == 0, 1, size)
    if kind == "forgets":
        a *= rng.uniform(0, 1, shape).astype(size.dtype)
    elif kind == "slowly":
        a *= np.asarray(0.9995, size.dtype)
    elif kind == "resets":
        a[..., rng.integers(0, shape[-1], 50)] = 0
    elif kind == "overflows":
        a *= 2
        a[..., 3000::5000] = 0
        b[..., 100::5000] = 0
    elif kind == "infinite":
        a *= rng.uniform(0, 1, shape).astype(size.dtype)
        b[..., 20_000], a[..., 41_111], b[..., 60_000] = np.inf, 0, np.nan
    return a, b


def in_steps(a, b, h0=None, reverse=False):
    """``linear_scan`` of strided arrays, which are always evaluated step by step."""
    spread = [np.repeat(x, 2, axis=-1)[..., ::2] for x in (a, b)]
    return qf.ssm.linear_scan(*spread, h0, reverse=reverse, num_threads=1)


@pytest.mark.parametrize("dtype", DTYPES)
def test_corrected_parts_have_the_bits_of_single_steps(rng, dtype):
    for reverse, kind in itertools.product([False, True], ["forgets", "slowly", "never", "resets", "overflows", "infinite"]):
        print(kind, reverse)
        with np.errstate(all="ignore"):
            a, b = sequence(rng, (2, LENGTH), dtype, kind)
        h0 = b[:, 5].copy()
        expected = in_steps(a, b, h0, reverse)
        for threads in (1, 2, 3):
            np.testing.assert_array_equal(qf.ssm.linear_scan(a, b, h0, reverse=reverse, num_threads=threads), expected)
            across = qf.ssm.linear_scan(a.T.copy(), b.T.copy(), h0, axis=0, reverse=reverse, num_threads=threads)
            np.testing.assert_array_equal(across, expected.T)


def test_an_overflow_that_a_reset_clears_is_not_seen(rng):
    """The product of the coefficients between two zeros overflows; the states, which start small, do not."""
    k = np.arange(LENGTH) % 700
    expected = 1e-200 * 3.0 ** (k // 2) * 3.0 ** (k - k // 2)
    for shape, axis in (((LENGTH,), 0), ((20, LENGTH), 1), ((LENGTH, 20), 0)):
        a, b = np.full(shape, 3.0), np.zeros(shape)
        stop = [slice(None)] * len(shape)
        stop[axis] = slice(None, None, 700)
        a[tuple(stop)], b[tuple(stop)] = 0, 1e-200
        h = np.moveaxis(qf.ssm.linear_scan(a, b, axis=axis, num_threads=2), axis, -1)
        np.testing.assert_allclose(h, np.broadcast_to(expected, h.shape), rtol=1e-13)


def test_every_layout_has_the_same_bits(rng):
    for dtype in DTYPES:
        print(dtype)
        a, b = sequence(rng, (37, 210), dtype, "forgets")
        expected = in_steps(a, b)
        for rows in (1, 3, 4, 16, 37):
            np.testing.assert_array_equal(qf.ssm.linear_scan(a[:rows].copy(), b[:rows].copy()), expected[:rows])
            np.testing.assert_array_equal(qf.ssm.linear_scan(a[:rows].T.copy(), b[:rows].T.copy(), axis=0), expected[:rows].T)


def test_nan_in_one_scan_leaves_the_others(backend, rng):
    for dtype in DTYPES if backend == "native" else DTYPES[1::2]:
        print(dtype)
        for shape, axis in (((40, 300), 1), ((300, 40), 0), ((3, 300), 1), ((300, 3), 0)):
            a, b = (np.moveaxis(x, 0, 1 - axis).copy() for x in sequence(rng, shape if axis else shape[::-1], dtype, "forgets"))
            clean = [qf.ssm.linear_scan(a, b, axis=axis), *qf.ssm.linear_scan_vjp(a, b, b, axis=axis)]
            bad = b.copy()
            np.moveaxis(bad, axis, 0)[150, 2] = np.nan
            dirty = [qf.ssm.linear_scan(a, bad, axis=axis), *qf.ssm.linear_scan_vjp(a, bad, b, axis=axis)]
            for x, y in zip(clean, dirty):
                x, y = np.moveaxis(x, axis, 0), np.moveaxis(y, axis, 0)
                np.testing.assert_array_equal(np.delete(x, 2, 1), np.delete(y, 2, 1))
            np.testing.assert_array_equal(np.moveaxis(clean[0], axis, 0)[:150], np.moveaxis(dirty[0], axis, 0)[:150])
            assert np.isnan(np.moveaxis(dirty[0], axis, 0)[150:, 2]).all()


F = np.zeros((3, 70))
BAD = [
    (lambda: qf.ssm.linear_scan(F, F, axis=2), ValueError, "axis is out of range"),
    (lambda: qf.ssm.linear_scan(F, F, axis=-3), ValueError, "axis is out of range"),
    (lambda: qf.ssm.linear_scan(F, F, axis=0.5), TypeError, "axis"),
    (lambda: qf.ssm.linear_scan(np.zeros((4, 70)), F), ValueError, "does not broadcast"),
    (lambda: qf.ssm.linear_scan(np.zeros(()), np.zeros(())), ValueError, "no axes"),
]
