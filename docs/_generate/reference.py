"""The reference: one page per public name, and one per family that lists its names by method. All text comes from the docstrings."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import quatrefoil as qf
from quatrefoil._public import exported_names

from . import methods

ROOT = Path(__file__).resolve().parents[2]
LAYERS = "quatrefoil.torch.nn"  # needs PyTorch, so its names are read from its source
BASES = "object, tuple, Generic, LinearOperator, Module"  # their members are documented elsewhere


def layers() -> list[str]:
    """The public names of ``quatrefoil.torch.nn``."""
    text = (Path(qf.__file__).parent / "torch" / "nn" / "__init__.py").read_text()
    return re.findall(r'"(\w+)"', re.search(r"^__all__ = \[(.*?)\]", text, re.M | re.S)[1])


def import_layers() -> None:
    """Import the layers, with stubs instead of PyTorch if it is not installed, so that they can be documented."""
    if importlib.util.find_spec("torch"):
        return

    class Stub(ModuleType):
        def __getattr__(self, name: str) -> type:
            if name.startswith("__"):
                raise AttributeError(name)
            return type(name, (), {"__module__": self.__name__})

    stubs = {name: Stub(name) for name in ("torch", "torch.nn", "torch.nn.functional")}
    stubs["torch"].nn, stubs["torch.nn"].functional = stubs["torch.nn"], stubs["torch.nn.functional"]
    sys.modules.update(stubs)
    try:
        importlib.import_module(LAYERS)
    finally:
        for name in stubs:
            del sys.modules[name]


@cache
def modules() -> dict[str, list[str]]:
    """Every public module with its public names: quatrefoil, its families, their modules (``cheb.orthopoly``), the layers."""
    public = {"quatrefoil": [n for n in qf.__all__ if not inspect.ismodule(getattr(qf, n))]}
    for family in (f"quatrefoil.{f}" for f in qf.FAMILIES):
        public[family] = list(importlib.import_module(family).__all__)
        for name in public[family]:
            if inspect.ismodule(module := getattr(importlib.import_module(family), name)):
                public[module.__name__] = list(module.__all__)
    return {**public, LAYERS: layers()}


def returned(family: str) -> list[str]:
    """Types that functions of a family return but users do not create: exported names that ``dir`` does not list."""
    listed = {n for module, names in modules().items() if module.startswith(family) for n in names}
    return [n for n in exported_names(importlib.import_module(family)) if n not in listed and not n.endswith("_vjp")]


def home(module: str, name: str) -> str:
    """The module that documents a name: the family, if both the family and one of its modules export it."""
    parent = module.rpartition(".")[0]
    return parent if name in modules().get(parent, ()) and parent != "quatrefoil" else module


def path_of(module: str, name: str) -> str:
    return f"reference/{module.removeprefix('quatrefoil').removeprefix('.').replace('.', '/') or 'general'}/{name}"


def readme_of(member: Any) -> str | None:
    """The folder in csrc whose equations a docstring cites: from the README that its module names, otherwise from its own folder."""
    module = member.__name__ if inspect.ismodule(member) else getattr(member, "__module__", "")
    if not module.startswith("quatrefoil."):
        return None
    if match := re.search(r"csrc/([\w/]+)/README\.md", importlib.import_module(module).__doc__ or ""):
        return match[1]
    parts = module.split(".")[1:]
    while parts and not (ROOT / "csrc" / "/".join(parts) / "README.md").is_file():
        parts.pop()
    return "/".join(parts) or None


def heading(text: str, line: str = "=") -> str:
    return f"{text}\n{line * len(text)}\n\n"


def summary(module: str, names: list[str]) -> str:
    rows = (n if home(module, n) == module else f"~{home(module, n)}.{n}" for n in names)
    return f".. currentmodule:: {module}\n\n.. autosummary::\n\n" + "".join(f"   {n}\n" for n in rows) + "\n"


def toctree(module: str, names: list[str]) -> str:
    own = [n for n in names if home(module, n) == module]
    return ".. toctree::\n   :hidden:\n\n" + "".join(f"   /{path_of(module, n)}\n" for n in own)


def page(module: str, name: str) -> str:
    """The page of one name."""
    layer = module == LAYERS
    thing = None if layer else getattr(importlib.import_module(module), name)
    text = heading(f"{module}.{name}".replace("quatrefoil.", "" if module != "quatrefoil" else "qf."))
    if inspect.ismodule(thing):
        names = modules()[thing.__name__]
        own = [n for n in names if home(thing.__name__, n) != module]
        text += f".. module:: {thing.__name__}\n\n{inspect.cleandoc(thing.__doc__)}\n\n{summary(thing.__name__, names)}"
        text += toctree(thing.__name__, own) if own else ""
    elif layer or inspect.isclass(thing):
        text += f".. currentmodule:: {module}\n\n.. autoclass:: {name}\n   :members:\n   :inherited-members: {BASES}\n"
        if not layer and any(getattr(vars(base).get("__call__"), "__doc__", None) for base in thing.__mro__):
            text += "   :special-members: __call__\n"
    elif callable(thing):
        text += f".. currentmodule:: {module}\n\n.. autofunction:: {name}\n"
        family = importlib.import_module(".".join(module.split(".")[:2]))
        if hasattr(family, f"{name}_vjp"):
            text += f"\n.. autofunction:: {family.__name__}.{name}_vjp\n"
    else:
        text += f".. py:data:: {module}.{name}\n\n   ``{thing!r}``\n"
    readme = "ssm" if layer else readme_of(thing)
    if readme:
        text += f"\nEquations, sources and limits: :doc:`{methods.title(readme)} </{methods.path_of(readme)}>`.\n"
    return text


def family_page(module: str) -> str:
    """The names of a family by method, in the order of its README."""
    family = module.removeprefix("quatrefoil.")
    groups: dict[str, list[str]] = {readme: [] for readme in methods.readmes(family)}
    names = modules()[module]
    for name in names:
        groups[readme_of(getattr(importlib.import_module(module), name)) or family].append(name)
    groups[family] = groups.pop(family)  # move to the end
    text = f"{heading(f'qf.{family}')}.. module:: {module}\n\n{methods.purpose(family)[0].upper()}{methods.purpose(family)[1:]}.\n\n"
    for readme, members in groups.items():
        if members:
            title = methods.title(readme) if readme != family else "Other functions"
            reason = f"For {methods.meant_for(readme)}. ".replace("`", "``") if methods.meant_for(readme) else ""
            text += f"{heading(title, '-')}{reason}:doc:`Derivation </{methods.path_of(readme)}>`.\n\n{summary(module, members)}"
    types = returned(module)
    if types:
        text += f"Functions return {', '.join(f':class:`{module}.{n}`' for n in types)}.\n\n"
    return text + toctree(module, names + types)


def plain_page(module: str, title: str, about: str) -> str:
    names = modules()[module]
    return f"{heading(title)}.. module:: {module}\n\n{about}\n\n{summary(module, names)}{toctree(module, names)}"


def pages() -> dict[str, str]:
    generated = {}
    for module, names in modules().items():
        own = [n for n in names if home(module, n) == module]
        own += returned(module) if module.removeprefix("quatrefoil.") in qf.FAMILIES else []
        generated.update({f"{path_of(module, n)}.rst": page(module, n) for n in own})
        if module.count(".") == 1:
            generated[f"{path_of(module, 'index')}.rst"] = family_page(module)
    about = "Layers with the parameter names of the original implementations, whose ``state_dict`` they load: "
    generated["reference/torch/nn/index.rst"] = plain_page(LAYERS, LAYERS, f"{about}``from quatrefoil.torch import nn``.")
    about = "Settings and the configuration in use."
    generated["reference/general/index.rst"] = plain_page("quatrefoil", "General", about)
    rows = "".join(f"   {name}/index\n" for name in (*qf.FAMILIES, "torch/nn", "general"))
    families = "".join(f":doc:`qf.{name} <{name}/index>`\n   {methods.purpose(name)}.\n" for name in qf.FAMILIES)
    generated["reference/index.rst"] = (
        f"{heading('Reference')}The :doc:`conventions` apply to every function.\n\n{families}\n"
        ":doc:`quatrefoil.torch.nn <torch/nn/index>`\n   PyTorch layers that load checkpoints of the original implementations.\n"
        f":doc:`quatrefoil <general/index>`\n   Settings and versions.\n\n.. toctree::\n   :hidden:\n\n   conventions\n{rows}"
    )
    return generated
