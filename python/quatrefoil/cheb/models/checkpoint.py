"""A text file of the values of a costly function: one line per point with coordinates and outputs, appended as they are computed."""

from __future__ import annotations

import os
from collections.abc import Iterable

import numpy as np

OUTPUT = "f"  # name of the output in the first line; f0, f1, ... if there are several


class Checkpoint:
    """Points and values in a file, to which new ones are appended. Numbers are written so that reading returns the same bits."""

    def __init__(self, file: str | os.PathLike[str], d: int, label: str) -> None:
        self.file, self.d, self.label = os.fspath(file), d, label
        self.outputs: int | None = None  # number of outputs if f returns a tuple
        self.values: dict[bytes, np.ndarray] = {}
        self.is_empty = True
        if os.path.exists(self.file):
            with open(self.file, encoding="utf-8") as lines:
                text = lines.read()
            *rows, unfinished = text.split("\n")
            if rows:
                self._read(rows[0].split(","), rows[1:])
            if unfinished:  # an incomplete last line, left by a program that was killed
                with open(self.file, "r+", encoding="utf-8") as lines:
                    lines.truncate(len(text) - len(unfinished))

    def _read(self, names: list[str], rows: Iterable[str]) -> None:
        outputs = names[self.d :]
        several = [f"{OUTPUT}{i}" for i in range(len(outputs))]
        if names[: self.d] != self._inputs or (outputs != [OUTPUT] and outputs != several) or not outputs:
            expected = f"{','.join(self._inputs)},{OUTPUT}, the header of this method for {self.d} inputs"
            raise ValueError(f"{self.label}: checkpoint {self.file!r} begins with {','.join(names)[:80]!r}, expected {expected}")
        self.is_empty, self.outputs = False, None if outputs == [OUTPUT] else len(outputs)
        for number, row in enumerate(rows, start=2):
            try:
                numbers = np.array(row.split(","), np.float64)
            except ValueError:
                numbers = np.zeros(0)
            if numbers.size != len(names):
                raise ValueError(f"{self.label}: line {number} of checkpoint {self.file!r} is {row[:80]!r}, expected {len(names)} numbers")
            self.values[numbers[: self.d].tobytes()] = numbers[self.d :]

    @property
    def _inputs(self) -> list[str]:
        return [f"x{k}" for k in range(self.d)]

    def append(self, X: np.ndarray, values: np.ndarray, outputs: int | None) -> None:
        """Add points (P, d) with values (outputs, P)."""
        lines = [",".join(repr(float(v)) for v in (*x, *y)) for x, y in zip(X, values.T)]
        if self.is_empty:
            names = [OUTPUT] if outputs is None else [f"{OUTPUT}{i}" for i in range(outputs)]
            lines.insert(0, ",".join([*self._inputs, *names]))
            self.is_empty = False
        with open(self.file, "a", encoding="utf-8") as file:
            file.write("".join(f"{line}\n" for line in lines))
