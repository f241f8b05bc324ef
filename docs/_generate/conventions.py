"""The conventions page: the docstring that ``help(qf.conventions)`` shows."""

from __future__ import annotations

import inspect

from quatrefoil import conventions


def pages() -> dict[str, str]:
    text = inspect.cleandoc(conventions.__doc__ or "")
    return {"reference/conventions.rst": f"Conventions\n===========\n\n{text}\n"}
