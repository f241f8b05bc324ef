"""What every op is tested on: a case makes float64 or complex128 arguments, the suite casts them. One module a family, named like it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Case:
    op: str  # its name in the family's table
    name: str
    make: Callable[[np.random.Generator], tuple[list[Any], dict[str, Any]]]  # -> positional arguments (None where absent), keywords

    def __str__(self) -> str:
        return f"{self.op}-{self.name}"
