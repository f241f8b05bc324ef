"""Friction in a pipe
==================

Operations on approximations of the head loss in a pipe: pieces, slices, roots, extrema, powers, integrals, compositions and statistics.

::

    python examples/cheb/pipe_friction.py [PICTURE]

The friction factor (Haaland, J. Fluids Eng. 105 (1983) 89) jumps where the flow becomes turbulent. It contains the power 1.11 of the
roughness, which is not smooth at zero. ``PiecewiseTucker`` handles both. ``ChebTucker`` approximates the loss of a turbulent flow. It
returns the speed at which the loss reaches a limit, the friction velocity at the wall, the mean loss while the speed grows, the exponent of
the speed, the diameter with the lowest cost, and the effects of uncertain inputs. A tensor train shows which of ten sections in series
matters most. The picture needs matplotlib.
"""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
from scipy import stats

import quatrefoil as qf

GRAVITY, VISCOSITY, TURBULENT = 9.81, 1e-6, 2300.0  # m/s², m²/s, Reynolds number
CHART = [(500.0, 20000.0), (0.0, 0.05)]  # Reynolds number, roughness relative to the diameter
BOX = [(0.5, 3.0), (0.05, 0.2), (1e-5, 5e-4)]  # speed in m/s, diameter and roughness in m
DIAMETER, ROUGHNESS, FLOW, LIMIT = 0.1, 1e-4, 0.01, 5.0  # m, m, m³/s, m
SECTIONS = 10


def factor(reynolds: Any, roughness: Any) -> Any:
    rough = (-1.8 * np.log10((roughness / 3.7) ** 1.11 + 6.9 / reynolds)) ** -2
    return np.where(reynolds < TURBULENT, 64 / reynolds, rough)


def loss(speed: Any, diameter: Any, roughness: Any) -> Any:
    """The head loss of 100 m of pipe, in metres."""
    return factor(speed * diameter / VISCOSITY, roughness / diameter) * 100 / diameter * speed**2 / (2 * GRAVITY)


def speed_of(diameter: Any) -> Any:
    return 4 * FLOW / (math.pi * diameter**2)


def costs(diameter: Any) -> Any:
    """Annual cost of 100 m of pipe and of the energy for its pump."""
    power = 9.81 * FLOW * loss(speed_of(diameter), diameter, ROUGHNESS) / 0.7  # kW
    return 1500 * (diameter / 0.1) ** 1.5 + 8760 * 0.2 * power


def series(*diameters: Any) -> Any:
    """The loss of sections of 10, 20, .., 100 m."""
    return sum((k + 1) / 10 * loss(speed_of(diameter), diameter, ROUGHNESS) for k, diameter in enumerate(diameters))


def draw(answers: dict[str, Any], path: str) -> None:
    import matplotlib.pyplot as plt

    figure, ((moody, line), (money, bars)) = plt.subplots(2, 2, figsize=(10, 7), layout="constrained")
    reynolds = np.geomspace(*CHART[0], 400)
    for roughness in (0, 0.001, 0.005, 0.02, 0.05):
        moody.loglog(reynolds, answers["chart"](reynolds, roughness), label=f"{roughness:g}")
    moody.set(title="friction factor by roughness", xlabel="Reynolds number")
    moody.legend()
    speed = np.linspace(*BOX[0], 200)
    line.plot(speed, answers["line"](speed))
    line.plot(answers["speed"], LIMIT, "o")
    line.axhline(LIMIT, color="0.7", lw=1)
    line.set(title="loss of 100 m", xlabel="speed in m/s", ylabel="m")
    diameter = np.linspace(*answers["costs"].domain[0], 200)
    money.plot(1000 * diameter, answers["costs"](diameter))
    money.plot(1000 * answers["cheapest"].point, answers["cheapest"].value, "o")
    money.set(title="costs per year", xlabel="diameter in mm")
    bars.bar(10 * np.arange(1, SECTIONS + 1), answers["sections"], 8)
    bars.set(title="total Sobol index of a section", xlabel="its length in m")
    figure.savefig(path, dpi=110)


def main(path: str | None = None) -> dict[str, Any]:
    chart = qf.cheb.PiecewiseTucker.from_function(factor, CHART, special_points={0: [TURBULENT]}, singular={1: "lo"}, tol=1e-8)
    low, (reynolds, roughness) = chart.minimize()
    print(f"friction factor: {chart.n_evaluations} calls, mean {chart.mean():.5f}")
    print(f"smallest factor {low:.5f} at Reynolds number {reynolds:.0f} and roughness {roughness:.3f}")

    ct = qf.cheb.ChebTucker.from_function(loss, BOX, tol=1e-7)
    line = ct.at(y=DIAMETER, z=ROUGHNESS)  # a function of the speed
    limit = (line - LIMIT).roots()
    speed, start = float(limit[0]), BOX[0][0]
    mean = line.cumsum(0)(speed) / (speed - start)
    print(f"loss: {ct.n_evaluations} calls; {LIMIT:g} m at {speed:.4f} m/s; mean {mean:.3f} m while the speed grows from {start} m/s")
    width = qf.cheb.ChebTucker.from_function(lambda v, d, k: GRAVITY * d / 400, BOX)
    shear, exponent = (ct * width) ** 0.5, ct.compose(np.log).diff(0)
    at = (speed, DIAMETER, ROUGHNESS)
    print(f"friction velocity there {shear(*at):.4f} m/s; the loss grows with the power {exponent(*at) * speed:.3f} of the speed")

    price = qf.cheb.ChebTucker.from_function(costs, (0.07, 0.15))
    cheapest = price.minimize()
    print(f"costs: {cheapest.value:.0f} per year with {1000 * cheapest.point[0]:.1f} mm")
    inputs = [stats.norm(1.5, 0.1), stats.norm(DIAMETER, 0.002), stats.uniform(5e-5, 2e-4)]
    values = ct.sample_output(100_000, distributions=inputs, rng=0)
    total = ct.sobol("total", distributions=inputs)
    middle, deviation = ct.mean(distributions=inputs), ct.var(distributions=inputs) ** 0.5
    print(f"uncertain: {middle:.3f} +- {deviation:.3f} m, 99% below {np.quantile(values, 0.99):.2f} m, total indices {total.round(3)}")
    train = qf.cheb.ChebTucker.from_function(series, [(0.08, 0.12)] * SECTIONS, tol=1e-6, method="tt")
    swapped = train.transpose()  # the longest section first
    print(f"ten sections: {train.n_evaluations} calls, ranks {train.core.ranks}, total indices {train.sobol('total').round(3)}")

    answers = {"chart": chart, "tensor": ct, "line": line, "speed": speed, "start": mean, "shear": shear, "exponent": exponent}
    answers |= {"costs": price, "cheapest": cheapest, "values": values, "mean": middle, "deviation": deviation}
    answers |= {"sections": train.sobol("total"), "swapped": swapped}
    if path is not None:
        draw(answers, path)
    return answers


if __name__ == "__main__":
    main(*sys.argv[1:2])
