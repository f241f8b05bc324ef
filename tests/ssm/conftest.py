import inspect

import pytest

import quatrefoil as qf


@pytest.fixture(params=["plain", "quatrefoil"])
def ops(request, monkeypatch):
    """The layers over plain loops in torch, and over quatrefoil's kernels: what is tested holds for both."""
    from ssm.layers import NOUNS

    if request.param == "plain":
        for noun in NOUNS:
            for name, function in inspect.getmembers(noun, inspect.isfunction):
                if not name.startswith("_"):
                    monkeypatch.setattr(qf.ssm, name, function)
    return request.param
