"""Backend "cuda" without a GPU: stand-ins for its extension modules report the devices."""

import types
import warnings

import pytest

from emu import build as emu_build
from quatrefoil import _backends
from quatrefoil._backends import cuda
from quatrefoil.ssm import OPS

SCAN = next(op for op in OPS if op.name == "linear_scan")
CARDS = {"Tesla T4": 75, "A10": 86, "H100": 90, "RTX 5090": 120}
SHIPPED = "80-real 90-real 100"


def module_of(*cards, archs=SHIPPED, version="1"):
    """A stand-in for an extension module on a machine with those cards."""
    return types.SimpleNamespace(
        version=version,
        archs=archs,
        device_count=lambda: len(cards),
        why_no_device=lambda: "" if cards else "cudaErrorInsufficientDriver",
        device_name=lambda at: cards[at],
        capability=lambda at: CARDS[cards[at]],
        ssm=types.SimpleNamespace(linear_scan=lambda *inputs: None),
    )


@pytest.fixture
def machine(monkeypatch):
    """A function that installs extension modules: quatrefoil's own by position, those of other distributions by name."""

    def forget():
        for function in (cuda.reason, cuda._lacks, cuda._module, _backends.warn_of_composing):
            function.cache_clear()

    def install(own=None, **others):
        modules = {} if own is None else {"quatrefoil": own}
        modules |= {f"quatrefoil-{name}": module for name, module in others.items()}
        monkeypatch.setattr(cuda, "_modules", lambda: modules)
        forget()

    monkeypatch.setattr(_backends, "_FORCED", None)
    monkeypatch.setattr(cuda.importlib.metadata, "version", lambda name: "1")
    yield install
    monkeypatch.undo()
    forget()


def backend_on(device):
    return _backends.kernel(SCAN, None, device)[0]


def test_the_architecture_of_each_device_is_checked(machine):
    machine(module_of("Tesla T4", "H100"))
    assert cuda.reason() is None  # one of the devices can run the kernels
    assert [backend_on("cuda:0"), backend_on("cuda:1")] == ["array", "cuda"]
    with pytest.raises(NotImplementedError, match=r"cuda: Tesla T4 \(sm_75\) cannot run the GPU kernels, .* 80-real, 90-real, 100"):
        _backends.kernel(SCAN, "cuda", "cuda:0")


def test_no_device_can_run_the_kernels(machine):
    machine(module_of("Tesla T4"))
    assert "Tesla T4 (sm_75)" in cuda.reason()
    assert cuda.device() is None
    assert backend_on("cuda:0") == "array"


@pytest.mark.parametrize(
    ("card", "archs", "runs"),
    [
        ("A10", "80-real", True),  # machine code runs within its major version
        ("A10", "89-real 90-real", False),
        ("H100", "80-real", False),
        ("H100", "80", True),  # PTX runs on all later devices
        ("RTX 5090", SHIPPED, True),
        ("RTX 5090", "100-real", False),
        ("A10", "120 86-real", True),
    ],
)
def test_architectures(card, archs, runs, machine):
    machine(module_of(card, archs=archs))
    assert (cuda.reason() is None) == runs
    assert backend_on("cuda:0") == ("cuda" if runs else "array")


def test_the_distribution_with_a_working_driver_is_used(machine):
    machine(cuda13=module_of(), cuda12=module_of("A10"))
    assert cuda.reason() is None
    assert cuda.device() == "A10 (sm_86)"
    machine(cuda13=module_of(), cuda12=module_of())
    assert cuda.reason() == "no GPU can be used: cudaErrorInsufficientDriver"


def test_a_distribution_of_another_version_is_not_used(machine):
    machine(cuda13=module_of("H100", version="2"))
    assert "quatrefoil-cuda13 has version 2, but quatrefoil has 1; install 'quatrefoil-cuda13==1'" in cuda.reason()
    assert backend_on("cuda:0") == "array"
    machine(module_of("H100", version="0"))  # this installation's own: its metadata may lag behind a build
    assert backend_on("cuda:0") == "cuda"


def test_one_warning_if_a_kernel_exists_and_is_not_used(machine):
    machine()
    with pytest.warns(RuntimeWarning, match=r"GPU kernels that this call does not use: .*pip install 'quatrefoil\[cuda13\]'"):
        assert backend_on("cuda:0") == "array"
    with warnings.catch_warnings(action="error"):
        assert backend_on("cuda:0") == "array"


def test_no_warning_without_a_reason(machine):
    machine(module_of("H100"))
    no_kernel = next(op for op in OPS if op.key not in cuda.KERNELS and not op.name.endswith("_vjp"))
    with warnings.catch_warnings(action="error"):
        assert backend_on("cuda:0") == "cuda"
        machine()
        assert _backends.kernel(SCAN, "array", "cuda:0")[0] == "array"  # requested
        assert backend_on("cpu") != "array"
        assert _backends.kernel(no_kernel, None, "cuda:0")[0] == "array"


def test_operations_with_kernels():
    ops = {f"{method.parent.name}.{name}" for method in emu_build.METHODS for name in emu_build.ops(method)}
    assert {name.removesuffix("_vjp") for name in ops} == cuda.KERNELS
