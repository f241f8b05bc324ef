"""device.py FOLDER: write CUDA sources that instantiate every formula.hpp and header of core/lanes (except shuffles) for single numbers.

V is float and double, or only double if the first line of the header says so. `.ci/nvcc` compiles the sources.
"""

import itertools
import re
import sys
from pathlib import Path

CSRC = Path(__file__).parents[2] / "csrc"
PREAMBLE = """#include "{header}"

template <class Result>
struct Function {{  // for formulas that call a function
  template <class... Arguments>
  __host__ __device__ Result operator()(Arguments...) const {{
    return Result{{}};
  }}
}};
"""
FUNCTION = re.compile(r"^(?:template <([^\n]+)>\n)?QF_HD ((?:[^;{}()]|\((?!\))|\)(?! \{))*\)) \{", re.MULTILINE)
STRUCT = re.compile(r"^template <([^\n]+)>\nstruct (\w+) \{", re.MULTILINE)
NAMESPACE = re.compile(r"^(?:inline )?namespace [\w:]+ \{", re.MULTILINE)


def without_lanes(text):
    """A header preprocessed for a GPU: __CUDACC__ is the only macro that is defined."""
    lines, active = [], [True]
    for line in text.splitlines(keepends=True):
        if line.startswith("#if"):
            active.append(not line.startswith("#if defined") or "defined(__CUDACC__)" in line)
        elif line.startswith(("#elif", "#else")):
            active[-1] = line.startswith("#else") and not active[-1]
        elif line.startswith("#endif"):
            active.pop()
        elif all(active):
            lines.append(line)
    return "".join(lines)


def choices(parameters, declared):
    """(real, {template parameter: argument}) for every choice of arguments."""
    named = [(p.split("=")[0].strip(), p.split("=")[0].split()[-1]) for p in parameters.split(",")] if parameters else []
    for real in ("float", "double"):
        possible = []
        for parameter, name in named:
            if not parameter.startswith("class"):
                possible.append(("true", "false") if parameter.startswith("bool") else ("1" if name == "W" else "2",))
            elif f"{name}&&" in declared:
                possible.append(("Function<{first}>",))
            else:
                integer = "std::int64_t" if real == "double" else "std::int32_t"
                element = (real, f"cplx<{real}>")
                possible.append(
                    {"E": element, "P": element, "I": (integer,), "U": ("std::uint32_t",), "Sums": ("double*",)}.get(name, (real,))
                )
        for chosen in itertools.product(*possible):
            first = next((c for c in chosen if c not in ("true", "false") and not c.isdigit()), "")
            yield real, {name: value.format(first=first) for (_, name), value in zip(named, chosen)}


def substituted(text, chosen):
    return re.sub(r"\b\w+\b", lambda word: chosen.get(word[0], word[0]), text)


def instantiations(text):
    """Two pointers per function, so that both passes of the compiler instantiate it, and an instantiation per struct."""
    reals = ("double",) if "V is double" in text.partition("\n")[0] else ("float", "double")
    text = without_lanes(text)
    seen = set()
    for parameters, declared in FUNCTION.findall(text.replace("[[maybe_unused]] ", "")):
        head, name, arguments = re.fullmatch(r"(.*?)(operator\S+?|\w+)\((.*)\)", declared.replace("constexpr ", ""), re.DOTALL).groups()
        for real, chosen in choices(parameters, declared):
            template = f"<{', '.join(chosen.values())}>" if chosen else ""
            result, types = substituted(head, chosen).strip(), substituted(arguments, chosen)
            if real in reals and (name, template, types) not in seen:
                i = len(seen)
                seen.add((name, template, types))
                yield f"__device__ {result} (*device_{i})({types}) = {name}{template};\n{result} (*host_{i})({types}) = {name}{template};"
    for parameters, name in STRUCT.findall(text, [*NAMESPACE.finditer(text)][-1].end()):
        for real, chosen in choices(parameters, ""):
            if real in reals:
                yield f"template struct {name}<{', '.join(chosen.values())}>;"


def source(header):
    text = header.read_text()
    namespaces = NAMESPACE.findall(text)
    lines = [PREAMBLE.format(header=header.relative_to(CSRC)), *namespaces, *dict.fromkeys(instantiations(text)), "}" * len(namespaces)]
    return "\n".join(lines) + "\n"


def main():
    folder = Path(sys.argv[1])
    lanes = [h for h in CSRC.glob("core/lanes/*.hpp") if h.stem not in ("shuffles", "transpose")]
    headers = sorted([*lanes, *CSRC.glob("*/*/formula.hpp")])
    for header in headers:
        path = folder / ("-".join(header.relative_to(CSRC).with_suffix(".cu").parts))
        path.write_text(source(header))
    print(f"{len(headers)} headers")


if __name__ == "__main__":
    main()
