"""packaging/kernels: it can be built and loaded from its local path; arguments and results of its layers."""

import importlib.util
import inspect
import json
import runpy
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

import quatrefoil as qf  # noqa: E402

pytestmark = pytest.mark.torch

BUILD = Path(__file__).resolve().parents[2] / "packaging" / "kernels" / "build.py"
FUSED = ("mamba_inner_fn", "mamba_split_conv1d_scan_combined")


@pytest.fixture
def kernel(tmp_path):
    """The built package, loaded by Hugging Face's ``kernels`` or, if that is not installed, by importlib."""
    variant = runpy.run_path(str(BUILD))["build"](tmp_path)
    metadata = json.loads((variant / "metadata.json").read_text())
    try:
        from kernels import get_local_kernel
    except ImportError:
        spec = importlib.util.spec_from_file_location(metadata["id"], variant / "__init__.py")
        sys.modules[metadata["id"]] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    else:
        module = get_local_kernel(tmp_path)
    yield module
    for name in [name for name in sys.modules if name.startswith(metadata["id"])]:
        del sys.modules[name]


def test_layers(kernel):
    layers = {name: layer for name, layer in vars(kernel.layers).items() if isinstance(layer, type)}
    assert set(layers) == {name for name in kernel.__all__ if name != "layers"} | {*FUSED}
    assert len(layers) == 11
    for name, layer in layers.items():
        assert layer.__init__ is torch.nn.Module.__init__
        assert name in FUSED or getattr(kernel, name) is getattr(qf.ssm, name)
    x, weight = torch.randn(2, 4, 9), torch.randn(4, 3)
    got = layers["causal_conv1d_fn"]()(x, weight, None, activation="silu", seq_idx=None, position_ids=None)
    torch.testing.assert_close(got, qf.ssm.causal_conv1d_fn(x, weight, activation="silu"), rtol=0, atol=0)
    assert layers["mamba_inner_fn"]()(x) is None


def test_signatures_are_those_of_the_models(kernel):
    """``kernels`` requires layers with as many arguments, of the same kinds, as the functions they replace."""
    pytest.importorskip("transformers")
    from quatrefoil.ssm.models.dropin._transformers import wrappers

    result = set()
    for name in ("mamba", "bamba", "qwen3_next", "kimi_linear"):
        if importlib.util.find_spec(f"transformers.models.{name}") is None:
            continue  # a different release
        for wrapper in wrappers(importlib.import_module(f"transformers.models.{name}.modeling_{name}")):
            function = dict(zip(wrapper.__code__.co_freevars, wrapper.__closure__))["func_name"].cell_contents
            ours = [*inspect.signature(getattr(kernel.layers, function).forward).parameters.values()][1:]
            theirs = [*inspect.signature(wrapper).parameters.values()]
            assert [p.kind for p in ours] == [p.kind for p in theirs], function
            assert [p.name for p in ours[:-1]] == [p.name for p in theirs[:-1]], function
            result.add(function)
    assert not result or len(result) == 11
