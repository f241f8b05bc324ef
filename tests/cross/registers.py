"""registers.py LOG: registers of each kernel on each GPU, from the log of -Xptxas -v; fails if one spills or needs a stack."""

import re
import sys
from pathlib import Path

KERNEL = re.compile(
    r"for '(sm_\d+)'\n(?:ptxas info +:.*\n)*?ptxas info +: Function properties for (\S+)\n"
    r"\s+(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads\n.*Used (\d+) reg"
)
ALLOWED = {  # part of a kernel's name: why it may
    "4mesh4cuda11put_records": "indexes the corners of a triangle dynamically, once per triangle and call",
}


def main():
    kernels = KERNEL.findall(Path(sys.argv[1]).read_text())
    for gpu in dict.fromkeys(k[0] for k in kernels):
        registers = [int(k[-1]) for k in kernels if k[0] == gpu]
        print(f"{gpu}: {len(registers)} kernels, {min(registers)} to {max(registers)} registers")
    assert kernels, "the log names no kernel"
    spilled = [
        f"{gpu}: {name}: {sizes[0]} bytes of stack, {sizes[1]} and {sizes[2]} spilled"
        for gpu, name, *sizes, _ in kernels
        if any(map(int, sizes)) and not any(part in name for part in ALLOWED)
    ]
    sys.exit("\n".join(spilled) or 0)


if __name__ == "__main__":
    main()
