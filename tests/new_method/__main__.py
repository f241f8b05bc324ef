"""``python -m tests.new_method FAMILY METHOD`` writes the files of a new method and adds its name to the lists of methods.

The files implement a small operation, exponential decay, with gradients, a composition, tests and a benchmark. Replace its
mathematics file by file.
"""

import argparse
import re
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
FOLDERS = {"csrc": "csrc/{family}/{method}", "python": "python/quatrefoil/{family}/{method}", "tests": "tests/{family}/{method}"}
LISTED = "CMakeLists.txt", "csrc/{family}/README.md", "python/quatrefoil/{family}/__init__.py"


def lay_out(family, method, root=ROOT):
    """Write the files; return the paths of all new and changed files."""
    if not (root / "csrc" / family / "README.md").is_file():
        raise SystemExit(f"there is no family {family}")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", method) or (root / "python/quatrefoil" / family / method).exists():
        raise SystemExit(f"{method} cannot be the name of a new method: expected lower case, and no existing method of {family}")

    def named(text):
        for old, new in (("decay", method), ("Decay", method.title().replace("_", "")), ("DECAY", method.upper())):
            text = text.replace(old, new)
        return re.sub(r"\bssm\b", family, text)

    paths = []
    for kind, folder in FOLDERS.items():
        for file in sorted(path for path in (HERE / kind).iterdir() if path.is_file()):  # not __pycache__
            name = f"test_{method}.py" if file.name == "own_tests.py" else file.name
            paths.append(root / folder.format(family=family, method=method) / name)
            paths[-1].parent.mkdir(parents=True, exist_ok=True)
            paths[-1].write_text(named(file.read_text()))
    for path, change in zip(LISTED, (_in_cmake, _in_readme, _in_family), strict=True):
        file = root / path.format(family=family)
        file.write_text(change(file.read_text(), family, method))
        paths.append(file)
    return paths


def _in_cmake(text, family, method):
    return re.sub(rf"^(quatrefoil_family\({family} .*)\)$", rf"\1 {method})", text, flags=re.M)


def _in_readme(text, family, method):
    *_, last = re.finditer(r"^\| \[\w+\]\(\w+/README\.md\).*\n", text, re.M)
    return f"{text[: last.end()]}| [{method}]({method}/README.md) | what it is for | source | `{method}_apply` |\n{text[last.end() :]}"


def _in_family(text, family, method):
    plain = re.search(r"^from \. import (\w+(?:, \w+)*)$", text, re.M)
    module = method if plain else f"_{method}"
    if plain:
        names = sorted([*plain[1].split(", "), method])
        text = text.replace(plain[0], f"from . import {', '.join(names)}")
    else:
        text = _before(text, r"from \. import (\w+) as", method, f"from . import {method} as {module}\n")
    lines = f"from .{method} import {method}_apply\nfrom .{method} import {method}_apply_vjp as {method}_apply_vjp\n"
    text = _before(text, r"from \.([a-z]\w*)[\w.]* import", method, lines)
    text = _before(text, r'    "([a-z]\w*)",', f"{method}_apply", f'    "{method}_apply",\n')
    return re.sub(r"^(OPS = Family\(.*)\)$", rf"\1, {module}.OPS)", text, flags=re.M)


def _before(text, pattern, name, lines):
    """Insert lines before the first match of the pattern that sorts after ``name``."""
    matches = list(re.finditer(rf"^{pattern}.*\n", text, re.M))
    at = next((m.start() for m in matches if m[1] > name), matches[-1].end())
    return text[:at] + lines + text[at:]


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.new_method", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("family")
    parser.add_argument("method")
    request = parser.parse_args()
    for path in lay_out(request.family, request.method):
        print(path.relative_to(ROOT))
    print(f"next: pip install -e . as before, then python -m pytest -q tests -k {request.method}")


if __name__ == "__main__":
    main()
