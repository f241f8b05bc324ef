"""What modules of transformers hold of CUDA packages, looked up again when stand-ins come and go.

In recent releases each function of a model is a wrapper that looked for the package's function when it was defined: the lookup is
repeated, and the wrapper gets what is found now. In earlier ones a module holds the functions or None under their names, asks
``is_mamba_ssm_available`` and its like for them, and its layers take them on CUDA only, by a method of their own: on a CPU they are made to
take that method.
"""

from __future__ import annotations

import functools
import importlib
import re
import sys
from collections.abc import Callable, Collection, Iterator
from types import FunctionType, ModuleType
from typing import Any

from ._missing import mentioned, warn_of
from ._upstream import MODULES

_MODELS = re.compile(r"transformers\.models\.\w+\.modeling_\w+|transformers_modules\..*modeling_\w+")
_QUESTIONS = "transformers.utils.import_utils"
_ASKED = {  # the function that asks, and for what
    "is_mamba_ssm_available": "mamba_ssm",
    "is_mamba_2_ssm_available": "mamba_ssm",
    "is_causal_conv1d_available": "causal_conv1d",
    "is_flash_linear_attention_available": "fla",
}
# These two forget which tokens are padding after the convolution, as upstream's do. A model that is told there is none takes their parts,
# which are our kernels too, and gives what it gives without stand-ins.
_FUSED = ("mamba_inner_fn", "mamba_split_conv1d_scan_combined")
_VARIABLES = {"func_name", "package", "torch_function", "implementation", "applicable_params", "is_new_implementation"}  # of a wrapper

_active: set[str] = set()  # packages that are stood in for
_answers: dict[str, tuple[Callable[[], bool], Callable[[], bool]]] = {}  # transformers' own, and ours


def concerns(name: str) -> bool:
    return name == _QUESTIONS or _MODELS.fullmatch(name) is not None


def look_again(active: Collection[str]) -> None:
    """After stand-ins came or went: every module of transformers that is imported finds what is there now."""
    gone = _active.difference(active)
    _active.clear()
    _active.update(active)
    if (questions := sys.modules.get(_QUESTIONS)) is not None:
        imported(questions)
    if (hub := sys.modules.get("transformers.integrations.hub_kernels")) is not None:
        for package in (*gone, *_active):
            getattr(hub, "_KERNEL_MODULE_MAPPING", {}).pop(package.replace("_", "-"), None)
    for name, module in list(sys.modules.items()):
        if _MODELS.fullmatch(name) and isinstance(module, ModuleType):
            imported(module)


def imported(module: ModuleType) -> None:
    """A module of transformers was imported while there are stand-ins, or before they came or went."""
    if module.__name__ == _QUESTIONS:
        _answer(module)
        return
    met: set[str] = set()
    unmet: set[str] = set()
    for wrapper in wrappers(module):
        name, package, took = _repeat_lookup(wrapper)
        (met if took or _root(package) not in _active else unmet).add(name)
    if not met and not unmet:
        met = _give_functions(module)
    asked = {name for name in mentioned(module) & _PLACES.keys() if name.islower() and _root(_PLACES[name]) in _active}
    if _active:
        warn_of(module, unmet | asked - met)


def _answer(module: ModuleType) -> None:
    """Whether a package is available: yes while there is a stand-in. Modules that have imported the question get the other one, too."""
    for name, package in _ASKED.items():
        if name not in _answers and hasattr(module, name):
            own = getattr(module, name)
            _answers[name] = own, _question(own, package)
    for holder in list(sys.modules.values()):
        if getattr(holder, "__name__", "").partition(".")[0] in ("transformers", "transformers_modules"):
            for name, (own, ask) in _answers.items():
                if vars(holder).get(name) in (own, ask):
                    vars(holder)[name] = ask if _active else own


def _question(own: Callable[[], bool], package: str) -> Callable[[], bool]:
    @functools.wraps(own)
    def ask() -> bool:
        return package in _active or own()

    return ask


def wrappers(module: ModuleType) -> Iterator[FunctionType]:
    """The functions of a model that stand for those of a package, under whatever decorators."""
    for value in list(vars(module).values()):
        while isinstance(value, FunctionType):
            if set(value.__code__.co_freevars) >= _VARIABLES:
                yield value
                break
            value = getattr(value, "__wrapped__", None)


def _repeat_lookup(wrapper: FunctionType) -> tuple[str, str, bool]:
    """Have transformers decorate the model's own function once more, and give the old wrapper what the new one found.

    Returns the name and the package that are looked for, and whether anything but the model's own function was found.
    """
    held = dict(zip(wrapper.__code__.co_freevars, wrapper.__closure__ or ()))
    name, package, own = (held[v].cell_contents for v in ("func_name", "package", "torch_function"))
    if name in _FUSED and package in _active:
        found: dict[str, Any] = {"implementation": _nothing, "applicable_params": (), "is_new_implementation": True}
    else:
        try:
            from transformers.integrations import hub_kernels

            fresh: Any = hub_kernels.use_kernel_func_from_hub_with_fallback(name, package)(own)
            while fresh.__code__ is not wrapper.__code__:
                fresh = fresh.__wrapped__
        except (ImportError, AttributeError):  # another release has it elsewhere
            return name, package, False
        found = {name: cell.cell_contents for name, cell in zip(fresh.__code__.co_freevars, fresh.__closure__)}
    for variable, value in found.items():
        held[variable].cell_contents = value
    return name, package, found["implementation"] is not own


def _nothing(*arrays: Any) -> None:
    """What a model's own version of a fused function returns: take the parts."""


def _give_functions(module: ModuleType) -> set[str]:
    """A module of an earlier release: its functions by name, whether they are all there, and its layers' way on a CPU.

    Returns the names of those that it takes from now on.
    """
    held = vars(module)
    layers = [v for v in held.values() if isinstance(v, type) and v.__module__ == module.__name__ and "cuda_kernels_forward" in vars(v)]
    used = {name for layer in layers for name in vars(layer)["cuda_kernels_forward"].__code__.co_names}
    names = {name: place for name, place in _PLACES.items() if (name in held or name in used) and not _is_own(module, held.get(name))}
    for name, place in names.items():
        held[name] = _found(place, name)
    if "_causal_conv1d_cache" in held:
        held["_causal_conv1d_cache"] = None  # looked for again
    if "is_fast_path_available" in held:
        held["is_fast_path_available"] = all(held[name] is not None for name in names if name.islower())
    due = [*names.items(), ("causal_conv1d_fn", "causal_conv1d")]  # a few modules look for the latter in a function
    ready = bool(_active) and all(_found(place, name) is not None for name, place in due if name.islower())
    for layer in layers:
        for name in {"slow_forward", "torch_forward"} & vars(layer).keys():
            slow = vars(layer)[name]
            setattr(layer, name, _either_way(slow, _trains(layer), held, names) if ready else getattr(slow, "slow", slow))
    return {name for name, place in (_PLACES if layers else names).items() if _found(place, name) is not None}


# A function -> the innermost module that has it.
_PLACES = {name: module for module, names in MODULES.items() for name, source in names.items() if ":" not in (source or "")}


def _root(place: str) -> str:
    """The package that a module is in."""
    return place.partition(".")[0]


def _found(place: str, name: str) -> Any:
    """What a name stands for now: ours, the package's own, or None where it is not available."""
    if not any(ask() for asked, (_, ask) in _answers.items() if _ASKED[asked] == _root(place)):
        return None
    return getattr(importlib.import_module(place), name, None)


def _is_own(module: ModuleType, value: Any) -> bool:
    """Whether a model has made a function itself: no release that is known does so under a package's name without a wrapper."""
    return isinstance(value, FunctionType) and value.__module__ == module.__name__


def _trains(layer: Any) -> bool:
    """Whether a layer's fused function in training computes what its loops do: FalconMamba's norms its steps after their projection, the
    loops before it."""
    words = [c for c in layer.cuda_kernels_forward.__code__.co_consts if isinstance(c, tuple)]
    return not any("b_rms_weight" in names for names in words)


def _either_way(slow: Any, trains: bool, held: dict[str, Any], names: dict[str, str]) -> Any:
    """A layer's method for CPUs that takes the one for CUDA where its functions are ours."""
    slow = getattr(slow, "slow", slow)

    @functools.wraps(slow)
    def forward(self: Any, hidden_states: Any, *args: Any, **kwargs: Any) -> Any:
        import torch

        mask = kwargs.get("attention_mask", args[-1] if args else None)
        padded = isinstance(mask, torch.Tensor) and not bool(mask.all())
        differs = padded or not trains or getattr(self, "n_groups", 1) > 1  # fused functions: no padding, a norm a group
        if (self.training and differs) or torch.compiler.is_compiling() or hidden_states.device.type != "cpu":
            return slow(self, hidden_states, *args, **kwargs)
        for name, place in names.items():  # a layer that was made meanwhile may have asked elsewhere, and put None
            if held[name] is None and name.islower():
                held[name] = _found(place, name)
        return self.cuda_kernels_forward(hidden_states, *args, **kwargs)

    forward.slow = slow  # type: ignore[attr-defined]
    return forward
