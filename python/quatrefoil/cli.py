"""``quatrefoil info | demo | bench | --version``, also as ``python -m quatrefoil``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class _Version(argparse.Action):
    """Prints the version, which takes reading what pip has written: only where it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from ._config import version

        print(f"quatrefoil {version()}")
        parser.exit()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="quatrefoil", description="Fast kernels for four families of scientific machine learning.")
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("info", help="versions, backend and why it is that one")
    demo = commands.add_parser("demo", help="one real job in each family, timed against a peer, with pictures")
    demo.add_argument("--out", type=Path, default=Path("quatrefoil-demo"), metavar="FOLDER", help="where the pictures go (%(default)s)")
    bench = commands.add_parser("bench", help="benchmarks against peers: on one thread on both sides, or on a GPU")
    bench.add_argument("family", nargs="*", help="ssm, kron, cheb, wos, or one folder of them (ssm.scan); none means all")
    bench.add_argument("--peers", action=argparse.BooleanOptionalAction, default=True, help="time the peers too (the default)")
    bench.add_argument("--json", type=Path, metavar="FILE", help="write the rows as JSON")
    bench.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where (%(default)s); on a GPU numbers are checked first")
    bench.add_argument("--dry", action="store_true", help="with --device cuda: try the program itself on the host, with tiny sizes")
    bench.add_argument("--plot", type=Path, metavar="FILE", help="draw the ratios")
    given = parser.parse_args(arguments)

    if given.command == "info":
        from ._config import show_config

        show_config()
        return 0
    if given.command == "demo":
        from .demo import main as run_demo

        return run_demo(given.out)
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
    if given.device == "cuda":
        from .bench.gpu import main as run_gpu_bench

        if given.plot:
            parser.error("--plot is for --device cpu")
        return run_gpu_bench(given.family, dry=given.dry, peers=given.peers, json_file=given.json)
    return run_bench(given.family, peers=given.peers, json_file=given.json, plot_file=given.plot)


if __name__ == "__main__":
    raise SystemExit(main())
