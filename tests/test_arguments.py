"""Checks of what is no array of a kernel, and that functions of every family make use of them."""

from fractions import Fraction

import numpy as np
import pytest

import quatrefoil as qf
from quatrefoil import _arguments

HUGE = 2**64


def test_integers_of_any_type():
    for three in (3, np.int32(3), np.uint64(3), np.array(3)):
        assert _arguments.integer(three, "f", "n", 0) == 3
    assert _arguments.integer(-(2**63), "f", "n") == -(2**63)
    for bad in (3.0, "3", None, True, np.True_, [3], np.arange(2), 3j):
        with pytest.raises(TypeError, match=r"f: n is .*, expected an integer"):
            _arguments.integer(bad, "f", "n")


def test_numbers_of_any_type():
    for x in (2, 2.0, np.float32(2), np.array(2.0), Fraction(2)):
        assert _arguments.number(x, "f", "x") == 2.0
    assert _arguments.number(0, "f", "x") == 0
    for bad in ("2", None, True, np.True_, 2j, np.complex64(2), [2.0], np.ones(1)):
        with pytest.raises(TypeError, match=r"f: x is .*, expected a real number"):
            _arguments.number(bad, "f", "x")
    for bad in (-1, np.nan, np.inf):
        with pytest.raises(ValueError, match="expected a finite number, at least 0"):
            _arguments.number(bad, "f", "x")
    with pytest.raises(ValueError, match=r"f: x is 0\.0, expected a finite positive number"):
        _arguments.number(0, "f", "x", positive=True)


def test_choices():
    assert _arguments.choice("b", "f", "way", ("a", "b")) == "b"
    assert _arguments.choice(None, "f", "way", (None, "b")) is None
    for bad in ("c", None, 3, ["a"], np.array(["a", "b"])):
        with pytest.raises(ValueError, match=r"f: way is .*, expected one of 'a', 'b'"):
            _arguments.choice(bad, "f", "way", ("a", "b"))


Z = np.ones((1, 2), complex)
Q = np.ones((1, 3, 1, 2))


@pytest.mark.parametrize(
    "call",
    [
        lambda: qf.ssm.s4d_kernel(np.ones(1), Z, Z, HUGE),
        lambda: qf.ssm.s4_kernel(np.ones(1), Z, Z, Z, Z, HUGE),
        lambda: qf.ssm.log_vandermonde(Z, Z, HUGE),
        lambda: qf.ssm.linear_scan(Q, Q, axis=HUGE),
        lambda: qf.ssm.gka(Q, Q, Q, num_iter=HUGE),
        lambda: qf.ssm.hippo_legs(HUGE),
        lambda: qf.ssm.ptd_init(HUGE),
        lambda: qf.ssm.fft_conv(Q, Q[0, 0], num_threads=HUGE),
        lambda: qf.set_num_threads(HUGE),
        lambda: qf.cheb.chebpts(HUGE),
        lambda: qf.cheb.tucker(Q, rank=HUGE),
        lambda: qf.kron.KroneckerOperator([np.eye(2)], num_threads=HUGE),
    ],
)
def test_beyond_64_bits(call):
    with pytest.raises(ValueError, match=rf"is {HUGE}, expected at most"):
        call()


def test_results_beyond_64_bits(backend):
    with pytest.raises(ValueError, match="more numbers than 64 bits can address"):
        qf.ssm.s4d_kernel(np.ones(1), Z, Z, 2**60)
    with pytest.raises(ValueError, match="more numbers than 64 bits can address"):
        qf.ssm.log_vandermonde(np.broadcast_to(Z, (2**30, 1, 2)), Z, 2**40)
    with pytest.raises(MemoryError):  # this one can be addressed
        qf.ssm.s4d_kernel(np.ones(1), Z, Z, 2**55)
