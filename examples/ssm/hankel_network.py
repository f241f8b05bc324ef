"""Learning the steps of two dynamical systems with Hankel layers
===============================================================

A network with a Hankel matrix, one weight per antidiagonal, learns to step the Lotka-Volterra and Lorenz systems.

::

    python examples/ssm/hankel_network.py [STEPS] [PICTURE]

A network predicts the change until the next sample from the last DELAYS samples: a layer over the delays, tanh, and a linear layer. The
first layer is ``nn.HankelLayer``. It has DELAYS * variables + HIDDEN - 1 weights, whereas a full matrix has DELAYS * variables * HIDDEN.
The same network with a full matrix is trained in the same way. Both are tested on samples that follow the training data: the error of one
step, and of a forecast in which each network continues from its own predictions.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from scipy.integrate import solve_ivp

from quatrefoil.torch import nn

DELAYS, HIDDEN = 4, 96
SEEN, UNSEEN = 4000, 1000  # samples for training and for tests
# Name: right-hand side, start, time between samples, length of a forecast in samples.
SYSTEMS = {
    "Lotka-Volterra": (lambda _, u: [1 - np.exp(u[1]), np.exp(u[0]) - 1], [np.log(2), 0.0], 0.1, 200),
    "Lorenz": (lambda _, u: [10 * (u[1] - u[0]), u[0] * (28 - u[2]) - u[1], u[0] * u[1] - 8 / 3 * u[2]], [1.0, 1.0, 20.0], 0.02, 25),
}


def trajectory(name: str) -> np.ndarray:
    """Samples (SEEN + UNSEEN, variables), with mean 0 and variance 1; for Lotka-Volterra, of the logarithms of the populations."""
    rate, start, step, _ = SYSTEMS[name]
    t = step * np.arange(SEEN + UNSEEN + 500)
    u = solve_ivp(rate, (0, t[-1]), start, t_eval=t, rtol=1e-9, atol=1e-9).y.T[500:]
    return (u - u.mean(axis=0)) / u.std(axis=0)


class Stepper(torch.nn.Module):
    """The change until the next sample, from the last DELAYS samples of every variable, (..., variables * DELAYS)."""

    def __init__(self, first: type[torch.nn.Module], variables: int, scale: torch.Tensor) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(first(variables * DELAYS, HIDDEN), torch.nn.Tanh(), torch.nn.Linear(HIDDEN, variables))
        self.scale = scale

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        return self.scale * self.layers(windows)


def train(first: type[torch.nn.Module], u: torch.Tensor, steps: int) -> Stepper:
    torch.manual_seed(0)
    windows, change = u.unfold(0, DELAYS, 1)[:-1].flatten(1), u[DELAYS:] - u[DELAYS - 1 : -1]
    net = Stepper(first, u.shape[1], change.std(0)).to(u.dtype)
    optimizer = torch.optim.LBFGS(net.parameters(), max_iter=steps, history_size=30, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = ((net(windows) - change) / net.scale).square().mean()
        value.backward()
        return value

    optimizer.step(loss)
    return net


@torch.no_grad()
def forecast(net: Stepper, u: torch.Tensor, ahead: int) -> torch.Tensor:
    """Forecasts (starts, ahead, variables) from every tenth window."""
    windows = u.unfold(0, DELAYS, 1)[: -ahead - 1 : 10].clone()
    path = []
    for _ in range(ahead):
        path.append(windows[..., -1] + net(windows.flatten(1)))
        windows = torch.cat((windows[..., 1:], path[-1][..., None]), -1)
    return torch.stack(path, 1)


def rms(x: torch.Tensor) -> float:
    return float(x.square().mean().sqrt())


def main(steps: int = 200, file: str | None = None) -> None:
    lines = {}
    for name, (*_, ahead) in SYSTEMS.items():
        u = torch.from_numpy(trajectory(name))
        seen, unseen = u[:SEEN], u[SEEN:]
        for kind, first in (("Hankel", nn.HankelLayer), ("full", torch.nn.Linear)):
            net = train(first, seen, steps)
            weights = net.layers[0].weight.numel()
            path = forecast(net, unseen, ahead)
            truth = unseen.unfold(0, ahead, 1)[DELAYS::10][: len(path)].transpose(1, 2)
            last = unseen[DELAYS - 1 :: 10][: len(path)]
            first_step, later = (rms(path[:, t] - truth[:, t]) / rms(last - truth[:, t]) for t in (0, -1))
            print(
                f"{name}, {kind} matrix with {weights} weights: error after one step {first_step:.4f}, after {ahead} steps {later:.4f} "
                "(1 is the error of repeating the last sample)"
            )
            lines[name, kind] = path[0], truth[0]
    if file:
        draw(lines, file)
        print("picture:", file)


def draw(lines: dict[tuple[str, str], tuple[torch.Tensor, torch.Tensor]], file: str) -> None:
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError("the picture needs matplotlib: pip install 'quatrefoil[plot]'") from error
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(len(SYSTEMS), 1, figsize=(9, 5), layout="constrained")
    for ax, name in zip(axes, SYSTEMS):
        path, truth = lines[name, "Hankel"]
        t = SYSTEMS[name][2] * np.arange(1, len(path) + 1)
        ax.plot(t, truth, color="black", lw=3, alpha=0.3)
        ax.plot(t, path, color="C3", lw=1)
        ax.set(title=f"{name}: truth (grey) and the forecast of the Hankel network", xlabel="time")
    figure.savefig(file, dpi=120)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200, sys.argv[2] if len(sys.argv) > 2 else None)
