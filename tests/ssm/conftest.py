import inspect

import numpy as np
import pytest

import quatrefoil as qf


@pytest.fixture(params=["plain", "quatrefoil"])
def ops(request, monkeypatch):
    """The layers over plain loops in torch, and over quatrefoil's kernels: what is tested holds for both."""
    import torch

    from ssm.layers import NOUNS

    if request.param == "plain":
        for noun in NOUNS:
            for name, function in inspect.getmembers(noun, inspect.isfunction):
                if not name.startswith("_"):
                    monkeypatch.setattr(qf.ssm, name, function)
    torch.manual_seed(int(np.random.default_rng().integers(2**31)))
    print("torch seed:", torch.initial_seed())
    return request.param
