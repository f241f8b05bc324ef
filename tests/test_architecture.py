"""The house rules: which file may use which, what a family consists of, what the compiled objects may share."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import quatrefoil as qf

ROOT = Path(__file__).resolve().parent.parent
CSRC, PYTHON = ROOT / "csrc", ROOT / "python" / "quatrefoil"

# What a family has beside its nouns.
FAMILY_FILES = [
    "csrc/{family}/README.md",
    "python/quatrefoil/{family}/__init__.py",
    "python/quatrefoil/demo/{family}.py",
]
FAMILY_LINES = {
    "CMakeLists.txt": r"\b{family}\b",
    "csrc/py/module.cpp": r"X\({family}\)",
    "python/quatrefoil/__init__.py": r"^from \. import .*\b{family}\b.*# isort: skip",
}
# What a noun with kernels has, and in the tests where it has ops in the table.
NOUN_FILES = ["python/quatrefoil/{family}/{noun}/__init__.py", "python/quatrefoil/{family}/{noun}/_numba.py"]
TABLE_FILES = ["tests/{family}/{noun}/cases.py", "tests/{family}/{noun}/oracle.py", "tests/{family}/{noun}/test_{noun}.py"]

STANDARD_HEADERS = {"cstddef", "cstdint", "type_traits", "utility", "immintrin.h"}
FORMULA_NAMES = ("hd", "lanes", "elementary", "cplx", "philox")
CORE_NAMES = (*FORMULA_NAMES, "cache", "fft", "fft_leaf", "fft_tree", "right_angle", "gemm", "memory", "parallel", "rows")
CORE_FOR_KERNELS = {f"core/{n}.hpp" for n in CORE_NAMES}
CORE_FOR_FORMULAS = {f"core/{n}.hpp" for n in FORMULA_NAMES}


def includes(path):
    return set(re.findall(r'^\s*#\s*include\s+[<"]([^>"]+)[>"]', path.read_text(), re.M))


def sources(family):
    return sorted((CSRC / family).glob("*.[ch]pp"))


def layer(path):
    """formula, args and bind by their names; every other file of a family is a part of cpu."""
    stem = path.stem.partition("_")[0]
    return stem if stem in ("formula", "args", "bind") else "cpu"


@pytest.mark.parametrize("family", qf.FAMILIES)
def test_family_has_its_files_and_lines(family):
    assert [f for f in FAMILY_FILES if not (ROOT / f.format(family=family)).is_file()] == []
    for file, pattern in FAMILY_LINES.items():
        assert re.search(pattern.format(family=family), (ROOT / file).read_text(), re.M), file
    with_ops = {op.noun for op in getattr(qf, family).OPS}
    for folder in (PYTHON / family).iterdir():
        if (folder / "__init__.py").is_file():
            files = NOUN_FILES + (TABLE_FILES if folder.name in with_ops else [])
            assert [f for f in files if not (ROOT / f.format(family=family, noun=folder.name)).is_file()] == []


@pytest.mark.parametrize("family", qf.FAMILIES)
def test_cpp_layers(family):
    names = {f"{family}/{p.name}": layer(p) for p in sources(family)}
    may_use = {"formula": {"formula"}, "args": {"args"}, "cpu": {"formula", "args", "cpu"}, "bind": {"args", "bind"}}
    core = {"formula": CORE_FOR_FORMULAS, "args": {"core/cplx.hpp", "core/rows.hpp"}, "cpu": CORE_FOR_KERNELS}
    for path in sources(family):
        mine = layer(path)
        used = includes(path)
        assert {u for u in used if u.startswith(f"{family}/")} <= {n for n, of in names.items() if of in may_use[mine]}, path
        assert not [u for u in used if u.partition("/")[0] in set(qf.FAMILIES) - {family}], f"{path} uses another family"
        if mine != "bind":
            outside = {u for u in used if not u.startswith(f"{family}/")}
            assert outside - core[mine] - STANDARD_HEADERS == set(), path
            assert "std::vector" not in path.read_text(), f"{path}: std templates would be shared between instruction sets"


def test_core_knows_no_python_and_no_family():
    for path in sorted((CSRC / "core").glob("*.[ch]pp")):
        assert not [u for u in includes(path) if u.startswith(("pybind11", "Python", "py/", *qf.FAMILIES))], path
    for name in FORMULA_NAMES:
        path = CSRC / "core" / f"{name}.hpp"
        assert includes(path) - CORE_FOR_FORMULAS - STANDARD_HEADERS == set(), path


def test_threads_exist_in_one_place():
    for path in CSRC.rglob("*.[ch]pp"):
        if path.name not in ("parallel.cpp", "fork.cpp"):
            assert not includes(path) & {"thread", "pthread.h", "condition_variable", "future", "omp.h"}, path
            assert "#pragma omp parallel" not in path.read_text(), path


def imports(path):
    """Absolute names of the modules a file imports at its top level, and those it imports inside functions."""
    package = "quatrefoil" + "".join(f".{p}" for p in path.relative_to(PYTHON).parent.parts)
    tree = ast.parse(path.read_text())
    top, lazy = set(), set()
    for node in ast.walk(tree):
        where = top if node in tree.body else lazy
        if isinstance(node, ast.Import):
            where |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
            stem = ".".join(filter(None, [base, node.module]))
            where |= {f"{stem}.{a.name}" if node.level and not node.module else stem for a in node.names}
    return top, lazy


def heads(names, depth=2):
    return {".".join(n.split(".")[:depth]) for n in names}


def test_python_layers():
    for name in ("_dims", "_spec", "_arrays"):
        top, lazy = imports(PYTHON / f"{name}.py")
        assert {n.split(".")[0] for n in (top | lazy) - {"quatrefoil._dims"}} <= {*sys.stdlib_module_names, "numpy"}, name
    core = {f"quatrefoil.{name}" for name in ("_dims", "_spec", "_dispatch", "_bind", "_memo", "_arguments", "_arrays", "_backends")}
    for family in qf.FAMILIES:
        for path in sorted((PYTHON / family).rglob("*.py")):
            if path.name == "_bench.py":
                continue
            top, lazy = imports(path)
            ours = {n for n in heads(top | lazy) if n.split(".")[0] == "quatrefoil"}
            allowed = core | {f"quatrefoil.{family}"} | ({"quatrefoil.torch"} if family == "wos" else set())
            assert ours <= allowed, f"{path}: {ours - allowed}"
            if not path.name.startswith("_") or path.name == "__init__.py":
                heavy = {n.split(".")[0] for n in top} & {"torch", "numba", "scipy", "cupy", "matplotlib"}
                assert not heavy, f"{path} imports {heavy} when quatrefoil is imported"
    for path in sorted((PYTHON / "_backends").glob("*.py")):
        top, lazy = imports(path)
        if path.name != "__init__.py":
            ours = {n for n in heads(top | lazy, 3) if n.startswith("quatrefoil.")}
            assert not [n for n in ours if n.startswith("quatrefoil._backends")], f"{path} uses another backend"
    for path in sorted((ROOT / "tests").rglob("oracle.py")):
        modules = {
            n.name.split(".")[0] for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Import) for n in node.names
        }
        modules |= {
            n.module.split(".")[0]
            for n in ast.walk(ast.parse(path.read_text()))
            if isinstance(n, ast.ImportFrom) and n.module and not n.level
        }
        assert "quatrefoil" not in modules, path


def test_torch_is_reached_from_the_dispatcher_alone():
    for path in PYTHON.rglob("*.py"):
        if "torch" in path.relative_to(PYTHON).parts or path.relative_to(PYTHON).parts[0] in ("bench", "demo") or path.name == "_bench.py":
            continue
        top, lazy = imports(path)
        assert not [n for n in top if n.split(".")[0] == "torch"], path
        assert path.name == "_dispatch.py" or "wos" in path.parts or not [n for n in lazy if n.startswith("quatrefoil.torch")], path


def modules():
    for path in PYTHON.rglob("*.py"):
        parts = ["quatrefoil", *path.relative_to(PYTHON).with_suffix("").parts]
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def uses(name, path):
    """The modules of quatrefoil that a module imports anywhere, but for type checkers only."""
    known = {n for n, _ in modules()}
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]

    def statements(node):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            yield child
            yield from statements(child)

    for node in statements(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name in known)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            stem = ".".join(filter(None, [".".join(parts[: len(parts) - node.level + 1]) if node.level else "", node.module]))
            yield from {f"{stem}.{a.name}" if f"{stem}.{a.name}" in known else stem for a in node.names} & known


# The door to torch, which finds its way back by the table of planners; and wos, until its walks go through that door.
MAY_CLOSE_A_CIRCLE = {
    ("quatrefoil._dispatch", "quatrefoil.torch._route"),
    ("quatrefoil.wos.walk.result", "quatrefoil.torch._wos"),
}


def test_no_circle_of_imports():
    graph = {name: {n for n in uses(name, path) if (name, n) not in MAY_CLOSE_A_CIRCLE} for name, path in modules()}
    while free := {name for name, used in graph.items() if not used & graph.keys() - {name}}:  # those whose imports are all free
        graph = {name: used for name, used in graph.items() if name not in free}
    assert graph == {}, "a circle runs through these"


def test_files_are_short():
    long = {
        str(path.relative_to(ROOT)): n
        for pattern in ("csrc/**/*.[ch]pp", "python/**/*.py", "tests/**/*.py")
        for path in ROOT.glob(pattern)
        if (n := len(path.read_text().splitlines())) > 450
    }
    assert long == {}


def test_no_fast_math():
    for path in [ROOT / "CMakeLists.txt", *ROOT.glob("cmake/*.cmake")]:
        flags = re.sub(r"#.*", "", path.read_text())
        assert "-ffast-math" not in flags
        assert "-Ofast" not in flags


def isa_objects():
    folder = Path(os.environ.get("QUATREFOIL_BUILD_DIR", ROOT / "build"))
    return [p for p in folder.rglob("*.o") if re.search(r"_cpu_(v\d|base)\.dir", str(p))]


def test_isa_objects_share_no_symbol():
    """A weak symbol outside the namespace of its instruction set is one that the linker may take from the AVX-512 object for all."""
    objects = isa_objects()
    if not objects:
        pytest.skip("no build folder with object files here")
    shared = []
    for path in objects:
        isa = re.search(r"_cpu_(v\d|base)\.dir", str(path)).group(1)
        for line in subprocess.run(["nm", "-C", "--defined-only", path], capture_output=True, text=True, check=True).stdout.splitlines():
            # DW.ref.*: a pointer to the C++ runtime's own exception handler, the same in all
            if re.search(r" [WVu] (?!DW\.ref\.)", line) and f"::{isa}::" not in line:
                shared.append(f"{path.name}: {line}")
    assert shared == []
