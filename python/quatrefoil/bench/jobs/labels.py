"""Training labels for a neural operator: Poisson's equation on 200 star-shaped domains, and with 64 right-hand sides on one of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from ...wos.models.bench import COARSE, FINE, Instances
from . import Side

TITLE = "Labels of a neural operator: 200 stars, 64 right-hand sides on one"
MEASURE = "RMS error over the points of 20 stars and of all right-hand sides"
QUICK = {"STARS": 3, "SIDES_OF_ONE": 4, "CHECKED": 3, "FINE": 3}
STARS, SIDES_OF_ONE, CHECKED = 200, 64, 20
Data = tuple[Instances, Instances]
Answer = tuple[np.ndarray, np.ndarray]


def data() -> Data:
    return Instances(STARS), Instances(SIDES_OF_ONE, geometries=1)


def _truth() -> Answer:
    few = Instances(STARS)
    few.points = few.points[:CHECKED]  # the first stars only
    return few.elements(FINE), Instances(SIDES_OF_ONE, geometries=1).elements(FINE)


def errors(data: Data, answer: Answer) -> dict[str, float]:
    stars, one = (np.sqrt(np.mean((a[: len(b)] - b) ** 2)) for a, b in zip(answer, _truth()))
    return {"RMS error, stars": stars, "one star": one}


def by_walks(walks: int) -> Callable[[Data], Answer]:
    def run(data: Data) -> Answer:
        stars, one = data
        labels = partial(Instances.labels, walks=walks, gradient=False, sampling="sobol")
        values = labels(stars).value, labels(one, shared_walks=True).value
        return values[0].astype(float), values[1].astype(float)

    return run


def by_elements(refine: int, data: Data) -> Answer:
    """Solve with finite elements; the mesh and its factorisation are computed once per star."""
    return data[0].elements(refine), data[1].elements(refine)


SIDES = {
    "quatrefoil": Side(by_walks(7)),
    "quatrefoil, 100 walks": Side(by_walks(100)),
    "scikit-fem, 13 unknowns": Side(partial(by_elements, COARSE), "skfem"),
    "scikit-fem, 1985 unknowns": Side(partial(by_elements, 4), "skfem"),
}
