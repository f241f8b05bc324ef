"""Writes ``build/torch-cpu`` in the layout that Hugging Face's ``kernels`` loads: ``python packaging/kernels/build.py [folder]``."""

import json
import shutil
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent


def build(folder: Path) -> Path:
    """Write the variant's folder and its metadata; return the folder."""
    general = tomllib.loads((HERE / "build.toml").read_text())["general"]
    variant = folder / "build" / "torch-cpu"
    shutil.copytree(HERE / "torch-ext" / "quatrefoil_kernels", variant, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
    metadata = {
        "id": f"_quatrefoil_kernels_cpu_{general['version']}",
        "name": general["name"],
        "version": general["version"],
        "license": general["license"],
        "python-depends": [],
        "backend": {"type": "cpu"},
    }
    (variant / "metadata.json").write_text(json.dumps(metadata, indent=2))
    return variant


if __name__ == "__main__":
    print(build(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE))
