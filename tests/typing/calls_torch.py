"""Typical calls with tensors; see calls.py."""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from typing import assert_type

import numpy as np
import torch
from torch import Tensor

import quatrefoil as qf


def tensors() -> None:
    u, k = torch.rand(2, 3, 16), torch.rand(3, 16)
    dt, A = torch.rand(3), torch.rand(3, 4, dtype=torch.complex64) - 1
    assert_type(qf.ssm.fft_conv(u, k), Tensor)
    assert_type(qf.ssm.fft_conv(u, torch.nn.Parameter(k)), Tensor)
    assert_type(qf.ssm.log_vandermonde(A, A, 16), Tensor)
    assert_type(qf.ssm.s4d_conv(u, dt, A, A, return_state=True), tuple[Tensor, Tensor])
    assert_type(qf.ssm.selective_scan_fn(u.half(), u.half(), -k[:, :4], k[:, :4], k[:, :4]), Tensor)
    K = qf.kron.KroneckerOperator([torch.eye(2), torch.ones(3, 3)])
    assert_type(K @ torch.rand(6), Tensor)
    assert_type(K.matvec(torch.rand(6)), Tensor)
    assert_type(K.solve(torch.rand(6), noise=torch.tensor(0.1)), Tensor)
    assert_type(qf.cheb.tucker(k, tol=1e-3), qf.cheb.TuckerTensor[Tensor])
    result = qf.wos.solve(qf.wos.Ball((0.5, 0.5), 1.0), torch.rand(4, 2), dirichlet=1.0, walks=8, rng=0)
    assert_type(result.value, Tensor)


def mixed() -> None:
    """Arguments of two libraries: mypy finds no common type, and pyright reports that the result may have either type."""
    y = qf.ssm.fft_conv(torch.rand(2, 3, 16), np.zeros((3, 16), np.float32))
    y.backward()  # type: ignore[attr-defined]


TYPICAL = (tensors,)
