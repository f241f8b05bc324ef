"""``install`` if flash-linear-attention is installed: its registry sends CPU tensors to this library. The package here is a mock."""

import importlib
import importlib.util
import sys
from types import SimpleNamespace

import pytest

import quatrefoil as qf
from quatrefoil.ssm.models.dropin._upstream import VERSIONS

pytestmark = pytest.mark.skipif(any(importlib.util.find_spec(name) for name in VERSIONS), reason="the original packages are installed")

# The registry of fla 0.6, for named operations and for individual functions.
BACKENDS = """
import functools

class BaseBackend:
    implementation = verifier = None
    def get_implementation(self, name):
        return self.implementation or getattr(self, name, None)

operations, functions = {"gated_delta_rule": []}, {}

def register(entry_point, *, backend=None, verifier=None):
    def decorator(implementation):
        made = implementation() if isinstance(implementation, type) else backend()
        if not isinstance(implementation, type):
            made.implementation = implementation
        made.verifier = verifier
        (operations if isinstance(entry_point, str) else functions)[entry_point].append(made)
        return implementation
    return decorator

def dispatch(own, operation=None):
    @functools.wraps(own)
    def function(*args, **kwargs):
        for backend in candidates:
            found = backend.get_implementation(own.__name__)
            if backend.is_available() and found and backend.verifier(*args, **kwargs)[0]:
                return found(*args, **kwargs)
        return own(*args, **kwargs)
    candidates = operations[operation] if operation else functions.setdefault(function, [])
    return function
"""
OPS = """
from ..backends import dispatch

def own(name, *rest):
    def function(q, *args, **kwargs):
        return "Triton"
    function.__name__ = name
    return function

"""
FILES = {
    "__init__": "",
    "backends": BACKENDS,
    "ops/__init__": "from .gated_delta_rule import *\nfrom .simple_gla import *",
    "ops/gated_delta_rule": OPS + "chunk_gated_delta_rule = dispatch(own('chunk_gated_delta_rule'), 'gated_delta_rule')",
    "ops/simple_gla": OPS
    + "fused_recurrent_simple_gla = dispatch(own('fused_recurrent_simple_gla'))\nchunk_simple_gla = own('chunk_simple_gla')",
    "layers": "from .ops import chunk_simple_gla",
}


@pytest.fixture
def fla(mock_packages, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("transformers.models.")]:
        monkeypatch.delitem(sys.modules, name)  # models that look up functions which the mock lacks
    mock_packages({f"fla/{name}": source for name, source in FILES.items()})
    return importlib.import_module("fla.ops"), importlib.import_module("fla.layers")


def test_cpu_tensors_are_sent_to_this_library(fla, monkeypatch):
    ops, layers = fla
    names = ("chunk_gated_delta_rule", "fused_recurrent_simple_gla", "chunk_simple_gla")
    for name in names:
        monkeypatch.setattr(qf.ssm, name, lambda q, *args, **kwargs: "quatrefoil")
    before = [getattr(ops, name) for name in names]
    on_host, on_device = (SimpleNamespace(device=SimpleNamespace(type=kind)) for kind in ("cpu", "cuda"))
    for _ in range(2):
        assert [f(on_host) for f in before] == ["Triton"] * 3
        with qf.ssm.install("fla"):
            assert sys.modules["fla.ops"] is ops
            for module, name in [*((ops, name) for name in names), (layers, "chunk_simple_gla")]:
                assert getattr(module, name)(on_host) == getattr(module, name)(q=on_host) == "quatrefoil"
                assert getattr(module, name)(on_device) == "Triton"
        assert [getattr(ops, name) for name in names] == before
        assert layers.chunk_simple_gla(on_host) == "Triton"


def test_without_triton_fla_is_replaced(fla, tmp_path):
    ops, _ = fla
    (tmp_path / "fla" / "backends.py").write_text("import no_such_compiler")
    for name in [name for name in sys.modules if name.partition(".")[0] == "fla"]:
        del sys.modules[name]
    with pytest.warns(RuntimeWarning, match=r"ssm.install: fla is installed \(.*\) but .*no_such_compiler.*; quatrefoil replaces it"):
        qf.ssm.install("fla")
    assert sys.modules["fla.ops"] is not ops
    assert importlib.import_module("fla.ops").chunk_simple_gla is qf.ssm.chunk_simple_gla
    qf.ssm.uninstall()
    assert "fla.ops" not in sys.modules
