"""``install``: which modules are found, what is restored, and which targets raise errors. For models, see ``test_transformers.py``."""

import importlib
import importlib.util
import sys
import types

import numpy as np
import pytest

import quatrefoil as qf
from quatrefoil.ssm.models.dropin._upstream import MODULES, VERSIONS

pytestmark = pytest.mark.skipif(any(importlib.util.find_spec(name) for name in VERSIONS), reason="the original packages are installed")


def registered():
    return {name for name in sys.modules if name.partition(".")[0] in VERSIONS}


@pytest.fixture(autouse=True)
def _nothing_stays():
    finders = list(sys.meta_path)
    yield
    assert registered() == set()
    assert sys.meta_path == finders


def test_every_module_and_name_can_be_imported():
    for name in MODULES:
        print(name)
        with qf.ssm.install():
            module = importlib.import_module(name)
            assert importlib.util.find_spec(name).origin == "quatrefoil"
            for attribute, source in MODULES[name].items():
                if ":" not in source:
                    assert getattr(module, attribute) is getattr(qf.ssm, source)
                assert attribute in dir(module)
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(name)


def test_one_package_alone():
    for package in VERSIONS:
        print(package)
        with qf.ssm.install(package) as installed:
            assert {name.partition(".")[0] for name in registered()} == {package}
            assert sys.modules[package].__version__ == VERSIONS[package]
            assert repr(installed) == f"Installation({package})"
        assert repr(installed) == "Installation(undone)"


def test_missing_names_get_hints():
    with qf.ssm.install():
        for line, text in (
            ("from fla.ops import chunk_hgrn", r"fla\.ops\.chunk_hgrn is not provided by quatrefoil; fla\.ops has chunk_gated_delta_"),
            ("from mamba_ssm.ops.selective_scan_interface import selective_scan_ref", "not provided .*_interface has selective_scan_fn"),
            ("import mamba_ssm.models", r"mamba_ssm\.models is not provided by quatrefoil; complete models are in transformers"),
            ("from mamba_ssm.models.mixer_seq_simple import MambaLMHeadModel", "complete models are in transformers"),
            ("from mamba_ssm.ops.triton.layernorm_gated import LayerNorm", r"layernorm_gated has RMSNorm, rmsnorm_fn"),
            ("from mamba_ssm.ops.triton.layer_norm import RMSNorm", r"use torch\.nn\.RMSNorm"),
            ("from fla.layers import GatedLinearAttention", r"fla\.layers has DeltaNet, GatedDeltaNet, KimiDeltaAttention"),
            ("from fla.ops.gla import chunk_gla", r"fla\.ops\.simple_gla"),
        ):
            with pytest.raises(ModuleNotFoundError, match=text):
                exec(line)
        assert getattr(sys.modules["fla.ops"], "chunk_hgrn", None) is None
        with pytest.raises(AttributeError, match="quatrefoil's replacement and has no causal_conv1d_cuda; it has causal_conv1d_fn"):
            sys.modules["causal_conv1d"].causal_conv1d_cuda  # noqa: B018


def test_any_order_of_undoing():
    first, second = qf.ssm.install("fla"), qf.ssm.install()
    first.undo()
    first.undo()
    assert "fla" in sys.modules
    third = qf.ssm.install("causal_conv1d")
    second.undo()
    assert registered() == {name for name in MODULES if name.startswith("causal_conv1d")}
    third.undo()


def test_an_error_in_the_block_undoes_the_installation():
    with pytest.raises(ZeroDivisionError), qf.ssm.install():
        raise ZeroDivisionError
    assert registered() == set()


def test_unknown_target():
    with pytest.raises(ValueError, match=r"ssm\.install: target is 'mamba', expected one of 'mamba_ssm', 'causal_conv1d', 'fla', .*'s4'"):
        qf.ssm.install("causal_conv1d", "mamba")


def test_a_package_that_is_installed_is_left_alone(mock_packages):
    mock_packages({"causal_conv1d/__init__": "def causal_conv1d_fn(x):\n    return 'its own'\n", "causal_conv1d_cuda": ""})
    with pytest.raises(ImportError, match=r"causal_conv1d is already installed \(.*causal_conv1d.*\); .* override=True"):
        qf.ssm.install()
    assert registered() == set()
    real = importlib.import_module("causal_conv1d")
    with pytest.raises(ImportError, match="already installed"):
        qf.ssm.install("causal_conv1d")
    with qf.ssm.install("mamba_ssm"):
        assert sys.modules["causal_conv1d"] is real
    with qf.ssm.install(override=True):
        from causal_conv1d import causal_conv1d_fn

        assert causal_conv1d_fn is qf.ssm.causal_conv1d_fn
    assert sys.modules["causal_conv1d"] is real
    from causal_conv1d import causal_conv1d_fn

    assert causal_conv1d_fn(0) == "its own"
    del sys.modules["causal_conv1d"]


def test_a_package_that_cannot_run_is_replaced(mock_packages):
    """The pure Python wheel of mamba-ssm, whose functions call a missing extension."""
    mock_packages({"mamba_ssm/__init__": "def selective_scan_fn():\n    import selective_scan_cuda\n"})
    real = importlib.import_module("mamba_ssm")
    what = r"ssm\.install: mamba_ssm is installed \(.*mamba_ssm.*\) without selective_scan_cuda, so it cannot run; quatrefoil replaces it"
    with pytest.warns(RuntimeWarning, match=what):
        qf.ssm.install()
    from mamba_ssm import selective_scan_fn

    assert selective_scan_fn is qf.ssm.selective_scan_fn
    qf.ssm.uninstall()
    assert sys.modules.pop("mamba_ssm") is real


def test_uninstall():
    first, second = qf.ssm.install("fla"), qf.ssm.install()
    qf.ssm.uninstall()
    assert registered() == set()
    assert repr(first) == repr(second) == "Installation(undone)"
    second.undo()
    with qf.ssm.install("fla"):
        assert "fla" in sys.modules


S4_NAMES = ("cauchy_naive", "log_vandermonde_naive", "log_vandermonde_transpose_naive")
S4 = "has_pykeops = True\n" + "\n".join(f"def {name}(*arguments):\n    return 'loop'" for name in S4_NAMES)


@pytest.mark.parametrize("when", ["before", "within"])
def test_the_sums_of_s4(when, mock_packages):
    mock_packages({"models/s4/s4": S4})
    if when == "before":
        importlib.import_module("models.s4.s4")
    with qf.ssm.install("s4"):
        module = importlib.import_module("models.s4.s4")
        assert module.has_pykeops is False
        assert module.cauchy_naive is qf.ssm.cauchy_mult
        v, x = np.array([1.0 + 2j]), np.array([-0.5 + 1j])
        expected = 2 * (v[:, None] * np.exp(x[:, None] * np.arange(5))).sum(0).real
        np.testing.assert_allclose(module.log_vandermonde_naive(v, x, 5), expected)
    assert module.has_pykeops is True
    assert module.cauchy_naive() == module.log_vandermonde_naive() == module.log_vandermonde_transpose_naive() == "loop"


def test_a_different_module_of_the_same_name(monkeypatch):
    other = types.ModuleType("models.s4.s4")
    monkeypatch.setitem(sys.modules, "models.s4.s4", other)
    with pytest.raises(ImportError, match=r"models\.s4\.s4 lacks cauchy_naive, .* omit the target 's4'"):
        qf.ssm.install("s4")
    with qf.ssm.install("fla"):
        assert "fla" in sys.modules


@pytest.mark.torch
def test_the_blocks_of_mamba_ssm():
    pytest.importorskip("torch")
    from quatrefoil.torch import nn

    with qf.ssm.install("mamba_ssm"):
        from mamba_ssm import Mamba, Mamba2
        from mamba_ssm.modules.mamba2 import Mamba2 as inner

        assert (Mamba, Mamba2, inner) == (nn.Mamba, nn.Mamba2, nn.Mamba2)
