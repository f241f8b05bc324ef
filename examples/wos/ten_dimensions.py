"""Laplace's equation in ten dimensions: walks or a network
========================================================

Solve Laplace's equation in a ten-dimensional cube with Walk on Spheres and with a physics-informed network, for the same processor time.

::

    python examples/wos/ten_dimensions.py [SECONDS] [PICTURE]

Boundary values come from a harmonic function, which is the exact solution, with A = 1 and A = 4: ::

    u(x) = mean over i = 1..5 of exp(A (x_i - 1)) cos(A x_{i+5})

The network minimises the residual of Δu = 0 at random points and that of u = g at random points of the faces (Raissi, Perdikaris and
Karniadakis 2019). Values, gradients and Laplacians pass through its layers together, without approximation. The walks get as much processor
time as the training of the network, both on one thread, and start at the points where the errors are measured. After training, the network
can be evaluated anywhere. Walks give values only at their starting points, but with error bars. At a hundred points the walks are more
accurate. The last line printed says at how many points they would be as accurate as the network in the same total time. Requires PyTorch
(pip install 'quatrefoil[torch]').
"""

from __future__ import annotations

import itertools
import sys
import time

import numpy as np

try:
    import torch
except ImportError as error:
    raise ImportError("this needs PyTorch: pip install 'quatrefoil[torch]'") from error

import quatrefoil as qf

DIMENSIONS, POINTS, EPSILON = 10, 100, 1e-4
WIDTH, LAYERS, BATCH, RATE, BOUNDARY_WEIGHT = 64, 3, 256, 3e-3, 30.0


def solution(X, A: float, xp=np):
    """The exact solution at points (N, 10), arrays or tensors."""
    return (xp.exp(A * (X[:, :5] - 1)) * xp.cos(A * X[:, 5:])).mean(-1)


class Network(torch.nn.Module):
    """A network of tanh layers; a call returns (u, Δu)."""

    def __init__(self) -> None:
        super().__init__()
        sizes = [DIMENSIONS, *[WIDTH] * LAYERS, 1]
        self.layers = torch.nn.ModuleList(torch.nn.Linear(n, m) for n, m in itertools.pairwise(sizes))

    def forward(self, X: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """J has the derivatives with respect to each coordinate, (10, N, width): Δ tanh(z) = tanh'(z) Δz + tanh''(z) |∇z|²."""
        h, J, laplacian = 2 * X - 1, 2 * torch.eye(DIMENSIONS, dtype=X.dtype)[:, None].expand(-1, len(X), -1), torch.zeros_like(X)
        for i, layer in enumerate(self.layers):
            h, J, laplacian = layer(h), J @ layer.weight.T, laplacian @ layer.weight.T
            if i < LAYERS:
                h = torch.tanh(h)
                slope = 1 - h * h
                laplacian = slope * laplacian - 2 * h * slope * J.square().sum(0)
                J = slope * J
        return h[:, 0], laplacian[:, 0]

    def value(self, X: torch.Tensor) -> torch.Tensor:
        h = 2 * X - 1
        for layer in self.layers[:-1]:
            h = torch.tanh(layer(h))
        return self.layers[-1](h)[:, 0]


def on_faces(count: int) -> torch.Tensor:
    X = torch.rand(count, DIMENSIONS)
    X[torch.arange(count), torch.randint(DIMENSIONS, (count,))] = torch.randint(2, (count,)).float()
    return X


def train(A: float, seconds: float) -> tuple[Network, float, int]:
    """(network, processor time, steps). Uses Adam with a learning rate that falls to 0 within the given time."""
    torch.manual_seed(0)
    model = Network()
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    start, used, steps = time.process_time(), 0.0, 0
    while used < seconds:
        for group in optimizer.param_groups:
            group["lr"] = RATE * (1 - used / seconds)
        X, faces = torch.rand(BATCH, DIMENSIONS), on_faces(BATCH)
        loss = model(X)[1].square().mean() + BOUNDARY_WEIGHT * (model.value(faces) - solution(faces, A, torch)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        used, steps = time.process_time() - start, steps + 1
    return model, used, steps


def walk(X: np.ndarray, A: float, seconds: float, share: int = 256) -> tuple[qf.wos.Result, float]:
    """(result, processor time). Doubles the number of walks per point as long as they are expected to finish in time."""

    def g(x: np.ndarray) -> np.ndarray:
        return solution(x, A)

    start = time.process_time()
    cube = qf.wos.Box(np.zeros(DIMENSIONS), np.ones(DIMENSIONS))
    result = qf.wos.solve(cube, X, dirichlet=g, epsilon=EPSILON, walks=share, rng=0, num_threads=1)
    used = time.process_time() - start
    while used < 0.9 * seconds:
        done = int(result.n_walks[0])
        result = result.resume(max(16, min(done, int(0.95 * done * (seconds - used) / used))))
        used = time.process_time() - start
    return result, used


def draw(errors: dict[str, np.ndarray], file: str) -> None:
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError("the picture needs matplotlib: pip install 'quatrefoil[plot]'") from error

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(8, 4.5), layout="constrained")
    for name, off in errors.items():
        ax.semilogx(np.sort(np.abs(off)), np.arange(1, off.size + 1) / off.size, label=name, ls="--" if name.startswith("walks") else "-")
    ax.set(xlabel="absolute error", ylabel="fraction of points with a smaller error")
    ax.legend()
    figure.savefig(file, dpi=120)


def main(seconds: float = 10.0, file: str | None = None) -> None:
    torch.set_num_threads(1)
    X = np.random.default_rng(1).uniform(0.05, 0.95, (POINTS, DIMENSIONS))
    errors = {}
    for A in (1.0, 4.0):
        truth = solution(X, A)
        print(f"A = {A:.0f}: values of {truth.mean():.3f} +- {truth.std():.3f} at {POINTS} points")
        model, used, steps = train(A, seconds)
        with torch.no_grad():
            errors[f"network, A = {A:.0f}"] = off = model.value(torch.from_numpy(X).float()).numpy() - truth
        print(f"  network: RMS error {np.sqrt(np.mean(off**2)):.1e} after {steps} steps, {used:.1f} s of processor time")
        result, used = walk(X, A, used)
        errors[f"walks, A = {A:.0f}"] = off = result.value - truth
        expected = np.sqrt(np.mean(result.stderr**2))
        print(
            f"  walks: RMS error {np.sqrt(np.mean(off**2)):.1e}, {expected:.1e} according to their standard errors, "
            f"{result.n_walks[0]} walks per point, {used:.1f} s"
        )
        network = np.mean(errors[f"network, A = {A:.0f}"] ** 2)
        print(f"  equal errors at {POINTS * network / np.mean(off**2):.0f} points")
    if file:
        draw(errors, file)


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 10.0, sys.argv[2] if len(sys.argv) > 2 else None)
