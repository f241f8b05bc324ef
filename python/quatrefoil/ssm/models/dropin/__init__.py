"""``install``: puts this library's functions in place of those of mamba-ssm, causal-conv1d, flash-linear-attention and S4."""

from __future__ import annotations

import importlib.machinery
import importlib.metadata
import importlib.util
import sys
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from types import ModuleType, TracebackType
from typing import Any

from . import _transformers
from ._upstream import INSTEAD, MODULES, S4_MODULES, S4_NAMES, VERSIONS, resolve

TARGETS = (*VERSIONS, "s4")

_lock = threading.RLock()
_wanted: Counter[str] = Counter()  # installations per target
_undo: dict[str, Callable[[], None]] = {}  # removes each installed target


class Installation:
    """The result of ``install``: ``undo()``, or the end of a ``with`` block, removes it.

    Examples
    --------
    >>> import quatrefoil as qf
    >>> installed = qf.ssm.install("causal_conv1d")
    >>> from causal_conv1d import causal_conv1d_update
    >>> installed.undo()
    >>> causal_conv1d_update is qf.ssm.causal_conv1d_update
    True
    """

    def __init__(self, targets: tuple[str, ...]) -> None:
        self.targets: tuple[str, ...] = targets

    def undo(self) -> None:
        """Restore everything, except targets of other installations. A second call does nothing."""
        with _lock:
            targets, self.targets = self.targets, ()
            _wanted.subtract(targets)
            _settle()

    def __enter__(self) -> Installation:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.undo()

    def __repr__(self) -> str:
        return f"Installation({', '.join(self.targets) or 'undone'})"


def install(*targets: str, override: bool = False) -> Installation:
    """Make model code for CUDA packages use this library's functions on a CPU.

    Afterwards ``import mamba_ssm``, ``import causal_conv1d`` and ``import fla`` find modules with the functions of this library under the
    usual names. Models of ``transformers`` (Mamba, Mamba-2, FalconMamba, Bamba, Jamba, Zamba, Qwen3-Next and others) use them instead of
    their loops in PyTorch, including existing models. No file or weight changes.

    Parameters
    ----------
    *targets : "mamba_ssm", "causal_conv1d", "fla" or "s4"
        The packages to stand in for; by default all. "s4" is the layer of state-spaces/s4, ``models/s4/s4.py``, imported before or after.
    override : bool
        Also stand in for packages that are installed, until undone; otherwise they are an ImportError.

    Returns
    -------
    Installation
        With ``undo()``, and usable in ``with``. Installations may be nested, and undone in any order.

    Raises
    ------
    ValueError
        An unknown target.
    ImportError
        A package that is really installed, without ``override``.

    Warns
    -----
    RuntimeWarning
        Once for a model of ``transformers`` that looks for functions without a stand-in and so keeps its own code; names the functions and
        the tested releases.

    Notes
    -----
    The stand-ins have the functions of this library; any other name is an ImportError that says what there is. ``mamba_ssm.Mamba`` and
    ``Mamba2`` are those of ``quatrefoil.torch.nn``, which imports torch on first use. Some models of earlier releases of transformers
    choose their functions when they are created: install first. In training, models call the parts of ``mamba_inner_fn`` and
    ``mamba_split_conv1d_scan_combined``, which ignore padding, and so give the same results as without stand-ins.

    Examples
    --------
    >>> import quatrefoil as qf
    >>> with qf.ssm.install("causal_conv1d"):
    ...     from causal_conv1d import causal_conv1d_fn
    >>> causal_conv1d_fn is qf.ssm.causal_conv1d_fn
    True
    """
    for target in targets:
        if target not in TARGETS:
            raise ValueError(f"ssm.install: target is {target!r}, expected one of {', '.join(map(repr, TARGETS))}")
    chosen = tuple(dict.fromkeys(targets)) or TARGETS
    with _lock:
        for target in chosen:
            if target in VERSIONS and target not in _undo and not override:
                _check_absent(target)
        _wanted.update(chosen)
        installed = Installation(chosen)
        try:
            _settle()
        except BaseException:
            installed.undo()
            raise
    return installed


def _settle() -> None:
    """Install and remove targets as wanted, and make transformers look again."""
    before = set(_undo)
    for target in TARGETS:
        if _wanted[target] > 0 and target not in _undo:
            _undo[target] = _patch_s4() if target == "s4" else _stand_in(target)
        elif _wanted[target] <= 0 and target in _undo:
            _undo.pop(target)()
    if before != set(_undo):
        others = [finder for finder in sys.meta_path if finder is not _Watcher]
        sys.meta_path[:] = [_Watcher, *others] if _undo else others
        _transformers.look_again([target for target in _undo if target in VERSIONS])


def _check_absent(package: str) -> None:
    module = sys.modules.get(package) or importlib.util.find_spec(package)
    if module is None:
        return
    where = getattr(module, "__file__", None) or getattr(module, "origin", None) or "unknown place"
    cure = "name the targets that are not, or pass override=True to stand in for it until undone"
    raise ImportError(f"ssm.install: {package} is installed already ({where}); {cure}")


class _StandIn(ModuleType):
    """A module whose names are resolved on first use."""

    def __init__(self, name: str, names: dict[str, str | None]) -> None:
        super().__init__(name, f"quatrefoil's functions under the names of {name}; see quatrefoil.ssm.install.")
        self.__spec__ = importlib.machinery.ModuleSpec(name, None, origin="quatrefoil", is_package=True)
        self.__path__: list[str] = []
        self.__version__ = VERSIONS[name.partition(".")[0]]
        self.__all__ = [*names]
        self._names = names

    def __getattr__(self, name: str) -> Any:
        names = self.__dict__.get("_names", {})
        if name not in names:
            raise AttributeError(f"{self.__name__} is a stand-in by quatrefoil, which has no {name}; it has {', '.join(names) or 'none'}")
        value = resolve(names[name])
        setattr(self, name, value)
        return value

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._names})


def _stand_in(package: str) -> Callable[[], None]:
    """Put the package's modules into sys.modules; returns a function that restores the previous ones."""
    before = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == package}
    for name in before:
        del sys.modules[name]
    for name, names in MODULES.items():
        if name.partition(".")[0] == package:
            sys.modules[name] = module = _StandIn(name, names)
            parent, _, last = name.rpartition(".")
            if parent:
                setattr(sys.modules[parent], last, module)

    def undo() -> None:
        for name in [name for name in sys.modules if name.partition(".")[0] == package]:
            del sys.modules[name]
        sys.modules.update(before)

    return undo


def _patch_s4() -> Callable[[], None]:
    """Patch the sums in the imported modules of S4; ``_Watcher`` patches later imports."""
    for name in S4_MODULES:
        if (module := sys.modules.get(name)) is not None:
            _patch_sums(module)

    def undo() -> None:
        while _patched:
            module, before = _patched.pop()
            vars(module).update(before)

    return undo


_patched: list[tuple[ModuleType, dict[str, Any]]] = []  # modules of S4 with our sums, and their own


def _patch_sums(module: ModuleType) -> None:
    missing = [name for name in (*S4_NAMES, "has_pykeops") if not hasattr(module, name)]
    if missing:
        raise ImportError(f"ssm.install: {module.__name__} has no {', '.join(missing)}, as state-spaces/s4 has; leave the target 's4' out")
    _patched.append((module, {name: getattr(module, name) for name in (*S4_NAMES, "has_pykeops")}))
    vars(module).update({name: resolve(source) for name, source in S4_NAMES.items()}, has_pykeops=False)


class _Watcher:
    """A finder that delegates to the others and patches modules right after their import."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> importlib.machinery.ModuleSpec | None:
        if name in S4_MODULES:
            after: Callable[[ModuleType], None] = _patch_sums
        elif _transformers.concerns(name):
            after = _transformers.imported
        elif name.partition(".")[0] in VERSIONS and name.partition(".")[0] in _undo:
            _refuse(name)
            return None
        else:
            return None
        for finder in sys.meta_path:
            find = None if finder is _Watcher else getattr(finder, "find_spec", None)
            spec: importlib.machinery.ModuleSpec | None = find(name, path, target) if find else None
            if spec is not None:
                if spec.loader is not None:
                    _run_after(spec.loader, after)
                return spec
        return None


def _refuse(name: str) -> None:
    """An ImportError for a module, or a name of one, that a stand-in lacks: ``from a import b`` looks for a module a.b in the end."""
    parent, _, last = name.rpartition(".")
    if not last.startswith("_"):
        hint = INSTEAD.get(name) or f"{parent} has {', '.join(MODULES[parent]) or 'no functions'}"
        raise ModuleNotFoundError(f"{name} is not provided by quatrefoil; {hint}")  # with a name the interpreter would replace the text


def _run_after(loader: Any, after: Callable[[ModuleType], None]) -> None:
    execute = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        execute(module)
        after(module)

    loader.exec_module = exec_module
