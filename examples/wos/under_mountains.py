"""Temperature and heat flow under mountains
=========================================

How a landscape affects the temperature in the rock below it, and the heat flow measured in boreholes.

::

    python examples/wos/under_mountains.py [WALKS] [PICTURE]

The section is 12 km long and crosses a valley in Tennessee; the heights come with matplotlib. ΔT = 0 in the rock. The surface has the
temperature of the air, which falls with height. Heat flows in from below and cannot leave through the sides. It escapes more easily into a
valley, so the gradient there is larger than at depth, and heat flows derived from boreholes must be corrected for this. Walk on Spheres
computes temperatures and gradients only in the boreholes, with standard errors and without a mesh. Walks are reflected at the sides and
the bottom. They solve for v = T + FLOW y, which has no flux at the bottom. The last line of the output compares the walks with a known
solution, v = cos(κ x) cosh(κ (y - BOTTOM)). Requires matplotlib (pip install 'quatrefoil[demo]').
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np

import quatrefoil as qf

FLOW, LAPSE, SEA_LEVEL = 25.0, 6.0, 15.0  # K/km from below, K/km in the air, °C
ROW, COLUMNS, STEP, BOTTOM = 296, slice(160, 321), 0.0744, -4.0  # row and columns of the map; km between columns; height in km
DEPTHS = np.array([0.1, 0.2, 0.3, 0.4, 0.6, 0.8])  # km, in the boreholes


def surface() -> np.ndarray:
    """The surface of the section, (points, 2) in km."""
    try:
        from matplotlib.cbook import get_sample_data
    except ImportError as error:
        raise ImportError("the landscape comes with matplotlib: pip install 'quatrefoil[plot]'") from error

    with get_sample_data("jacksboro_fault_dem.npz") as file:
        heights = file["elevation"][ROW, COLUMNS] / 1000.0
    return np.stack([STEP * np.arange(heights.size), heights], axis=1)


def rock(top: np.ndarray) -> tuple[qf.wos.Polygon, np.ndarray]:
    """The section down to the bottom, and a mask of its reflecting sides: all except the surface."""
    below = np.array([[top[0, 0], BOTTOM], [top[-1, 0], BOTTOM]])
    corners = np.concatenate([below, top[::-1]])
    reflecting = np.zeros(len(corners), bool)
    reflecting[[0, 1, -1]] = True  # the bottom and the two sides
    return qf.wos.Polygon(corners), reflecting


def walk(top: np.ndarray, X: np.ndarray, walks: int, surface_values) -> qf.wos.Result[np.ndarray]:
    """Solve for v, with gradients, given its values on the surface and no flux through the other sides."""
    polygon, reflecting = rock(top)
    return qf.wos.solve(polygon, X, dirichlet=surface_values, neumann=(reflecting, 0.0), walks=walks, epsilon=1e-4, gradient=True, rng=0)


def temperatures(top: np.ndarray, X: np.ndarray, walks: int) -> tuple[np.ndarray, np.ndarray, qf.wos.Result[np.ndarray]]:
    """(T, its downward gradients, the result for v, which has the same standard errors)."""
    result = walk(top, X, walks, qf.wos.Polynomial(np.array([[SEA_LEVEL, FLOW - LAPSE]])))
    return result.value - FLOW * X[:, 1], FLOW - result.grad[:, 1], result


def known(top: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """A harmonic function v without flux through the sides and the bottom."""
    kappa = 2 * np.pi / (top[-1, 0] - top[0, 0])
    return lambda x: np.cos(kappa * (x[:, 0] - top[0, 0])) * np.cosh(kappa * (x[:, 1] - BOTTOM))


def boreholes(top: np.ndarray) -> dict[str, np.ndarray]:
    """Points in two boreholes, below the highest and the lowest point of the middle part of the section."""
    middle = np.arange(len(top) // 6, len(top) - len(top) // 6)
    cells = {"ridge": middle[top[middle, 1].argmax()], "valley": middle[top[middle, 1].argmin()]}
    return {name: np.stack([np.full(DEPTHS.size, top[i, 0]), top[i, 1] - DEPTHS], axis=1) for name, i in cells.items()}


def draw(top: np.ndarray, holes: dict[str, np.ndarray], gradients: dict[str, tuple[np.ndarray, np.ndarray]], walks: int, file: str) -> None:
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError("the picture needs matplotlib: pip install 'quatrefoil[plot]'") from error

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    x, y = np.linspace(*top[[0, -1], 0], 74)[1:-1], np.linspace(-1.2, top[:, 1].max(), 30)
    X = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    inside = X[:, 1] < np.interp(X[:, 0], *top.T) - 0.02
    image = np.full(len(X), np.nan)
    image[inside] = temperatures(top, X[inside], walks)[0]
    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 4), layout="constrained", width_ratios=[2, 1])
    shown = left.pcolormesh(x, y, image.reshape(len(y), len(x)), cmap="inferno", shading="nearest")
    figure.colorbar(shown, ax=left, label="°C")
    left.plot(*top.T, "k", lw=1)
    for name, hole in holes.items():
        left.plot(*hole.T, ".-", label=name)
        value, error = gradients[name]
        right.errorbar(value, DEPTHS, xerr=2 * error, fmt="o-", label=name)
    left.set(xlabel="km", ylabel="height in km")
    left.legend(loc="lower left")
    right.axvline(FLOW, color="k", lw=0.8, ls="--", label="from below")
    right.invert_yaxis()
    right.set(xlabel="gradient, K/km", ylabel="depth, km")
    right.legend()
    figure.savefig(file, dpi=120)


def main(walks: int = 16384, file: str | None = None) -> None:
    top = surface()
    print(f"{len(top)} heights from {top[:, 1].min():.2f} to {top[:, 1].max():.2f} km; {FLOW:.0f} K/km from below, {walks} walks per point")
    holes, gradients = boreholes(top), {}
    for name, hole in holes.items():
        start = time.perf_counter()
        T, gradient, result = temperatures(top, hole, walks)
        seconds = time.perf_counter() - start
        gradients[name] = gradient, result.grad_stderr[:, 1]
        print(f"below the {name}, in {seconds:.1f} s, {result.mean_steps.mean():.0f} steps per walk:")
        for i, depth in enumerate(DEPTHS):
            plain = SEA_LEVEL - LAPSE * (hole[i, 1] + depth) + FLOW * depth
            print(
                f"  {depth:.1f} km: {T[i]:.2f} +- {result.stderr[i]:.2f} °C, below flat ground {plain:.2f}; "
                f"gradient {gradient[i]:.1f} +- {gradients[name][1][i]:.1f} K/km"
            )
    X, v = np.concatenate(list(holes.values())), known(top)
    result = walk(top, X, walks, v)
    z = (result.value - v(X)) / result.stderr
    print(f"check against the known v: RMS error of {np.sqrt(np.mean(z**2)):.2f} standard errors, the largest {np.abs(z).max():.1f}")
    if file:
        draw(top, holes, gradients, max(walks // 64, 2), file)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 16384, sys.argv[2] if len(sys.argv) > 2 else None)
