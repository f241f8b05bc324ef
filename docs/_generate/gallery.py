"""The gallery: which examples run when the site is built, their arguments, and their pictures."""

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
# Arguments of each example, before the name of its picture.
BEFORE_PICTURE: dict[str, list[str]] = {
    "arma_asymmetric": ["1000"],
    "assimilate_waves": ["0.3"],
    "brain": ["160", "64"],
    "clouds": [],
    "deep_chaos": ["8"],
    "hankel_network": ["100"],
    "ionic_crystal": ["12"],
    "lotka_volterra": [],
    "loudspeaker": ["60"],
    "molecule": ["60"],
    "multiscale": ["300", "60"],
    "neural_operator": ["10", "256"],  # half a minute; the default takes minutes
    "option_greeks": ["200000"],
    "pipe_friction": [],
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
    "trajectory": [],
    "tucker_snapshots": ["6"],
    "uncertainty_compared": [],
    "under_mountains": ["16384"],
}


def imports(file: Path) -> set[str]:
    """The packages that a program imports."""
    nodes = list(ast.walk(ast.parse(file.read_text())))
    names = {a.name for n in nodes if isinstance(n, ast.Import) for a in n.names}
    return {name.partition(".")[0] for name in names | {n.module for n in nodes if isinstance(n, ast.ImportFrom) and n.module}}


@cache
def skipped() -> dict[str, str]:
    """Examples that are skipped, with the reasons."""
    reasons: dict[str, str] = {}
    compiled = config()["backend"] == "native"
    for file in sorted(EXAMPLES.glob("*/*.py")):
        if missing := sorted(p for p in imports(file) if importlib.util.find_spec(p) is None):
            reasons[file.stem] = f"needs {' and '.join(missing)}"
        elif not compiled:
            reasons.setdefault(file.stem, "takes long without compiled kernels")
    return reasons


def pattern() -> str:
    """A regular expression for the examples that run."""
    names = [f.stem for f in sorted(EXAMPLES.glob("*/*.py")) if f.stem not in skipped()]
    return rf"/({'|'.join(names)})\.py$" if names else r"(?!)"


def arguments(gallery_conf: dict[str, Any], script_vars: dict[str, Any]) -> list[str]:
    """The arguments of an example, including the path of its picture."""
    name = Path(script_vars["src_file"]).stem
    PICTURES.mkdir(parents=True, exist_ok=True)
    return [
        *BEFORE_PICTURE[name],
        os.path.relpath(PICTURES / f"{name}.png", Path(script_vars["src_file"]).parent),
    ]  # relative, because it may be printed


def picture(block: Any, block_vars: dict[str, Any], gallery_conf: dict[str, Any]) -> str:
    """The picture written by an example, for its page."""
    from sphinx_gallery.scrapers import figure_rst

    file = PICTURES / f"{Path(block_vars['src_file']).stem}.png"
    if not file.exists():
        return ""
    target = next(block_vars["image_path_iterator"])
    shutil.move(file, target)
    return figure_rst([target], gallery_conf["src_dir"], file.stem.replace("_", " "))


def note(app: Any, docname: str, source: list[str]) -> None:
    """Add the reason to the page of an example that does not run."""
    folder, _, name = docname.rpartition("/")
    if folder.startswith("gallery/") and (why := skipped().get(name)):
        head, line, rest = source[0].partition("\n\n.. _sphx_glr_")
        title_end = rest.find("\n\n", rest.find("====")) if line else -1
        if title_end > 0:
            source[0] = f"{head}{line}{rest[:title_end]}\n\n.. note::\n\n    Not run when this site was built: it {why}.{rest[title_end:]}"
