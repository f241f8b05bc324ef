"""Pictures of the tutorials, drawn by programs in docs/programs when the site is built.

``python docs/_generate/pictures.py`` also draws the README's picture, which is committed in docs/_static.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1]
PROGRAMS = DOCS / "programs"


def write(folder: Path = DOCS / "pictures") -> None:
    """Draw one picture per program ``draw_*.py`` that has changed."""
    folder.mkdir(exist_ok=True)
    for program in sorted(PROGRAMS.glob("draw_*.py")):
        name = program.stem.removeprefix("draw_")
        picture, mark = folder / f"{name}.png", folder / f"{name}.sha256"
        text = b"".join(p.read_bytes() for p in sorted(PROGRAMS.glob("*.py")) if p == program or p.stem in program.read_text())
        key = hashlib.sha256(text).hexdigest()
        if picture.exists() and mark.exists() and mark.read_text() == key:
            continue
        subprocess.run([sys.executable, program, picture], check=True, env={**os.environ, "MPLBACKEND": "Agg"})
        mark.write_text(key)


WIDTH, COLOURS = 720, 224  # at most 60 kB


def write_small(picture: Path = DOCS / "pictures/kron.png", into: Path = DOCS / "_static") -> None:
    """The README's picture: narrower, with few colours."""
    from PIL import Image

    image = Image.open(picture).convert("RGB")
    image = image.resize((WIDTH, round(image.height * WIDTH / image.width)), Image.Resampling.LANCZOS)
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(into / picture.name, optimize=True)


if __name__ == "__main__":
    write()
    write_small()
