"""Updates the functions of CUDA packages in modules of transformers when stand-ins are installed or removed.

In recent releases each function of a model is a wrapper that looks up the package's function once, when it is defined. This module repeats
the lookup. In earlier releases a module stores the functions, or None, under their names, and checks their availability with
``is_mamba_ssm_available`` and similar functions. Its layers have a separate method for CUDA, which is then also called on a CPU.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

from ...._warnings import warn
from ._upstream import MODULES, TESTED_RELEASES

_MODELS = re.compile(r"transformers\.models\.\w+\.modeling_\w+|transformers_modules\..*modeling_\w+")
_CHECKS_MODULE = "transformers.utils.import_utils"
_PACKAGE_OF_CHECK = {  # availability check -> package
    "is_mamba_ssm_available": "mamba_ssm",
    "is_mamba_2_ssm_available": "mamba_ssm",
    "is_causal_conv1d_available": "causal_conv1d",
    "is_flash_linear_attention_available": "fla",
}
# These two ignore padding after the convolution, as in mamba-ssm. Without them a model calls their parts, which are also our kernels, and
# gives the same results as without stand-ins.
_FUSED = ("mamba_inner_fn", "mamba_split_conv1d_scan_combined")
# Functions that recognise packed sequences only by cu_seqlens, which not every model passes to them.
_PACKED_BY_BOUNDS = {"selective_scan_fn", "chunk_kda", "chunk_gated_delta_rule"}
# The free variables of a wrapper, and those that only recent releases have: they call the model's own function on other devices.
_VARIABLES = {"func_name", "package", "torch_function", "implementation", "applicable_params", "is_new_implementation"}
_DEVICE_VARIABLES = {"supported_devices", "get_input_device_type"}

_active: set[str] = set()  # packages with stand-ins
_warned: set[tuple[str, tuple[str, ...]]] = set()  # warnings issued: module and names
_checks: dict[str, tuple[Callable[[], bool], Callable[[], bool]]] = {}  # availability check -> transformers' own function, and ours


def is_updated_module(name: str) -> bool:
    return name == _CHECKS_MODULE or _MODELS.fullmatch(name) is not None


def update_all(active: Collection[str]) -> None:
    """Update every imported module of transformers after stand-ins were installed or removed."""
    gone = _active.difference(active)
    _active.clear()
    _active.update(active)
    if (checks := sys.modules.get(_CHECKS_MODULE)) is not None:
        imported(checks)
    if (hub := sys.modules.get("transformers.integrations.hub_kernels")) is not None:
        for package in (*gone, *_active):
            getattr(hub, "_KERNEL_MODULE_MAPPING", {}).pop(package.replace("_", "-"), None)
    for name, module in list(sys.modules.items()):
        if _MODELS.fullmatch(name) and isinstance(module, ModuleType):
            imported(module)


def imported(module: ModuleType) -> None:
    """Update one module of transformers, after its import or after stand-ins were installed or removed."""
    if module.__name__ == _CHECKS_MODULE:
        _replace_checks(module)
        return
    available: set[str] = set()
    missing: set[str] = set()
    unknown: set[str] = set()
    functions = list(wrappers(module))
    for wrapper in functions:
        unknown |= set(wrapper.__code__.co_freevars) - _VARIABLES - _DEVICE_VARIABLES
        name, package, replaced = _repeat_lookup(wrapper)
        (available if replaced or _root(package) not in _active else missing).add(name)
    if "causal_conv1d" in _active and available & _PACKED_BY_BOUNDS and "cu_seq_lens_q" not in _mentioned(module):
        _reject_packed(module, functions)
    if not available and not missing:
        available = _set_functions(module)
    requested = {name for name in _mentioned(module) & _MODULE_OF.keys() if name.islower() and _root(_MODULE_OF[name]) in _active}
    if _active:
        _warn_of(module, missing | requested - available, "looks up {} where quatrefoil provides no replacement, and keeps its own code")
        _warn_of(module, unknown, "may keep its own code, depending on {} in transformers.integrations.hub_kernels")


def _replace_checks(module: ModuleType) -> None:
    """Make transformers report packages with stand-ins as available, including in modules that imported the check."""
    for name, package in _PACKAGE_OF_CHECK.items():
        if name not in _checks and hasattr(module, name):
            own = getattr(module, name)
            _checks[name] = own, _extended_check(own, package)
    for holder in list(sys.modules.values()):
        if getattr(holder, "__name__", "").partition(".")[0] in ("transformers", "transformers_modules"):
            for name, (own, check) in _checks.items():
                if vars(holder).get(name) in (own, check):
                    vars(holder)[name] = check if _active else own


def _extended_check(own: Callable[[], bool], package: str) -> Callable[[], bool]:
    @functools.wraps(own)
    def check() -> bool:
        return package in _active or own()

    return check


def wrappers(module: ModuleType) -> Iterator[FunctionType]:
    """The functions of a model that wrap those of a package, below any decorators."""
    for value in map(_function_of, list(vars(module).values())):
        while isinstance(value, FunctionType):
            if set(value.__code__.co_freevars) >= _VARIABLES:
                yield value
                break
            value = getattr(value, "__wrapped__", None)


def _function_of(value: Any) -> Any:
    """The function inside a layer of Hugging Face's kernels package, which, if installed, puts each wrapper in a layer; else ``value``."""
    forward = getattr(type(value), "forward", None)
    if not isinstance(forward, FunctionType) or "func" not in forward.__code__.co_freevars:
        return value
    return dict(zip(forward.__code__.co_freevars, forward.__closure__ or ()))["func"].cell_contents


def _repeat_lookup(wrapper: FunctionType) -> tuple[str, str, bool]:
    """Let transformers decorate the model's own function again, and copy the new wrapper's closure to the old one.

    Returns the function's name, its package, and whether it differs from the model's own function.
    """
    cells = dict(zip(wrapper.__code__.co_freevars, wrapper.__closure__ or ()))
    name, package, own = (cells[v].cell_contents for v in ("func_name", "package", "torch_function"))
    if name in _FUSED and package in _active:
        closure: dict[str, Any] = {"implementation": _nothing, "applicable_params": (), "is_new_implementation": True}
    else:
        try:
            from transformers.integrations import hub_kernels

            fresh: Any = _function_of(hub_kernels.use_kernel_func_from_hub_with_fallback(name, package)(own))
            while fresh.__code__ is not wrapper.__code__:
                fresh = fresh.__wrapped__
        except (ImportError, AttributeError):  # another release defines it elsewhere
            return name, package, False
        closure = {name: cell.cell_contents for name, cell in zip(fresh.__code__.co_freevars, fresh.__closure__)}
    if "supported_devices" in cells and _root(package) in _active:
        closure["supported_devices"] = None  # every device, unlike the original package
    for variable, value in closure.items():
        cells[variable].cell_contents = value
    return name, package, closure["implementation"] is not own


def _reject_packed(module: ModuleType, wrappers: Iterable[FunctionType]) -> None:
    """Make a model raise an error for packed sequences, as without stand-ins: its convolution receives seq_idx, but its scan does not."""
    for wrapper in wrappers:
        cells = dict(zip(wrapper.__code__.co_freevars, wrapper.__closure__ or ()))
        if cells["func_name"].cell_contents == "causal_conv1d_fn":
            cells["implementation"].cell_contents = _unpacked(cells["implementation"].cell_contents, module.__name__)


def _unpacked(convolution: Any, model: str) -> Any:
    @functools.wraps(convolution)
    def causal_conv1d_fn(*arrays: Any, seq_idx: Any = None, **options: Any) -> Any:
        if seq_idx is not None:
            what = f"{model} separates packed sequences (seq_idx) in its convolution but not in its scan"
            raise ValueError(f"ssm.install: {what}; put each sequence in a separate row, padded with an attention_mask")
        return convolution(*arrays, **options)

    return causal_conv1d_fn


def _nothing(*arrays: Any) -> None:
    """Stands in for a fused function, so that the model calls its parts instead."""


def _set_functions(module: ModuleType) -> set[str]:
    """For a module of an earlier release, set its functions by name, and the method that its layers call on a CPU.

    Returns the names of the functions that the module uses from now on.
    """
    names_of = vars(module)
    layers = [v for v in names_of.values() if isinstance(v, type) and v.__module__ == module.__name__ and "cuda_kernels_forward" in vars(v)]
    used = {name for layer in layers for name in vars(layer)["cuda_kernels_forward"].__code__.co_names}
    names = {
        name: path for name, path in _MODULE_OF.items() if (name in names_of or name in used) and not _is_own(module, names_of.get(name))
    }
    for name, path in names.items():  # classes become None: models would create their parameters on a GPU
        names_of[name] = _current(path, name) if name.islower() else None
    if "_causal_conv1d_cache" in names_of:
        names_of["_causal_conv1d_cache"] = None  # so that the model looks it up again
    if "is_fast_path_available" in names_of:
        names_of["is_fast_path_available"] = all(names_of[name] is not None for name in names if name.islower())
    needed = [*names.items(), ("causal_conv1d_fn", "causal_conv1d")]  # a few modules look up the latter inside a function
    ready = bool(_active) and all(_current(path, name) is not None for name, path in needed if name.islower())
    for layer in layers:
        for name in {"slow_forward", "torch_forward"} & vars(layer).keys():
            slow = getattr(vars(layer)[name], "slow", vars(layer)[name])
            replaces = ready and not _warn_of_layer(layer, slow)
            setattr(layer, name, _either_way(slow, _trains(layer), names_of, names) if replaces else slow)
    return {name for name, path in (_MODULE_OF if layers else names).items() if _current(path, name) is not None}


# Function -> the innermost module that contains it.
_MODULE_OF = {
    name: module for module, names in MODULES.items() for name, source in names.items() if ":" not in source or name == "FusedRMSNormGated"
}


def _root(path: str) -> str:
    return path.partition(".")[0]


def _current(path: str, name: str) -> Any:
    """The current function under a name: ours, the package's own, or None if neither is available."""
    if not any(check() for requested, (_, check) in _checks.items() if _PACKAGE_OF_CHECK[requested] == _root(path)):
        return None
    with contextlib.suppress(ModuleNotFoundError):  # a layer needs PyTorch
        return getattr(importlib.import_module(path), name, None)
    return None


def _is_own(module: ModuleType, value: Any) -> bool:
    """Whether a model defines a function itself. No known release does so for a function of a package, except in a wrapper."""
    return isinstance(value, FunctionType) and value.__module__ == module.__name__


def _trains(layer: Any) -> bool:
    """Whether a layer's fused training function matches its loops. In FalconMamba it does not: the fused function normalises step sizes
    after their projection, the loops before it.
    """
    words = [c for c in layer.cuda_kernels_forward.__code__.co_consts if isinstance(c, tuple)]
    return not any("b_rms_weight" in names for names in words)


def _either_way(slow: Any, trains: bool, module: dict[str, Any], names: dict[str, str]) -> Any:
    """A layer's method for CPUs that calls the method for CUDA, whose functions are ours."""

    @functools.wraps(slow)
    def forward(self: Any, hidden_states: Any, *args: Any, **kwargs: Any) -> Any:
        import torch

        mask = kwargs.get("attention_mask", args[-1] if args else None)
        padded = isinstance(mask, torch.Tensor) and not bool(mask.all())
        differs = padded or not trains or getattr(self, "n_groups", 1) > 1  # fused functions ignore padding and normalise each group
        if (self.training and differs) or torch.compiler.is_compiling() or hidden_states.device.type != "cpu":
            return slow(self, hidden_states, *args, **kwargs)
        for name, path in names.items():  # the constructor of a layer may have set it to None since
            if module[name] is None and name.islower():
                module[name] = _current(path, name)
        return self.cuda_kernels_forward(hidden_states, *args, **kwargs)

    forward.slow = slow  # type: ignore[attr-defined]
    return forward


def _warn_of_layer(layer: Any, slow: Any) -> bool:
    """Whether a layer's method for CUDA cannot replace its loops; if so, warn once."""
    fast, loops = layer.cuda_kernels_forward.__code__.co_names, inspect.unwrap(slow).__code__.co_names
    if "cuda" in fast:
        reason = "enters torch.cuda"  # FalconH1 of 4.57
    elif "time_step_min" in loops and "time_step_min" not in fast:
        reason = "lacks the lower limit of the step sizes that its loops have"  # Zamba2 of 4.57
    else:
        return False
    if (layer.__qualname__, (reason,)) not in _warned:
        _warned.add((layer.__qualname__, (reason,)))
        what = f"{layer.__module__}.{layer.__qualname__} keeps its own loops, because its GPU method {reason}"
        warn(f"ssm.install: {what}; transformers 5.24 uses one method for both")
    return True


def _warn_of(module: ModuleType, names: Iterable[str], text: str) -> None:
    """Warn about names in a module, once for each combination; the warning lists the tested releases."""
    wanted = tuple(sorted(names))
    if not wanted or (module.__name__, wanted) in _warned:
        return
    _warned.add((module.__name__, wanted))
    release = getattr(sys.modules.get("transformers"), "__version__", "of an unknown release")
    known = f"{', '.join(TESTED_RELEASES[:-1])} and {TESTED_RELEASES[-1]}"
    warn(f"ssm.install: {module.__name__} {text.format(', '.join(wanted))}; transformers is {release}, and install was tested with {known}")


def _mentioned(module: ModuleType) -> set[str]:
    """The names in a module's code: globals, and names that its functions and methods call, import or look up by a string."""
    names = {name for name in vars(module) if not name.startswith("__")}
    for code in _codes(vars(module).values(), module.__name__):
        names.update(code.co_names)
        names.update(constant for constant in code.co_consts if isinstance(constant, str))
    return names


def _codes(values: Iterable[Any], home: str) -> Iterator[CodeType]:
    for value in values:
        if isinstance(value, type) and value.__module__ == home:
            yield from _codes(vars(value).values(), home)
        elif isinstance(value, FunctionType) and value.__module__ == home:
            yield from _nested(inspect.unwrap(value).__code__)


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _nested(constant)
