"""The site's generated pages: the reference for the public names, the derivations in csrc, and the benchmark tables.

This package does not need Sphinx, so tests can use it. ``conf.py`` calls ``write``.
"""

from __future__ import annotations

from pathlib import Path

from . import conventions, methods, models, performance, reference

DOCS = Path(__file__).resolve().parents[1]
ROOT = DOCS.parent


def pages() -> dict[str, str]:
    """Every generated page, by its path in docs."""
    return {
        **reference.pages(),
        **conventions.pages(),
        **methods.pages(),
        **models.pages(),
        **performance.pages(ROOT / "bench" / "results"),
    }


def write() -> None:
    """Remove old pages and write those that have changed. The others keep their dates, so Sphinx does not read them again."""
    generated = pages()
    for folder in {path.partition("/")[0] for path in generated}:
        for file in (DOCS / folder).rglob("*.*"):
            if file.relative_to(DOCS).as_posix() not in generated:
                file.unlink()
    for path, text in generated.items():
        file = DOCS / path
        if not file.exists() or file.read_text() != text:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
