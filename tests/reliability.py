"""``python -m tests.reliability [SECONDS]``: how many tests hold each promise of docs/reliability.md, and what random calls find."""

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def promises():
    """(promise, files that hold it) of every row of the page."""
    rows = re.findall(r"^\| \*\*(.+?)\*\*.*\| (.+?) \|$", (ROOT / "docs" / "reliability.md").read_text(), re.M)
    return [(name.rstrip(".:"), re.findall(r"`([^`]+)`", files)) for name, files in rows]


def counts_of(path):
    """How many tests the files under a path hold, by file."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-W", "ignore", path]
    whole = {**os.environ, "QUATREFOIL_TEST_SHARE": "1/1"}
    found = subprocess.run(command, cwd=ROOT, env=whole, capture_output=True, text=True, check=True).stdout
    return Counter(line.partition("::")[0] for line in found.splitlines() if "::" in line)


def main():
    seconds = sys.argv[1] if len(sys.argv) > 1 else "60"
    counts = counts_of("tests")
    for name, files in promises():
        tests = [f"{file} {counts[file]}" if counts[file] else file for file in files]
        print(f"{name}: {', '.join(tests)}")
    print(f"all tests: {sum(counts.values())}", flush=True)
    sys.exit(subprocess.run([sys.executable, "-W", "ignore", "-m", "tests.fuzz", seconds], cwd=ROOT, check=False).returncode)


if __name__ == "__main__":
    main()
