"""``quatrefoil info | demo | bench | --version``, also as ``python -m quatrefoil``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class _Version(argparse.Action):
    """Prints the version, which takes reading what pip has written: only where it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from ._config import version

        print(f"quatrefoil {version()}")
        parser.exit()


def _fraction(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is no fraction of at least 0")
    return value


def _compare(arguments: Sequence[str]) -> int:
    """``quatrefoil bench compare``: apart from ``bench``, whose names are those of families."""
    parser = argparse.ArgumentParser(
        prog="quatrefoil bench compare",
        description="What became slower from A to B, two files of `quatrefoil bench --json`: each row in units of a peer's time, so that "
        "another load or machine counts little. Exit status: 0; 1 with a regression; 2 for files that cannot be compared.",
    )
    parser.add_argument("a", type=Path, metavar="A", help="the earlier results")
    parser.add_argument("b", type=Path, metavar="B", help="the later results")
    parser.add_argument(
        "--margin",
        type=_fraction,
        default=0.1,
        metavar="FRACTION",
        help="a change of no more is none; nor is one within the middle halves of the runs (%(default)s)",
    )
    given = parser.parse_args(arguments)
    from .bench import compare

    return compare(given.a, given.b, margin=given.margin)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="quatrefoil",
        description="Fast kernels for four families of scientific machine learning.",
        epilog="quatrefoil demo --quick is a start; quatrefoil COMMAND --help tells the rest. In Python: import quatrefoil as qf; help(qf)",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("info", help="which kernels run here, and why those; versions of what is beside them")
    demo = commands.add_parser(
        "demo",
        help="one real job in each family, timed against a peer, with pictures",
        description="One real job in each family, timed against a peer: the way to the same numbers without quatrefoil. Prints a table and "
        "writes a page with pictures. Needs pip install 'quatrefoil[demo]'.",
    )
    demo.add_argument(
        "--out", type=Path, default=Path("quatrefoil-demo"), metavar="FOLDER", help="where the pictures and index.html go (%(default)s)"
    )
    demo.add_argument("--quick", action="store_true", help="smaller sizes and the same checks, in some seconds")
    bench = commands.add_parser(
        "bench",
        help="benchmarks against peers, other libraries that compute the same; bench compare: two runs of it",
        description="Benchmarks against peers, other libraries that compute the same: each side on one thread, or on a GPU. Values are "
        "checked before anything is timed. All of it takes half an hour. Peers come with pip install 'quatrefoil[bench]'; those that are "
        "missing are left out.",
        epilog="quatrefoil bench compare A.json B.json says what became slower between two files that --json has written.",
    )
    bench.add_argument("family", nargs="*", help="ssm, kron, cheb, wos, or one folder of them (ssm.scan); none means all")
    bench.add_argument("--peers", action=argparse.BooleanOptionalAction, default=True, help="time the peers too (the default)")
    bench.add_argument("--json", type=Path, metavar="FILE", help="write the rows as JSON; into a folder: a file with a name")
    bench.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where (%(default)s); on a GPU numbers are checked first")
    bench.add_argument("--dry", action="store_true", help="with --device cuda: try the program itself on the host, with tiny sizes")
    bench.add_argument("--plot", type=Path, metavar="FILE", help="draw the ratios, a group of bars a problem, a colour a peer")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if arguments[:2] == ["bench", "compare"]:
        return _compare(arguments[2:])
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.command == "info":
        from ._config import show_config

        show_config()
        return 0
    if given.command == "demo":
        from .demo import main as run_demo

        return run_demo(given.out, quick=given.quick)
    from ._spec import FAMILIES
    from .bench import main as run_bench
    from .bench import nouns

    for family, dot, noun in (f.partition(".") for f in given.family):
        if family not in FAMILIES:
            parser.error(f"unknown family {family!r}; expected {', '.join(FAMILIES)}")
        if dot and given.device == "cuda":
            parser.error(f"{family}.{noun} is one folder; --device cuda takes whole families")
        if dot and noun not in nouns(family):
            parser.error(f"{family} has no benchmarks of {noun!r}; expected {', '.join(nouns(family))}")
    if given.dry and given.device == "cpu":
        parser.error("--dry is for --device cuda")
    for file in (given.json, given.plot):
        if file and not file.absolute().parent.is_dir():  # said before half an hour of timing
            parser.error(f"{file}: there is no folder {file.absolute().parent}")
    if given.device == "cuda":
        from .bench.gpu import main as run_gpu_bench

        if given.plot:
            parser.error("--plot is for --device cpu")
        if given.json and given.json.is_dir():
            parser.error(f"--json {given.json} is a folder, expected a file")
        return run_gpu_bench(given.family, dry=given.dry, peers=given.peers, json_file=given.json)
    return run_bench(given.family, peers=given.peers, json_file=given.json, plot_file=given.plot)


if __name__ == "__main__":
    raise SystemExit(main())
