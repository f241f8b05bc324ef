"""What of the site is made when it is built: the reference of the public names, the derivations of csrc, the tables of the benchmarks.

Plain Python that writes text, without Sphinx, so that the tests can ask it. ``conf.py`` calls ``write``.
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
    """Those pages, where they are not so yet: Sphinx reads again what is newer than its last build."""
    made = pages()
    for folder in {path.partition("/")[0] for path in made}:
        for old in (DOCS / folder).rglob("*.*"):
            if old.relative_to(DOCS).as_posix() not in made:
                old.unlink()
    for path, text in made.items():
        file = DOCS / path
        if not file.exists() or file.read_text() != text:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
