"""The gallery: which examples are run when the site is built, with what arguments, and where their pictures are."""

from __future__ import annotations

import ast
import importlib.util
import os
import shutil
from functools import cache
from pathlib import Path
from typing import Any

from quatrefoil import config

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
PICTURES = ROOT / "build" / "gallery"
# What comes before the name of the picture.
BEFORE_PICTURE: dict[str, list[str]] = {
    "arma_asymmetric": ["1000"],
    "brain": ["160", "64"],
    "clouds": [],
    "deep_chaos": ["8"],
    "ionic_crystal": ["12"],
    "lotka_volterra": [],
    "loudspeaker": ["60"],
    "molecule": ["60"],
    "multiscale": ["300", "60"],
    "neural_operator": ["20", "512"],  # a minute; all 60 epochs take three
    "option_greeks": ["200000"],
    "polynomial_chaos": ["5"],
    "ptd": ["32"],
    "rate_of_change": [],
    "restore_photograph": ["256"],
    "sea_temperature": [],
    "slim_kl": [],
    "sobol_indices": [],
    "spectral_update": ["50"],
    "stripes": [],
    "ten_dimensions": ["10"],
    "train_s4d": ["60"],
    "tucker_snapshots": ["6"],
    "uncertainty_compared": [],
    "under_mountains": ["16384"],
}


def imports(file: Path) -> set[str]:
    """Packages that a program imports, wherever it does."""
    nodes = list(ast.walk(ast.parse(file.read_text())))
    found = {a.name for n in nodes if isinstance(n, ast.Import) for a in n.names}
    return {name.partition(".")[0] for name in found | {n.module for n in nodes if isinstance(n, ast.ImportFrom) and n.module}}


@cache
def left_out() -> dict[str, str]:
    """Examples that are not run, and why."""
    made: dict[str, str] = {}
    compiled = config()["backend"] == "native"
    for file in sorted(EXAMPLES.glob("*/*.py")):
        if missing := sorted(p for p in imports(file) if importlib.util.find_spec(p) is None):
            made[file.stem] = f"needs {' and '.join(missing)}"
        elif not compiled:
            made.setdefault(file.stem, "takes long without compiled kernels")
    return made


def pattern() -> str:
    """Of the names of those that are run."""
    names = [f.stem for f in sorted(EXAMPLES.glob("*/*.py")) if f.stem not in left_out()]
    return rf"/({'|'.join(names)})\.py$" if names else r"(?!)"


def arguments(gallery_conf: dict[str, Any], script_vars: dict[str, Any]) -> list[str]:
    """What a program is given: the place for its picture."""
    name = Path(script_vars["src_file"]).stem
    PICTURES.mkdir(parents=True, exist_ok=True)
    return [
        *BEFORE_PICTURE[name],
        os.path.relpath(PICTURES / f"{name}.png", Path(script_vars["src_file"]).parent),
    ]  # run there, and what it prints has no place of ours


def picture(block: Any, block_vars: dict[str, Any], gallery_conf: dict[str, Any]) -> str:
    """The picture that a program has written, for its page."""
    from sphinx_gallery.scrapers import figure_rst

    made = PICTURES / f"{Path(block_vars['src_file']).stem}.png"
    if not made.exists():
        return ""
    place = next(block_vars["image_path_iterator"])
    shutil.move(made, place)
    return figure_rst([place], gallery_conf["src_dir"], made.stem.replace("_", " "))


def note(app: Any, docname: str, source: list[str]) -> None:
    """On the page of an example that is not run, why."""
    folder, _, name = docname.rpartition("/")
    if folder.startswith("gallery/") and (why := left_out().get(name)):
        head, line, rest = source[0].partition("\n\n.. _sphx_glr_")
        title_end = rest.find("\n\n", rest.find("====")) if line else -1
        if title_end > 0:
            source[0] = f"{head}{line}{rest[:title_end]}\n\n.. note::\n\n    Not run when this site was built: it {why}.{rest[title_end:]}"
