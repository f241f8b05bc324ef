"""The lines that csrc/ssm/README.md gives to users of state-spaces/s4 run, and give functions of this library."""

import pytest

import quatrefoil as qf
from ssm.switching import lines


def names_of(block):
    names = {}
    exec(lines("README.md", "### Switching from state-spaces/s4", 5)[block], names)
    return names


@pytest.mark.torch
def test_the_layer():
    pytest.importorskip("torch")
    from quatrefoil.torch import nn

    assert names_of(1)["S4D"] is nn.S4D


def test_the_kernels_of_the_large_layer():
    names = names_of(3)
    assert names["log_vandermonde_cuda"] is qf.ssm.log_vandermonde
    assert names["cauchy_mult"] is qf.ssm.cauchy_mult
