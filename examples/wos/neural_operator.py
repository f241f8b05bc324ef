"""Training a neural operator on random walks
==========================================

A neural operator learns to solve -Δu = f on stars from ten random walks a point and epoch; it never sees a solution.

::

    python examples/wos/neural_operator.py [epochs [instances [picture.png]]]

The network takes a star's two coefficients, the five of its boundary values, the six of its source and a point, and its labels are the
means of the walks so far. Held-out instances are compared with quadratic finite elements. After an epoch the network is twice as good as
its labels, for it averages over points and instances; after 60 it errs by 2% of the values. Three minutes on two cores. Needs PyTorch and
scikit-fem (pip install scikit-fem), for the picture matplotlib.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np

try:
    import torch
except ImportError as error:
    raise ImportError("this needs PyTorch: pip install 'quatrefoil[torch]'") from error

import quatrefoil as qf

WALKS, STEPS, BATCH, HELD_OUT = 10, 60, 2048, 16  # walks a point and epoch; steps an epoch, points a step; instances


class Instances:
    """The problems of the published work on weak supervision: a star, Fourier boundary values, two Gaussians as a source."""

    def __init__(self, count: int, points: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.star = rng.uniform(-0.2, 0.2, (count, 2)).astype(np.float32)
        self.g = (rng.uniform(-1, 1, (count, 5)) * [1, 0.25, 0.25, 0.25, 0.25]).astype(np.float32)
        self.f = rng.standard_normal((count, 2, 3)).astype(np.float32)  # amplitude and centre
        theta = rng.uniform(0, 2 * np.pi, (count, points))
        r = 0.97 * np.sqrt(rng.uniform(0, 1, theta.shape)) * self.radius(theta)
        self.points = np.stack([r * np.cos(theta), r * np.sin(theta)], axis=-1).astype(np.float32)

    def radius(self, theta: np.ndarray) -> np.ndarray:
        return 1 + self.star[:, :1] * np.cos(4 * theta) + self.star[:, 1:] * np.cos(8 * theta)

    def labels(self) -> qf.wos.NeuralOperatorLabels[np.ndarray]:
        star = qf.wos.Star(self.star[:, 0].copy(), self.star[:, 1].copy(), segments=256)
        source = qf.wos.Gaussians(self.f[..., 0].copy(), self.f[..., 1:].copy(), 1.0)
        return qf.wos.NeuralOperatorLabels(star, qf.wos.Fourier(self.g), source, points=self.points, walks=WALKS, rng=0)

    def solutions(self) -> np.ndarray:
        """By finite elements, at the points."""
        sources = [qf.wos.Gaussians(f[:, 0].copy(), f[:, 1:].copy(), 1.0) for f in self.f]
        return np.stack([finite_elements(*given) for given in zip(self.star, map(qf.wos.Fourier, self.g), sources, self.points)])

    def inputs(self) -> list[torch.Tensor]:
        """A row a point: what is known of it in the star; the boundary's coefficients; amplitudes and centres of the source."""
        x, y = np.moveaxis(self.points, -1, 0)
        theta = np.arctan2(y, x)
        rho = np.hypot(x, y) / self.radius(theta)  # 1 on the boundary
        waves = [rho**m * wave(m * theta) for m in (1, 2, 4, 8) for wave in (np.cos, np.sin)]
        star = [np.broadcast_to(5 * c[:, None], x.shape) for c in self.star.T]
        place = np.stack([rho, *waves, *star], axis=-1)
        own = [np.broadcast_to(a[:, None], (*x.shape, *a.shape[1:])) for a in (self.g, self.f)]
        return [torch.tensor(a.reshape(x.size, *a.shape[2:]), dtype=torch.float32) for a in (place, *own)]


def finite_elements(star: np.ndarray, g: Callable, f: Callable, points: np.ndarray) -> np.ndarray:
    """-Δu = f, u = g on the boundary, by quadratic elements on a disc's mesh that is stretched to the star."""
    try:
        import skfem
    except ImportError as error:
        raise ImportError("the truth takes scikit-fem: pip install scikit-fem") from error
    from skfem.models.poisson import laplace, mass

    disc = skfem.MeshTri.init_circle(5)
    rho, theta = np.hypot(*disc.p), np.arctan2(disc.p[1], disc.p[0])
    stretched = disc.p * (1 + rho**2 * (star[0] * np.cos(4 * theta) + star[1] * np.cos(8 * theta)))  # smooth at the centre
    basis = skfem.Basis(skfem.MeshTri(stretched, disc.t), skfem.ElementTriP2())
    nodes, edge, u = basis.doflocs.T, basis.get_dofs().flatten(), basis.zeros()
    u[edge] = g(nodes[edge])
    u = skfem.solve(*skfem.condense(laplace.assemble(basis), mass.assemble(basis) @ f(nodes), x=u, D=edge))
    return basis.probes(points.T.astype(float)) @ u


def mlp(width: int, out: int) -> torch.nn.Sequential:
    hidden = [layer for _ in range(2) for layer in (torch.nn.Linear(64, 64), torch.nn.SiLU())]
    return torch.nn.Sequential(torch.nn.Linear(width, 64), torch.nn.SiLU(), *hidden, torch.nn.Linear(64, out))


class Operator(torch.nn.Module):
    """Linear in boundary values and amplitudes, as the equation is, and exact on the boundary: what is learnt counts with 1 - ρ²."""

    def __init__(self) -> None:
        super().__init__()
        self.boundary, self.source = mlp(11, 5), mlp(13, 1)

    def forward(self, place: torch.Tensor, g: torch.Tensor, f: torch.Tensor) -> torch.Tensor:
        inner = 1 - place[:, :1] ** 2
        known = torch.cat([torch.ones_like(inner), place[:, 1:5]], dim=1)  # 1, ρ cos θ, ρ sin θ, ρ² cos 2θ, ρ² sin 2θ
        u = ((known + inner * self.boundary(place)) * g).sum(1)
        bells = torch.stack([self.source(torch.cat([place, f[:, j, 1:]], dim=1))[:, 0] * f[:, j, 0] for j in range(2)])
        return u + inner[:, 0] * bells.sum(0)


def rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(x))))


def train(epochs: int, count: int, points: int = 64) -> tuple[Operator, np.ndarray]:
    """The network, and for every epoch the RMS errors of the network and of labels, both on held-out instances."""
    torch.manual_seed(0)
    seen, held = Instances(count, points, seed=1), Instances(HELD_OUT, points, seed=2)
    truth, inputs, others = held.solutions(), seen.inputs(), held.inputs()
    labels, held_labels = seen.labels(), held.labels()
    network = Operator()
    optimiser = torch.optim.Adam(network.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * STEPS, eta_min=2e-5)
    errors = np.zeros((epochs, 2))
    for epoch in range(epochs):
        begin = time.perf_counter()
        target = torch.tensor(labels.epoch().value.reshape(-1))
        walked = time.perf_counter() - begin
        for _ in range(STEPS):
            rows = torch.randint(len(target), (min(BATCH, len(target)),))
            loss = torch.mean((network(*(a[rows] for a in inputs)) - target[rows]) ** 2)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
        with torch.no_grad():
            errors[epoch, 0] = rms(network(*others).numpy().reshape(truth.shape) - truth)
        errors[epoch, 1] = rms(held_labels.epoch().value - truth)
        if (epoch + 1) % 10 == 0 or epoch in (0, epochs - 1):
            seconds = time.perf_counter() - begin
            print(
                f"epoch {epoch + 1}: RMS error of the network {errors[epoch, 0]:.4f}, of labels {errors[epoch, 1]:.4f} "
                f"(values of {rms(truth):.2f}); {seconds:.2f} s, of which walks {walked:.2f} s",
                flush=True,
            )
    return network, errors


def draw(network: Operator, errors: np.ndarray, file: str) -> None:
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError("the picture needs matplotlib: pip install 'quatrefoil[plot]'") from error
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    one = Instances(1, 4000, seed=5)
    with torch.no_grad():
        answers = {
            "finite elements": one.solutions()[0],
            "network": network(*one.inputs()).numpy(),
            "labels": one.labels().epoch().value[0],
        }
    figure, axes = plt.subplots(1, 4, figsize=(15, 3.6), layout="constrained")
    axes[0].loglog(np.arange(1, len(errors) + 1), errors, label=["network", "labels"])
    axes[0].set_xlabel("epochs")
    axes[0].set_ylabel("RMS error, held-out instances")
    axes[0].legend()
    low, high = answers["finite elements"].min(), answers["finite elements"].max()
    for ax, (name, u) in zip(axes[1:], answers.items()):
        dots = ax.scatter(*one.points[0].T, c=u, s=3, vmin=low, vmax=high)
        ax.set_title(name if name != "labels" else f"labels of one epoch, {WALKS} walks")
        ax.set_aspect("equal")
        ax.set_axis_off()
    figure.colorbar(dots, ax=axes[1:], shrink=0.8)
    figure.savefig(file, dpi=120)


def main(epochs: int = 60, count: int = 512, file: str | None = None) -> None:
    network, errors = train(epochs, count)
    if file:
        draw(network, errors, file)
        print("picture:", file)


if __name__ == "__main__":
    main(*(int(a) for a in sys.argv[1:3]), *sys.argv[3:4])
