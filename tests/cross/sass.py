"""sass.py MODULE [--kernels FILE] [--write]: the machine code of an extension module for GPUs, per method and architecture.

Prints a table, with changes relative to tests/cross/sass.tsv, which --write replaces. --kernels writes one row per kernel. Fails if

- a kernel spills registers or needs a stack,
- an innermost loop of a float32 kernel computes in double precision, or
- the module exceeds its budget,

unless the lists below say why. Needs cuobjdump and c++filt.
"""

import argparse
import re
import struct
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

BUDGET = 40_000_000  # bytes of the module
TABLE = Path(__file__).with_suffix(".tsv")
STACK_ALLOWED = {  # part of a kernel's name: why it may use a stack
    "mesh::cuda::put_records": "indexes the corners of a triangle dynamically, once per triangle and call",
    "walk::cuda::wide_": "indexes the four words of a Philox block dynamically, in more than three dimensions",
}
SUMS = "adds parts in double precision, in a fixed order"
DOUBLE_ALLOWED = {  # double precision runs at half rate on an H100, and at 1/64 on 8.6, 8.9 and 12.0
    "::add_all_parts<": SUMS,
    "selective::cuda::add_parts<": SUMS,
    "s5::cuda::add_": SUMS,
    "cheb::scattered::cuda::add_chunks<": SUMS,
    "cheb::scattered::cuda::add_columns<": "maps points to [-1, 1]",
    "cheb::scattered::cuda::differentiate_": "maps points to [-1, 1]",
    "convolution::cuda::put_roots<": "roots of unity, once per call",
    "delta::cuda::put_pair": "products of decays, once per pair of tokens",
    "modes::cuda::": "powers of modes, and moments of all steps",
    "walk::cuda::walk_": "data of boundaries and sources, and their sums; nearest points of boxes",
}
# The maximum numbers of threads and blocks per SM, by architecture.
LIMITS = {"80": (2048, 32), "86": (1536, 16), "89": (1536, 24), "90": (2048, 32), "100": (2048, 32), "120": (1536, 24)}
REGISTERS = 65536  # per SM

FUNCTION = re.compile(r"^\s+Function : (\S+)$", re.M)
INSTRUCTION = re.compile(r"^\s+/\*([0-9a-f]+)\*/\s+(?:@!?U?P\w+ )?\s*([A-Z]\S*)([^;]*);", re.M)
RESOURCES = re.compile(r"^ Function (\S+):\n\s+REG:(\d+) STACK:(\d+)", re.M)
DOUBLE = re.compile(r"^(D(ADD|MUL|FMA|SETP|MNMX)|F2F\.F64|I2F\.F64|F2I\.F64)")
MAX_THREADS, STRING_VALUE = 0x05, 0x04  # codes of an attribute and of its format in .nv.info
ACCESSES = ("LDG", "LDS", "STG", "STS")


class Kernel(NamedTuple):
    arch: str
    name: str
    registers: int
    stack: int
    threads: int
    instructions: int
    in_loops: int  # instructions in the innermost loops; the fields below also count only those
    double: int
    special: int  # MUFU
    wide: dict  # the widest access in bits: {"LDG": 32, "LDS": 128 ...}

    @property
    def method(self):
        match = re.search(r"quatrefoil::(\w+)::(\w+)::cuda::", self.name)
        return "/".join(match.groups()) if match else "core"

    @property
    def blocks(self):
        """Blocks that an SM holds, by registers and threads; dynamic shared memory may allow fewer."""
        threads, blocks = LIMITS[self.arch]
        per_warp = -(-self.registers * 32 // 256) * 256
        warps = -(-self.threads // 32)
        return min(REGISTERS // per_warp // warps, threads // self.threads, blocks)

    def row(self):
        return (self.method, *self[:9], self.blocks, *(self.wide.get(kind, "") for kind in ACCESSES))

    @property
    def is_float32(self):
        return "<float" in self.name and "double" not in self.name


def output(*command):
    return subprocess.run([*map(str, command)], capture_output=True, text=True, check=True).stdout


def threads_of(cubin):
    """The threads of each kernel's launch bounds, from the sections .nv.info.<kernel> of an ELF file."""
    data = cubin.read_bytes()
    (at,) = struct.unpack_from("<Q", data, 40)
    size, count, names = struct.unpack_from("<HHH", data, 58)
    sections = [struct.unpack_from("<IIQQQQ", data, at + i * size) for i in range(count)]
    text = lambda start: data[sections[names][4] + start :].partition(b"\0")[0].decode()  # noqa: E731
    values = {}
    for name, _, _, _, begin, length in sections:
        if not text(name).startswith(".nv.info."):
            continue
        offset = begin
        while offset < begin + length:
            kind, attribute, value = struct.unpack_from("<BBH", data, offset)
            if attribute == MAX_THREADS:
                x, y, z = struct.unpack_from("<III", data, offset + 4)
                values[text(name).removeprefix(".nv.info.")] = x * y * z
            offset += 4 + (value if kind == STRING_VALUE else 0)
    return values


def target(rest):
    """The address that a branch or call names; None for an indirect one."""
    match = re.search(r"0x[0-9a-f]+", rest)
    return int(match[0], 16) if match else None


def innermost(code):
    """The instructions of the innermost loops, with those of the subroutines that they call."""
    backward = {(to, a) for a, op, rest in code if op.startswith("BRA") and (to := target(rest)) is not None and to < a}
    inner = [(b, e) for b, e in backward if not any((b, e) != o and b <= o[0] and o[1] <= e for o in backward)]
    chosen = [(a, op, rest) for a, op, rest in code if any(b <= a <= e for b, e in inner)]
    for begin in {target(rest) for _, op, rest in chosen if op.startswith("CALL")} - {None}:
        end = min((a for a, op, _ in code if a >= begin and op.startswith("RET")), default=begin)
        chosen += [(a, op, rest) for a, op, rest in code if begin <= a <= end]
    return chosen


def width(op):
    return 128 if ".128" in op else 64 if ".64" in op else 32


def kernels_of(cubin):
    arch = re.search(r"sm_(\d+)", cubin.name)[1]
    threads = threads_of(cubin)
    resources = {name: tuple(map(int, numbers)) for name, *numbers in RESOURCES.findall(output("cuobjdump", "-res-usage", cubin))}
    sections = FUNCTION.split(output("cuobjdump", "-sass", cubin))[1:]
    mangled = sections[::2]
    names = subprocess.run(["c++filt"], input="\n".join(mangled), capture_output=True, text=True, check=True).stdout.splitlines()
    for symbol, name, text in zip(mangled, names, sections[1::2], strict=True):
        code = [(int(a, 16), op, rest) for a, op, rest in INSTRUCTION.findall(text)]
        loops = innermost(code)
        wide = defaultdict(int)
        for _, op, _ in loops:
            if (kind := op[:3]) in ACCESSES:
                wide[kind] = max(wide[kind], width(op))
        yield Kernel(
            arch, name, *resources[symbol], threads.get(symbol, 1024), len(code), len(loops),
            sum(bool(DOUBLE.match(op)) for _, op, _ in loops), sum(op.startswith("MUFU") for _, op, _ in loops), dict(wide),
        )  # fmt: skip


def kernels(module):
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["cuobjdump", "-xelf", "all", str(Path(module).resolve())], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        for cubin in sorted(Path(folder).glob("*.cubin")):
            yield from kernels_of(cubin)


def summary(all_kernels):
    """One row per method and architecture; see HEADER."""
    groups = defaultdict(list)
    for kernel in all_kernels:
        groups[kernel.method, kernel.arch].append(kernel)
    for key, group in sorted(groups.items()):
        size = round(sum(16 * k.instructions for k in group) / 1000)
        max_registers, min_blocks = max(k.registers for k in group), min(k.blocks for k in group)
        yield tuple(map(str, (*key, len(group), size, max_registers, min_blocks, sum(k.double > 0 for k in group))))


HEADER = ("method", "arch", "kernels", "KB", "registers", "blocks per SM", "with double precision in loops")
OF_KERNELS = ("method", *Kernel._fields[:9], "blocks per SM", *ACCESSES)


def table(header, rows):
    return "".join("\t".join(map(str, row)) + "\n" for row in (header, *rows))


def is_listed(kernel, allowed):
    return any(part in kernel.name for part in allowed)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("module", type=Path)
    parser.add_argument("--kernels", type=Path)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    all_kernels = list(kernels(options.module))
    assert all_kernels, "the module has no machine code"
    if options.kernels:
        options.kernels.write_text(table(OF_KERNELS, map(Kernel.row, all_kernels)))
    rows = list(summary(all_kernels))
    lines = TABLE.read_text().splitlines() if TABLE.exists() else []
    before = {tuple(row[:2]): row[2:] for row in (line.split("\t") for line in lines)}
    print(*HEADER, sep=", ")
    for method, arch, *values in rows:
        old = before.get((method, arch), values)
        print(method, arch, *(new if new == o else f"{new} (was {o})" for new, o in zip(values, old)), sep="\t")
    size = options.module.stat().st_size
    print(f"{size} bytes of {BUDGET}")
    if options.write:
        TABLE.write_text(table(HEADER, rows))
    wrong = [f"{k.arch}: {k.name}: {k.stack} bytes of stack" for k in all_kernels if k.stack and not is_listed(k, STACK_ALLOWED)]
    wrong += [
        f"{k.arch}: {k.name}: {k.double} instructions of double precision in innermost loops"
        for k in all_kernels
        if k.double and k.is_float32 and not is_listed(k, DOUBLE_ALLOWED)
    ]
    wrong += [f"the module has {size} bytes; the budget is {BUDGET}"] if size > BUDGET else []
    sys.exit("\n".join(wrong) or 0)


if __name__ == "__main__":
    main()
