"""``quatrefoil info | demo | bench | --version``, also as ``python -m quatrefoil``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class _Version(argparse.Action):
    """Prints the version, which is read from the package metadata only on request."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from ._config import version

        print(f"quatrefoil {version()}")
        parser.exit()


def _fraction(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a finite nonnegative number")
    return value


def _compare(arguments: Sequence[str]) -> int:
    """``quatrefoil bench compare``, which has its own parser because ``bench`` expects names of families."""
    parser = argparse.ArgumentParser(
        prog="quatrefoil bench compare",
        description="List what became slower from A to B, two files written by `quatrefoil bench --json`. Times are relative to a peer's, "
        "so the load or machine matters little. Exit status: 0 without a regression, 1 with one, 2 if the files cannot be compared.",
    )
    parser.add_argument("a", type=Path, metavar="A", help="the earlier results")
    parser.add_argument("b", type=Path, metavar="B", help="the later results")
    parser.add_argument(
        "--margin",
        type=_fraction,
        default=0.1,
        metavar="FRACTION",
        help="ignore changes up to this, and changes within the spread of the runs (%(default)s)",
    )
    options = parser.parse_args(arguments)
    from .bench import compare

    return compare(options.a, options.b, margin=options.margin)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="quatrefoil",
        description="Fast kernels for four families of methods in scientific machine learning.",
        epilog="Start with quatrefoil demo --quick; see also quatrefoil COMMAND --help. In Python: import quatrefoil as qf; help(qf)",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("info", help="show which kernels run on this machine and why, and the versions of other libraries")
    demo = commands.add_parser(
        "demo",
        help="run one real job in each family, timed against the best alternative, with pictures",
        description="Run one real job in each family, timed against the best alternative library. Prints a table and writes a page with "
        "pictures. Needs pip install 'quatrefoil[demo]'.",
    )
    demo.add_argument(
        "--out", type=Path, default=Path("quatrefoil-demo"), metavar="FOLDER", help="where the pictures and index.html go (%(default)s)"
    )
    demo.add_argument("--quick", action="store_true", help="use smaller sizes, which take seconds, with the same checks")
    bench = commands.add_parser(
        "bench",
        help="run benchmarks against other libraries; bench compare: compare two runs",
        description="Time quatrefoil and its peers, other libraries that compute the same results: each on one thread, or on a GPU. Values "
        "are checked before anything is timed. Running everything takes half an hour. pip install 'quatrefoil[bench]' installs the peers; "
        "missing ones are skipped.",
        epilog="quatrefoil bench compare A.json B.json lists what became slower between two files written by --json. "
        "quatrefoil bench jobs --help: complete jobs. quatrefoil bench models --help: complete models of the transformers library.",
    )
    bench.add_argument("family", nargs="*", help="ssm, kron, cheb, wos, or one method (ssm.scan); default: all")
    bench.add_argument("--peers", action=argparse.BooleanOptionalAction, default=True, help="also time the peers (the default)")
    bench.add_argument(
        "--compile", action=argparse.BooleanOptionalAction, default=False, help="also time PyTorch's peers under torch.compile"
    )
    bench.add_argument(
        "--json", type=Path, metavar="FILE", help="write the rows as JSON; in a folder, FILE is named after the processor and date"
    )
    bench.add_argument(
        "--device", choices=["cpu", "cuda"], default="cpu", help="where to run (%(default)s); on a GPU, values are checked first"
    )
    bench.add_argument("--dry", action="store_true", help="with --device cuda: try the benchmark on the host with tiny sizes")
    bench.add_argument(
        "--plot", type=Path, metavar="FILE", help="plot the ratios, with one group of bars per problem and one colour per peer"
    )
    bench.add_argument("--force", action="store_true", help="write --json even on a busy machine; the file records the load")
    return parser


def _jobs(arguments: Sequence[str]) -> int:
    """``quatrefoil bench jobs``, which has its own parser like ``compare``."""
    from .bench.jobs import JOBS, main

    parser = argparse.ArgumentParser(
        prog="quatrefoil bench jobs",
        description="Run complete jobs with quatrefoil and with other libraries, on one thread and on all: time, peak memory and error. "
        "Every run is a separate process.",
    )
    parser.add_argument("job", nargs="*", choices=[*JOBS, []], metavar="JOB", help=f"{', '.join(JOBS)}; default: all")
    parser.add_argument("--quick", action="store_true", help="small sizes, to check that everything runs")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each side; the median is reported (%(default)s)")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the rows as JSON; in a folder, FILE is named after the processor and date"
    )
    parser.add_argument("--plots", type=Path, metavar="FOLDER", help="plot time against error, one figure per job")
    parser.add_argument("--force", action="store_true", help="write --json even on a busy machine; the file records the load")
    options = parser.parse_args(arguments)
    return main(options.job, rounds=options.rounds, quick=options.quick, json_file=options.json, plots=options.plots, force=options.force)


def main(arguments: Sequence[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if arguments[:2] == ["bench", "compare"]:
        return _compare(arguments[2:])
    if arguments[:2] == ["bench", "jobs"]:
        return _jobs(arguments[2:])
    if arguments[:2] == ["bench", "models"]:
        from .bench.models import main as run_models

        return run_models(arguments[2:])
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command == "info":
        from ._config import show_config

        show_config()
        return 0
    if options.command == "demo":
        from .demo import main as run_demo

        return run_demo(options.out, quick=options.quick)
    from ._spec import FAMILIES
    from .bench import main as run_bench
    from .bench import methods

    for family, dot, method in (f.partition(".") for f in options.family):
        if family not in FAMILIES:
            parser.error(f"unknown family {family!r}; expected {', '.join(FAMILIES)}")
        if dot and options.device == "cuda":
            parser.error(f"{family}.{method} is a single method; --device cuda accepts only whole families")
        if dot and method not in methods(family):
            parser.error(f"{family} has no benchmarks of {method!r}; expected {', '.join(methods(family))}")
    if options.dry and options.device == "cpu":
        parser.error("--dry requires --device cuda")
    for file in (options.json, options.plot):
        if file and not file.absolute().parent.is_dir():  # reported before half an hour of timing
            parser.error(f"{file}: the folder {file.absolute().parent} does not exist")
    if options.device == "cuda":
        from .bench.gpu import main as run_gpu_bench

        if options.plot:
            parser.error("--plot requires --device cpu")
        if options.json and options.json.is_dir():
            parser.error(f"--json {options.json} is a folder, expected a file")
        return run_gpu_bench(options.family, dry=options.dry, peers=options.peers, json_file=options.json)
    return run_bench(
        options.family,
        peers=options.peers,
        json_file=options.json,
        plot_file=options.plot,
        compiled=options.compile,
        force=options.force,
    )
