"""``python -m tests.new_method FAMILY METHOD`` lays out the files of a new method and names it where a method is named.

The files are a small operation that works, exponential decay: it compiles, has gradients, a composition, tests and a
benchmark. Replace its mathematics file by file.
"""

import argparse
import re
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PLACES = {"csrc": "csrc/{family}/{noun}", "python": "python/quatrefoil/{family}/{noun}", "tests": "tests/{family}/{noun}"}
LISTED = "CMakeLists.txt", "csrc/{family}/README.md", "python/quatrefoil/{family}/__init__.py"


def lay_out(family, noun, root=ROOT):
    """Return the paths of what was written and changed."""
    if not (root / "csrc" / family / "README.md").is_file():
        raise SystemExit(f"there is no family {family}")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", noun) or (root / "python/quatrefoil" / family / noun).exists():
        raise SystemExit(f"{noun} is no name for a new method: expected lower case, and none that {family} has already")

    def named(text):
        for old, new in (("decay", noun), ("Decay", noun.title().replace("_", "")), ("DECAY", noun.upper())):
            text = text.replace(old, new)
        return re.sub(r"\bssm\b", family, text)

    paths = []
    for kind, place in PLACES.items():
        for file in sorted(path for path in (HERE / kind).iterdir() if path.is_file()):  # not __pycache__
            name = f"test_{noun}.py" if file.name == "own_tests.py" else file.name
            paths.append(root / place.format(family=family, noun=noun) / name)
            paths[-1].parent.mkdir(parents=True, exist_ok=True)
            paths[-1].write_text(named(file.read_text()))
    for place, change in zip(LISTED, (_in_cmake, _in_readme, _in_family), strict=True):
        file = root / place.format(family=family)
        file.write_text(change(file.read_text(), family, noun))
        paths.append(file)
    return paths


def _in_cmake(text, family, noun):
    return re.sub(rf"^(quatrefoil_family\({family} .*)\)$", rf"\1 {noun})", text, flags=re.M)


def _in_readme(text, family, noun):
    *_, last = re.finditer(r"^\| \[\w+\]\(\w+/README\.md\).*\n", text, re.M)
    return f"{text[: last.end()]}| [{noun}]({noun}/README.md) | what it is for | source | `{noun}_apply` |\n{text[last.end() :]}"


def _in_family(text, family, noun):
    plain = re.search(r"^from \. import (\w+(?:, \w+)*)$", text, re.M)
    module = noun if plain else f"_{noun}"
    if plain:
        names = sorted([*plain[1].split(", "), noun])
        text = text.replace(plain[0], f"from . import {', '.join(names)}")
    else:
        text = _before(text, r"from \. import (\w+) as", noun, f"from . import {noun} as {module}\n")
    lines = f"from .{noun} import {noun}_apply\nfrom .{noun} import {noun}_apply_vjp as {noun}_apply_vjp\n"
    text = _before(text, r"from \.([a-z]\w*)[\w.]* import", noun, lines)
    text = _before(text, r'    "([a-z]\w*)",', f"{noun}_apply", f'    "{noun}_apply",\n')
    return re.sub(r"^(OPS = Family\(.*)\)$", rf"\1, {module}.OPS)", text, flags=re.M)


def _before(text, pattern, name, lines):
    """The lines inserted where ``name`` belongs among those that the pattern finds, which are sorted."""
    found = list(re.finditer(rf"^{pattern}.*\n", text, re.M))
    at = next((m.start() for m in found if m[1] > name), found[-1].end())
    return text[:at] + lines + text[at:]


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.new_method", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("family")
    parser.add_argument("method")
    asked = parser.parse_args()
    for path in lay_out(asked.family, asked.method):
        print(path.relative_to(ROOT))
    print(f"next: pip install -e . as before, then python -m pytest -q tests -k {asked.method}")


if __name__ == "__main__":
    main()
