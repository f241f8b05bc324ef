"""Learning a spectrum from data that six agents keep private
==========================================================

Each of six agents has five years of monthly values. They learn one covariance together without sharing their data, and each forecasts
better with it than with a covariance from its own five years.

::

    python examples/kron/slim_kl.py [picture.png]

The values contain a yearly cycle, its second harmonic, a cycle of 43 months, and noise. The agents exchange only the weights of 201
spectral components, rounded to 10 bits. Components that the data do not need end with a weight of exactly 0.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np

import quatrefoil as qf

AGENTS, OWN, AHEAD, NOISE = 6, 60, 48, 0.3
MONTHS = np.arange(float(AGENTS * OWN + AHEAD))
CYCLES = {12: 1.0, 6: 0.6, 43: 0.8}  # months: amplitude
SETTING = {"means": np.linspace(0, 0.5, 201), "noise": NOISE**2, "tol": 1e-4}


def truth() -> np.ndarray:
    return sum(size * np.cos(2 * np.pi * MONTHS / months + months) for months, size in CYCLES.items())


def seen() -> np.ndarray:
    return truth()[: AGENTS * OWN] + NOISE * np.random.default_rng(0).standard_normal(AGENTS * OWN)


def own(agent: int) -> tuple[slice, slice]:
    """The months of an agent, and the months after them."""
    end = (agent + 1) * OWN
    return slice(end - OWN, end), slice(end, end + AHEAD)


def together() -> qf.kron.SlimKL:
    with ThreadPoolExecutor(AGENTS) as executor:
        model = qf.kron.SlimKL(**SETTING, agents=AGENTS, quantization=2**-10, executor=executor, rng=0)
        return model.fit(MONTHS[: AGENTS * OWN], seen())


def forecast(model: qf.kron.SlimKL, agent: int) -> np.ndarray:
    """A forecast from the data of one agent, with the weights of ``model``."""
    past, ahead = own(agent)
    options = {"weights": model.weights_, "means": model.means, "std": 0.001}
    C = qf.kron.gsmp_kernel(MONTHS[past], **options) + NOISE**2 * np.eye(OWN)
    return qf.kron.gsmp_kernel(MONTHS[ahead], MONTHS[past], **options) @ np.linalg.solve(C, seen()[past])


def run() -> tuple[qf.kron.SlimKL, np.ndarray]:
    """The shared model, and for each agent the root mean square errors of its forecast: with weights from its own data, with the shared
    weights, and of a forecast of 0."""
    shared, errors = together(), []
    for agent in range(AGENTS):
        past, ahead = own(agent)
        alone = qf.kron.SlimKL(**SETTING).fit(MONTHS[past], seen()[past])
        u = truth()[ahead]
        errors.append([np.sqrt(np.mean((f - u) ** 2)) for f in (forecast(alone, agent), forecast(shared, agent), 0 * u)])
    return shared, np.array(errors)


def draw(model: qf.kron.SlimKL, file: str, agent: int = 1) -> None:
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError("the picture needs matplotlib: pip install 'quatrefoil[plot]'") from error
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    past, ahead = own(agent)
    alone = qf.kron.SlimKL(**SETTING).fit(MONTHS[past], seen()[past])
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4), layout="constrained", width_ratios=(2, 1))
    left.plot(MONTHS[past], seen()[past], ".", color="0.5", label="the agent's own data")
    left.plot(MONTHS[past.start : ahead.stop], truth()[past.start : ahead.stop], color="black", lw=3, alpha=0.3, label="without noise")
    left.plot(MONTHS[ahead], forecast(alone, agent), color="C0", label="forecast, own weights")
    left.plot(MONTHS[ahead], forecast(model, agent), color="C3", label="forecast, shared weights")
    left.set(xlabel="month", title=f"agent {agent + 1} of {AGENTS}")
    left.legend(loc="lower left", fontsize="small")
    right.plot(model.means, model.weights_, ".-", lw=0.8)
    for months in CYCLES:
        right.axvline(1 / months, color="0.5", lw=0.8, ls="--")
        right.annotate(f" {months} months", (1 / months, 1), xycoords=("data", "axes fraction"), va="top", rotation=90, ha="right")
    right.set(xlim=(0, 0.25), xlabel="cycles per month", title="consensus of the agents on the weights")
    figure.savefig(file, dpi=120)


def main(file: str | None = None) -> None:
    model, errors = run()
    on = np.flatnonzero(model.weights_ > 0.05 * model.weights_.max())
    print(
        f"{model.n_iter_} iterations; {np.count_nonzero(model.weights_)} of {len(model.weights_)} weights are nonzero, {len(on)} are large:"
    )
    for i in on:
        print(f"  weight {model.weights_[i]:.4f} at a period of {1 / model.means[i] if i else np.inf:.1f} months")
    print(f"RMS errors of forecasts over {AHEAD} months; the noise is {NOISE}")
    for agent, (alone, shared, nothing) in enumerate(errors, 1):
        print(f"  agent {agent}: {alone:.3f} with its own weights, {shared:.3f} with shared weights, {nothing:.3f} for a forecast of 0")
    if file:
        draw(model, file)
        print("picture:", file)


if __name__ == "__main__":
    main(*sys.argv[1:2])
