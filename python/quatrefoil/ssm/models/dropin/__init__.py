"""``install`` replaces functions of other packages, and loops in models, with functions of this library."""

from __future__ import annotations

import contextlib
import functools
import importlib.machinery
import importlib.util
import sys
import threading
from collections.abc import Callable, Sequence
from types import ModuleType, TracebackType
from typing import Any

from ...._warnings import warn
from . import _fla, _transformers
from ._upstream import EXTENSIONS, INSTEAD, MODULES, PATCHES, VERSIONS, resolve

TARGETS = (*VERSIONS, *PATCHES)

_lock = threading.RLock()
_installations: list[Installation] = []
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
            self.targets = ()
            _installations[:] = [other for other in _installations if other is not self]
            _settle()

    def __enter__(self) -> Installation:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.undo()

    def __repr__(self) -> str:
        return f"Installation({', '.join(self.targets) or 'undone'})"


def install(*targets: str, override: bool = False) -> Installation:
    """Make model code that needs CUDA packages run with this library on a CPU.

    Afterwards ``import mamba_ssm``, ``import causal_conv1d``, ``import fla`` and ``import flashfftconv`` find modules with the functions
    and layers of this library under the usual names. Models of ``transformers``, including existing ones, use them instead of their loops
    in PyTorch (docs/models.md lists the models). No files or weights change.

    Parameters
    ----------
    *targets : str
        By default, all of these. Packages to replace: "mamba_ssm", "causal_conv1d", "fla", "flashfftconv". Packages whose loops are
        replaced, even if already imported: "transformers" (RecurrentGemma, MiniMax), "mambapy" (its ``pscan``), "tsfm_public" (FlowState)
        and "s4", the layer of state-spaces/s4, ``models/s4/s4.py``.
    override : bool
        Also replace packages that are installed and can run, until undone. By default they raise an ImportError.

    Returns
    -------
    Installation
        Has a method ``undo()``, and can be used in a ``with`` statement. Installations may be nested, and undone in any order.

    Raises
    ------
    ValueError
        The target is unknown.
    ImportError
        A package is installed and can run, and ``override`` is False.

    Warns
    -----
    RuntimeWarning
        If a package is installed but cannot run, such as mamba-ssm without its CUDA extension; the stand-in then replaces it. Also once for
        each model of ``transformers`` that looks for functions without a stand-in and therefore keeps its own code; the warning names the
        functions and the tested releases.

    See Also
    --------
    uninstall : Undo all installations.

    Notes
    -----
    If flash-linear-attention is installed, no module is replaced: these functions become one of its backends for CPU tensors, through
    ``fla.backends.register``. The stand-ins contain only the functions of this library; any other name raises an ImportError that lists the
    available ones. ``mamba_ssm.Mamba`` and ``Mamba2`` come from ``quatrefoil.torch.nn``, which imports torch on first use. Some models
    of earlier releases of transformers choose their functions when they are created, so call ``install`` first. In training, models call
    the separate steps of ``mamba_inner_fn`` and ``mamba_split_conv1d_scan_combined``, because these two ignore padding. The results are
    then the same as without stand-ins.

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
                _check_replaceable(target)
        installed = Installation(chosen)
        _installations.append(installed)
        try:
            _settle()
        except BaseException:
            installed.undo()
            raise
    return installed


def uninstall() -> None:
    """Undo all installations by ``install`` that are still active.

    Examples
    --------
    >>> import quatrefoil as qf
    >>> installed = qf.ssm.install("causal_conv1d")
    >>> qf.ssm.uninstall()
    >>> installed
    Installation(undone)
    """
    with _lock:
        for installed in list(_installations):
            installed.undo()


def _settle() -> None:
    """Install and remove targets as requested, and make transformers repeat its lookups."""
    before = set(_undo)
    wanted = {target for installed in _installations for target in installed.targets}
    for target in TARGETS:
        if target in wanted and target not in _undo:
            _undo[target] = _put_in(target)
        elif target not in wanted and target in _undo:
            _undo.pop(target)()
    if before != set(_undo):
        others = [finder for finder in sys.meta_path if finder is not _Watcher]
        sys.meta_path[:] = [_Watcher, *others] if _undo else others
        _transformers.update_all([target for target in _undo if target in VERSIONS])


def _put_in(target: str) -> Callable[[], None]:
    """Install one target; returns a function that removes it."""
    if target in PATCHES:
        return _patch_imported(target)
    if target == "fla":
        with contextlib.suppress(ImportError):  # raised if the package cannot run
            if _fla.has_registry():
                return _fla.register()
    return _stand_in(target)


def _check_replaceable(package: str) -> None:
    """Raise ImportError if an installed package can run and has no registry for backends; warn if it cannot run."""
    module = sys.modules.get(package) or importlib.util.find_spec(package)
    if module is None:
        return
    where = getattr(module, "__file__", None) or getattr(module, "origin", None) or "unknown location"
    extension, reason = EXTENSIONS.get(package), None
    if extension and importlib.util.find_spec(extension) is None:
        reason = f"without {extension}, so it cannot run"
    if package == "fla":
        try:
            if _fla.has_registry():
                return
        except ImportError as error:
            reason = f"but cannot be imported: {error}"
    if reason:
        what = f"ssm.install: {package} is installed ({where}) {reason}; quatrefoil replaces it until undo()"
        warn(what)
        return
    fix = "pass only targets that are not installed, or override=True to replace it until undo()"
    raise ImportError(f"ssm.install: {package} is already installed ({where}); {fix}")


class _StandIn(ModuleType):
    """A module whose names are resolved on first use."""

    def __init__(self, name: str, names: dict[str, str]) -> None:
        super().__init__(name, f"quatrefoil's functions under the names of {name}; see quatrefoil.ssm.install.")
        self.__spec__ = importlib.machinery.ModuleSpec(name, None, origin="quatrefoil", is_package=True)
        self.__path__: list[str] = []
        self.__version__ = VERSIONS[name.partition(".")[0]]
        self.__all__ = [*names]
        self._names = names

    def __getattr__(self, name: str) -> Any:
        names = self.__dict__.get("_names", {})
        if name not in names:
            raise AttributeError(f"{self.__name__} is quatrefoil's replacement and has no {name}; it has {', '.join(names) or 'none'}")
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


_patched: list[tuple[str, Any, dict[str, Any]]] = []  # target, module or class, its original attributes


def _patch_imported(target: str) -> Callable[[], None]:
    """Patch the target's imported modules; ``_Watcher`` patches later imports."""
    for name in PATCHES[target]:
        if (module := sys.modules.get(name)) is not None:
            _patch(target, module)

    def undo() -> None:
        for _, holder, before in (patch for patch in _patched if patch[0] == target):
            for name, value in before.items():
                setattr(holder, name, value)
        _patched[:] = [patch for patch in _patched if patch[0] != target]

    return undo


def _patch(target: str, module: ModuleType) -> None:
    """Replace the attributes of one module, or of its classes; if one is missing, raise ImportError for s4, else warn."""
    ours: list[tuple[Any, str, Any]] = []
    missing = []
    for path, source in PATCHES[target][module.__name__].items():
        owner, _, name = path.rpartition(".")
        holder = getattr(module, owner, None) if owner else module
        if hasattr(holder, name):
            ours.append((holder, name, resolve(source)))
        else:
            missing.append(path)
    if missing and target == "s4":
        raise ImportError(f"ssm.install: {module.__name__} lacks {', '.join(missing)}, which state-spaces/s4 defines; omit the target 's4'")
    if missing:
        warn(f"ssm.install: {module.__name__} lacks {', '.join(missing)} and keeps its own code")
    for holder, name, value in ours:
        own = getattr(holder, name)
        if own is value and own is not False:  # imported from a module that is already patched
            own = next(before[name] for package, _, before in _patched if package == target and name in before)
        _patched.append((target, holder, {name: own}))
        setattr(holder, name, value)


class _Watcher:
    """A finder that delegates to the others and patches modules right after their import."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> importlib.machinery.ModuleSpec | None:
        after: list[Callable[[ModuleType], None]] = [
            functools.partial(_patch, package) for package, modules in PATCHES.items() if package in _undo and name in modules
        ]
        if _transformers.is_updated_module(name):
            after.append(_transformers.imported)
        if not after:
            if isinstance(sys.modules.get(name.partition(".")[0]), _StandIn):
                _raise_missing(name)
            return None
        for finder in sys.meta_path:
            find = None if finder is _Watcher else getattr(finder, "find_spec", None)
            spec: importlib.machinery.ModuleSpec | None = find(name, path, target) if find else None
            if spec is not None:
                if spec.loader is not None:
                    _run_after(spec.loader, after)
                return spec
        return None


def _raise_missing(name: str) -> None:
    """Raise ImportError for a module or name that a stand-in lacks: ``from a import b`` looks for a module a.b last."""
    parent, _, last = name.rpartition(".")
    if not last.startswith("_"):
        hint = INSTEAD.get(name) or f"{parent} has {', '.join(MODULES[parent]) or 'no functions'}"
        raise ModuleNotFoundError(f"{name} is not provided by quatrefoil; {hint}")  # with name=, the interpreter would replace the text


def _run_after(loader: Any, after: Sequence[Callable[[ModuleType], None]]) -> None:
    execute = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        execute(module)
        for change in after:
            change(module)

    loader.exec_module = exec_module
