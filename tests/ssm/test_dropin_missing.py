"""``install`` with releases of transformers that import functions from other places: one warning says so. The releases are mocks."""

import contextlib
import importlib
import importlib.util
import sys
import warnings

import pytest

import quatrefoil as qf
from quatrefoil.ssm.models.dropin import _transformers
from quatrefoil.ssm.models.dropin._upstream import TESTED_RELEASES, VERSIONS

pytestmark = pytest.mark.skipif(any(importlib.util.find_spec(name) for name in VERSIONS), reason="the original packages are installed")

CHECKS = "".join(f"def {name}():\n    return False\n" for name in _transformers._PACKAGE_OF_CHECK)
HUB = """
import importlib

def layer(func):  # as the package kernels does, if it is installed
    class Func:
        def forward(self, *arguments):
            return func(*arguments)
    return Func()

def use_kernel_func_from_hub_with_fallback(func_name, package):
    is_new_implementation, applicable_params, implementation = True, (), None
    def decorator(torch_function):
        nonlocal implementation, is_new_implementation
        try:
            implementation = getattr(importlib.import_module(package), func_name)
        except (ImportError, AttributeError):
            implementation = torch_function
        def wrapped(*arguments):
            return implementation, func_name, package, torch_function, applicable_params, is_new_implementation
        return layer(wrapped) if func_name == "selective_state_update" else wrapped
    return decorator
"""
# A decorator that also depends on the device of the inputs, as in 5.25: a CPU gets the model's own function.
HUB_BY_DEVICE = """
import importlib

def use_kernel_func_from_hub_with_fallback(func_name, package):
    def get_input_device_type():
        return "cpu"
    def decorator(torch_function):
        try:
            implementation = getattr(importlib.import_module(package), func_name)
        except (ImportError, AttributeError):
            implementation = torch_function
        is_new_implementation, applicable_params = implementation is not torch_function, ()
        supported_devices = ("cuda",) if is_new_implementation else None
        def wrapped():
            if supported_devices is not None and get_input_device_type() not in supported_devices:
                return torch_function
            return implementation, func_name, package, applicable_params, is_new_implementation
        return wrapped
    return decorator
"""
# A model's source, and the names in the warning.
MODELS = {
    "by_a_wrapper": (
        "from ..hub import use_kernel_func_from_hub_with_fallback\n"
        "@use_kernel_func_from_hub_with_fallback('selective_scan_fn', 'mamba_ssm')\ndef scan(): pass\n"
        "def forward(): return scan()",
        (),
    ),
    "no_such_name": (
        "from ..hub import use_kernel_func_from_hub_with_fallback\n"
        "@use_kernel_func_from_hub_with_fallback('chunk_kda', 'fla')\ndef kda(): pass\n"
        "@use_kernel_func_from_hub_with_fallback('causal_conv1d_fn', 'causal_conv1d')\ndef conv(): pass",
        ("chunk_kda",),
    ),
    "no_such_place": (
        "from ..hub import use_kernel_func_from_hub_with_fallback\n"
        "@use_kernel_func_from_hub_with_fallback('selective_scan_fn', 'mamba_ssm.kernels')\ndef scan(): pass\n"
        "def forward(): return getattr(kernels, 'selective_scan_fn')",
        ("selective_scan_fn",),
    ),
    "its_own": ("def selective_scan_fn(): return 'loop'\ndef forward(): return selective_scan_fn()", ("selective_scan_fn",)),
    "in_a_method": (
        "class Mixer:\n    def forward(self, kernels):\n"
        "        return [getattr(kernels, name) for name in map(str, [0])] or getattr(kernels, 'chunk_gated_delta_rule')",
        ("chunk_gated_delta_rule",),
    ),
    "in_a_closure": (
        "def load():\n    def found():\n        from kernels import mamba_chunk_scan_combined, causal_conv1d_fn\n"
        "        return mamba_chunk_scan_combined, causal_conv1d_fn\n    return found",
        ("causal_conv1d_fn", "mamba_chunk_scan_combined"),
    ),
    "as_before": ("try:\n    from mamba_ssm import selective_scan_fn\nexcept ImportError:\n    selective_scan_fn = None", ()),
    "layers_as_before": (
        "class Mixer:\n    def cuda_kernels_forward(self, x): return find('selective_scan_fn')\n"
        "    def slow_forward(self, x): return 'loop'",
        (),
    ),
    "in_a_layer": (
        "from ..hub import use_kernel_func_from_hub_with_fallback\n"
        "@use_kernel_func_from_hub_with_fallback('selective_state_update', 'mamba_ssm.ops.triton.selective_state_update')\n"
        "def update(): pass",
        (),
    ),
    "others": ("def attention(q, k, v): return q\nselective = 'selective_scan'", ()),
}  # fmt: skip


# Layers whose method for GPUs gives different results from their loops, and why.
OTHERWISE = {
    "gpu_only": (
        "class Mixer:\n    def cuda_kernels_forward(self, x):\n        with torch.cuda.device(0): return find('selective_scan_fn')\n"
        "    def slow_forward(self, x): return 'loop'",
        "enters torch.cuda",
    ),
    "limited": (
        "class Mixer:\n    def cuda_kernels_forward(self, x): return find('selective_scan_fn')\n"
        "    def slow_forward(self, x): return x.clamp(self.time_step_min)",
        "lacks the lower limit of the step sizes",
    ),
}


@pytest.fixture
def release(mock_packages, monkeypatch):
    """Make a mock transformers 9.9 the only one that can be imported; return a function from model names to module names."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "transformers"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(_transformers, "_checks", {})
    monkeypatch.setattr(_transformers, "_warned", set())
    files = {"__init__": "__version__ = '9.9.0'", "utils/__init__": "", "utils/import_utils": CHECKS, "models/__init__": ""}
    files |= {"integrations/__init__": "", "integrations/hub_kernels": HUB, "models/hub": "from ..integrations.hub_kernels import *"}
    for name, (source, _) in {**MODELS, **OTHERWISE}.items():
        files |= {f"models/{name}/__init__": "", f"models/{name}/modeling_{name}": source}
    mock_packages({f"transformers/{name}": source.replace("..hub", "transformers.models.hub") for name, source in files.items()})
    importlib.import_module("transformers.utils.import_utils")
    return lambda name: f"transformers.models.{name}.modeling_{name}"


def warnings_of(modules, *targets):
    """The warnings issued while modules are imported with stand-ins installed."""
    with warnings.catch_warnings(record=True) as result:
        warnings.simplefilter("always")
        with qf.ssm.install(*targets):
            for module in modules:
                importlib.import_module(module)
    return [str(w.message) for w in result if issubclass(w.category, RuntimeWarning)]


def text(module, names):
    known = f"{', '.join(TESTED_RELEASES[:-1])} and {TESTED_RELEASES[-1]}"
    return (
        f"ssm.install: {module} looks up {', '.join(names)} where quatrefoil provides no replacement, and keeps its own code; "
        f"transformers is 9.9.0, and install was tested with {known}"
    )


def test_functions_in_layers_of_hugging_faces_kernels(release):
    module = importlib.import_module(release("in_a_layer"))
    own = module.update.forward()[0]
    with qf.ssm.install():
        assert module.update.forward()[0] is qf.ssm.selective_state_update
    assert module.update.forward()[0] is own


@pytest.mark.parametrize("variable", ["supported_devices", "supported_architectures"])
@pytest.mark.parametrize("when", ["before", "within"])
def test_functions_that_depend_on_the_device(release, monkeypatch, mock_packages, variable, when):
    """A restriction to other devices is lifted, or, under a name that is not known, the subject of a warning."""
    source = HUB_BY_DEVICE.replace("supported_devices", variable)
    mock_packages({"transformers/integrations/hub_kernels": source})
    name = release("by_a_wrapper")
    if when == "before":
        importlib.import_module(name)
    known = variable == "supported_devices"
    expected = f"{name} may keep its own code, depending on {variable} in transformers.integrations.hub_kernels"
    with contextlib.nullcontext() if known else pytest.warns(RuntimeWarning, match=expected), qf.ssm.install():
        scan = importlib.import_module(name).scan
        if known:
            assert scan()[0] is qf.ssm.selective_scan_fn
    assert scan()[0].__module__ == name


@pytest.mark.parametrize("name", OTHERWISE)
def test_layers_with_a_different_method_for_gpus_keep_their_loops(release, name):
    """Like FalconH1 and Zamba2 in 4.57: the first raised an error on a CPU, the second gave different values."""
    module = importlib.import_module(release(name))
    slow = module.Mixer.slow_forward
    with pytest.warns(RuntimeWarning, match=f"Mixer keeps its own loops, because .* {OTHERWISE[name][1]}"), qf.ssm.install():
        assert module.Mixer.slow_forward is slow
    assert warnings_of([release(name)]) == []


@pytest.mark.parametrize("when", ["before", "within"])
def test_one_warning_for_functions_that_are_not_replaced(release, when):
    for name, (_, expected) in MODELS.items():
        print(name)
        module = release(name)
        if when == "before":
            importlib.import_module(module)
        assert warnings_of([module]) == ([text(module, expected)] if expected else [])
        assert warnings_of([module]) == []


def test_no_warning_for_packages_that_are_not_replaced(release):
    assert warnings_of(map(release, ("its_own", "no_such_place", "in_a_method")), "causal_conv1d") == []


def test_a_release_with_other_checks(release, monkeypatch):
    """Without these checks it is unknown whether a model may receive the functions."""
    checks = sys.modules["transformers.utils.import_utils"]
    for name in _transformers._PACKAGE_OF_CHECK:
        monkeypatch.delattr(checks, name)
    module = release("as_before")
    assert warnings_of([module]) == [text(module, ["selective_scan_fn"])]
