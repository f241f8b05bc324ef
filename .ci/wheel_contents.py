"""wheel_contents.py FILE...: compare sdists and wheels with the checkout, and print the differences."""

import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "python/"


def checkout_files():
    """The files that git does not ignore, committed or not."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return {name for name in listed.splitlines() if (ROOT / name).is_file()}


def differences(files, expected):
    missing = [f"{name} is missing" for name in sorted(expected - files)]
    return missing + [f"{name} should not be included" for name in sorted(files - expected)]


def sdist(path):
    with tarfile.open(path) as archive:
        files = {"/".join(PurePosixPath(m.name).parts[1:]) for m in archive.getmembers() if m.isfile()}
    return len(files), differences(files, checkout_files() | {"PKG-INFO"})


def wheel(path):
    pure = path.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(path) as archive:
        files = [n for n in archive.namelist() if not n.endswith("/")]
        [info] = {n.split("/")[0] for n in files if ".dist-info/" in n}
        metadata = Parser().parsestr(archive.read(f"{info}/METADATA").decode())
        tags = [line for line in archive.read(f"{info}/WHEEL").decode().splitlines() if line.startswith("Tag: ")]
    expected = {n.removeprefix(PACKAGE) for n in checkout_files() if n.startswith(PACKAGE)}
    compiled = {n for n in files if n.startswith("quatrefoil/_core.") and n.endswith(".so")}
    wrong = differences({n for n in files if not n.startswith(f"{info}/")} - compiled, expected)
    if len(compiled) != (not pure):
        wrong.append(f"{len(compiled)} compiled modules, expected {int(not pure)}")
    if pure and tags != ["Tag: py3-none-any"]:
        wrong.append(f"its tags are {tags}, expected py3-none-any")
    if not pure and any("linux_" in t and "many" not in t for t in tags):
        wrong.append(f"it has not been repaired for manylinux: {tags}")
    if not {f"{info}/licenses/LICENSE", f"{info}/entry_points.txt"} <= set(files):
        wrong.append("the licence or the command is missing")
    if metadata["License-Expression"] != "BSD-3-Clause" or not metadata["Requires-Python"] or "# Quatrefoil" not in metadata.get_payload():
        wrong.append("its metadata lack the licence, the Python versions or the README")
    return len(files), wrong


failed = False
for name in sys.argv[1:]:
    file = Path(name)
    count, wrong = (sdist if name.endswith(".tar.gz") else wheel)(file)
    print(f"{file.name}: {file.stat().st_size / 1e6:.1f} MB, {count} files")
    for line in wrong:
        print(f"  {line}", file=sys.stderr)
    failed |= bool(wrong)
sys.exit(failed)
