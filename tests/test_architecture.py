"""The rules of CONTRIBUTING.md: which file may use which, the files of a method, sizes, and what compiled objects may share."""

import ast
import functools
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import quatrefoil as qf

ROOT = Path(__file__).resolve().parent.parent
CSRC, PYTHON = ROOT / "csrc", ROOT / "python" / "quatrefoil"

FAMILIES = {
    name: methods.split()
    for name, methods in re.findall(r"^quatrefoil_family\((\w+) ([\w ]+)\)", (ROOT / "CMakeLists.txt").read_text(), re.M)
}


# Files in csrc -> folders of core, files of the same and earlier methods, other headers that they may include.
KERNEL_HEADERS = "cstddef cstdint type_traits utility immintrin.h"  # std templates would be shared between instruction sets
LAYERS = {
    "formula.hpp": ("lanes", "formula", KERNEL_HEADERS),
    "args.hpp": ("lanes abi", "args", "cstdint type_traits"),
    "cpu.cpp, further headers": ("lanes abi run fft gemm", "formula args further", KERNEL_HEADERS),
    "cuda.cu, cuda.hpp": ("lanes abi cuda", "formula args cuda", KERNEL_HEADERS),
    "bind.cpp, bind.hpp": ("lanes abi host", "args bind", "py/ pybind11/ std"),
}
CORE = {"lanes": "", "abi": "lanes", "run": "lanes abi", "fft": "lanes run", "gemm": "lanes run", "host": "lanes abi", "cuda": "lanes"}
# Modules that a method may import in addition to itself and earlier methods. Heavy libraries are imported inside functions.
FOR_METHODS = "_array_tools _dims _spec _call _bind _memo _arguments _arrays _backends _progress _public _typing _warnings conventions"
HEAVY = {"torch", "jax", "numba", "scipy", "cupy", "matplotlib", "array_api_compat"}
ORACLES = {"numpy", "scipy", "mpmath", "math", "itertools", "functools"}
MAX_LINES = {"file": 450, "function": 60, "kernel": 120}

# The files of a method with kernels.
FILES_OF_A_METHOD = [
    "csrc/{family}/{method}/README.md",
    "csrc/{family}/{method}/args.hpp",
    "csrc/{family}/{method}/cpu.cpp",
    "csrc/{family}/{method}/bind.cpp",
    "python/quatrefoil/{family}/{method}/__init__.py",
    "python/quatrefoil/{family}/{method}/composition.py",
    "python/quatrefoil/{family}/{method}/bench.py",
    "tests/{family}/{method}/cases.py",
    "tests/{family}/{method}/oracle.py",
]


def sources(folder):
    return sorted(p for p in folder.rglob("*") if p.suffix in (".cpp", ".hpp", ".cu"))


def includes(path):
    return set(re.findall(r'^\s*#\s*include\s+[<"]([^>"]+)[>"]', path.read_text(), re.M))


def layer(name):
    stem = name.partition(".")[0]
    stem = stem.split("_")[0] if stem.startswith(("cuda_", "formula_")) else stem
    return stem if stem in ("formula", "args", "bind", "cuda") else "further"


def layer_rule(name):
    return next(rule for files, rule in LAYERS.items() if layer(name) in files or (layer(name) == "further" and "further" in files))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_consists_of_its_methods(family):
    assert (CSRC / family / "README.md").is_file()
    readme = (CSRC / family / "README.md").read_text()
    folders = [method for method in FAMILIES[family] if (CSRC / family / method).is_dir()]
    assert folders == FAMILIES[family]
    assert sorted(p.name for p in (CSRC / family).iterdir()) == sorted([*folders, "README.md"])
    for method in folders:
        assert f"{method}/" in readme, f"{family}/README.md has no line on {method}"
        kernels = (CSRC / family / method / "cpu.cpp").is_file()
        with_ops = any(op.method == method for op in getattr(qf, family).OPS)
        missing = [f for f in FILES_OF_A_METHOD if not (ROOT / f.format(family=family, method=method)).is_file()]
        if kernels and with_ops:
            assert missing == [], method
            assert (ROOT / f"tests/{family}/{method}/test_{method}.py").is_file()


@pytest.mark.parametrize("family", FAMILIES)
def test_cpp_layers(family):
    for at, method in enumerate(FAMILIES[family]):
        nearby = FAMILIES[family][: at + 1]
        for path in sources(CSRC / family / method):
            core, methods, other = (set(words.split()) for words in layer_rule(path.name))
            for used in includes(path):
                head, _, rest = used.partition("/")
                if head == "core":
                    assert rest.partition("/")[0] in core, f"{path} includes {used}"
                elif head in FAMILIES:
                    folder, _, file = rest.partition("/")
                    assert head == family, f"{path} includes {used}"
                    assert folder in nearby, f"{path} includes {used}"
                    assert layer(file) in methods, f"{path} includes {used}"
                    assert file.endswith(".hpp"), f"{path} includes {used}"
                elif "std" not in other:
                    assert used in other, f"{path} includes {used}"
            if "std" not in other:
                assert "std::vector" not in path.read_text(), f"{path}: std templates would be shared between instruction sets"


def test_core_layers():
    for folder, may_use in CORE.items():
        for path in sources(CSRC / "core" / folder):
            for used in includes(path):
                assert not used.startswith(("pybind11", "Python", "py/", *(f"{family}/" for family in FAMILIES))), f"{path} includes {used}"
                if used.startswith("core/"):
                    assert used.split("/")[1] in {folder, *may_use.split()}, f"{path} includes {used}"
    assert {p.name for p in (CSRC / "core").iterdir()} == set(CORE)


def test_only_one_file_creates_threads():
    for path in sources(CSRC):
        if path.name not in ("parallel.cpp", "fork.cpp"):
            assert not includes(path) & {"thread", "pthread.h", "condition_variable", "future", "omp.h"}, path
            assert "#pragma omp parallel" not in path.read_text(), path


@functools.cache
def parsed(path):
    return ast.parse(path.read_text())


@functools.cache
def imports(path):
    """The absolute names of a file's imports: (at the top level, inside functions)."""
    package = ("quatrefoil", *path.relative_to(PYTHON).parent.parts)
    tree = parsed(path)
    top, lazy = set(), set()
    for node in ast.walk(tree):
        where = top if node in tree.body else lazy
        if isinstance(node, ast.Import):
            where |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            where |= {".".join(filter(None, (*base, node.module, a.name))) for a in node.names}
    return top, lazy


def heads(names, depth=2):
    return {".".join(n.split(".")[:depth]) for n in names}


def test_python_layers():
    for name in ("_dims", "_spec", "_arrays"):
        top, lazy = imports(PYTHON / f"{name}.py")
        others = {n for n in top | lazy if not n.startswith("quatrefoil._dims.")}
        assert {n.split(".")[0] for n in others} <= {*sys.stdlib_module_names, "numpy"}, name
    for family, methods in FAMILIES.items():
        allowed = {f"quatrefoil.{name}" for name in FOR_METHODS.split()} | {f"quatrefoil.{family}"}
        for path in sorted((PYTHON / family).rglob("*.py")):
            if path.name.startswith("bench"):
                continue
            top, lazy = imports(path)
            ours = {n for n in heads(top | lazy) if n.split(".")[0] == "quatrefoil"}
            assert ours <= allowed, f"{path}: {ours - allowed}"
            method = path.relative_to(PYTHON / family).with_suffix("").parts[0]
            used = {n.split(".")[2] for n in heads(top | lazy, 3) if n.startswith(f"quatrefoil.{family}.")}
            if (PYTHON / family / method).is_dir() and method != "models":
                assert "models" not in used, f"{path} belongs to a method and uses a model"
            if method in methods:
                later = {n for n in used & set(methods) if methods.index(n) > methods.index(method)}
                assert not later, f"{path} uses {later}, which come later in CMakeLists.txt"
            if not path.name.startswith("_") or path.name == "__init__.py":
                heavy = {n.split(".")[0] for n in top} & HEAVY
                assert not heavy, f"{path} imports {heavy} when quatrefoil is imported"
    for path in sorted((PYTHON / "_backends").glob("*.py")):
        if path.name != "__init__.py":
            ours = {n for n in heads(set.union(*imports(path)), 3) if n.startswith("quatrefoil.")}
            assert not [n for n in ours if n.startswith("quatrefoil._backends")], f"{path} uses another backend"


def test_oracles_do_not_use_the_library():
    for path in sorted(p for name in ("oracle.py", "replay.py") for p in (ROOT / "tests").rglob(name)):
        tree = parsed(path)
        names = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
        names |= {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module and not n.level}
        assert {n.split(".")[0] for n in names} <= ORACLES | {"__future__", *FAMILIES}, path


@pytest.mark.parametrize("library", ["torch", "jax"])
def test_each_library_has_one_entry_point(library):
    for path in PYTHON.rglob("*.py"):
        parts = path.relative_to(PYTHON).parts
        if library in parts or parts[0] in ("bench", "demo") or path.name.startswith("bench"):
            continue
        top, lazy = imports(path)
        assert not [n for n in top if n.split(".")[0] == library], path
        assert path.name == "_libraries.py" or not [n for n in top | lazy if n.startswith(f"quatrefoil.{library}")], path


@functools.cache
def modules():
    """{name: file} of every module."""
    files = {".".join(["quatrefoil", *path.relative_to(PYTHON).with_suffix("").parts]): path for path in PYTHON.rglob("*.py")}
    return {name.removesuffix(".__init__"): path for name, path in files.items()}


def uses(path):
    """The modules of quatrefoil that a module imports anywhere, including imports for type checkers."""
    names = {n for n in set.union(*imports(path)) if not n.endswith(("._core", "._cuda"))}  # compiled modules
    return {n if n in modules() else n.rpartition(".")[0] for n in names} & modules().keys()


def test_there_are_no_import_cycles():
    graph = {name: uses(path) for name, path in modules().items()}
    while free := {name for name, used in graph.items() if not used & graph.keys() - {name}}:
        graph = {name: used for name, used in graph.items() if name not in free}
    assert graph == {}, "these modules import each other in a cycle"


def python_functions(path):
    """(name, lines without the docstring)."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0]
            documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
            yield node.name, node.end_lineno - (first.end_lineno if documented else node.lineno)


def cpp_functions(path):
    """(first line, number of lines) of each function; clang-format aligns its closing brace with its first line."""
    lines = path.read_text().splitlines()
    for i, line in enumerate(lines):
        if re.search(r"\)( const| noexcept)* \{$", line) and not re.match(r"\s*(\}|if|for|while|switch|else|do|#|.*\[[&=\w, ]*\]\()", line):
            start = i
            while start and len(re.match(r" *", lines[start])[0]) > 2:  # the continuation of a long signature
                start -= 1
            indent = re.match(r" *", lines[start])[0]
            end = next((k for k in range(i + 1, len(lines)) if re.match(indent + r"\}", lines[k])), i)
            yield line.strip(), end - start


def test_files_and_functions_are_short():
    long = {}
    for pattern in ("csrc/**/*.[ch]pp", "csrc/**/*.cu", "python/**/*.py", "tests/**/*.py", "tests/**/*.[ch]pp"):
        for path in ROOT.glob(pattern):
            lines = len(path.read_text().splitlines())
            if lines > MAX_LINES["file"]:
                long[str(path.relative_to(ROOT))] = lines
    for path in ROOT.glob("python/**/*.py"):
        long |= {f"{path.relative_to(ROOT)}: {name}": n for name, n in python_functions(path) if n > MAX_LINES["function"]}
    for path in sources(CSRC):
        kernel = path.parts[-3] in FAMILIES and layer(path.name) in ("further", "cuda")
        limit = MAX_LINES["kernel" if kernel else "function"]
        long |= {f"{path.relative_to(ROOT)}: {name}": n for name, n in cpp_functions(path) if n > limit}
    assert long == {}


def test_no_fast_math():
    for path in [ROOT / "CMakeLists.txt", *ROOT.glob("cmake/*.cmake")]:
        flags = re.sub(r"#.*", "", path.read_text())
        assert "-ffast-math" not in flags
        assert "-Ofast" not in flags


@pytest.fixture
def isa_objects():
    folder = Path(os.environ.get("QUATREFOIL_BUILD_DIR", ROOT / "build"))
    objects = [p for p in folder.rglob("*.o") if re.search(r"_cpu_(v\d|base)\.dir", str(p))]
    return objects or pytest.skip("needs a build folder with object files")


def test_isa_objects_share_no_symbol(isa_objects):
    """The linker keeps one copy of a weak symbol, perhaps AVX-512's, unless it is in the namespace of an instruction set."""
    shared = []
    for path in isa_objects:
        isa = re.search(r"_cpu_(v\d|base)\.dir", str(path)).group(1)
        for line in subprocess.run(["nm", "-C", "--defined-only", path], capture_output=True, text=True, check=True).stdout.splitlines():
            # DW.ref.*: a pointer to the C++ runtime's exception handler, equal in all objects
            if re.search(r" [WVu] (?!DW\.ref\.)", line) and f"::{isa}::" not in line:
                shared.append(f"{path.name}: {line}")
    assert shared == []


def test_isa_objects_run_no_code_when_loaded(isa_objects):
    """Any processor can load the module; a missing instruction set then raises an error that names it."""
    for path in isa_objects:
        sections = subprocess.run(["objdump", "-h", path], capture_output=True, text=True, check=True).stdout
        assert ".text" in sections
        assert ".init_array" not in sections, path.name
        assert ".ctors" not in sections, path.name
