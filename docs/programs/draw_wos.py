import sys

import matplotlib.pyplot as plt
import numpy as np
from laplace_with_a_hole import domain, hole

import quatrefoil as qf

x = np.linspace(0.01, 1.99, 100)
grid = np.stack(np.broadcast_arrays(x[:, None], x), axis=-1).reshape(-1, 2)
inside = domain.contains(grid)
u = qf.wos.solve(domain, np.ascontiguousarray(grid[inside]), dirichlet_per_ring=[0, 1], walks=1000, gradient=True, rng=0)

figure, axes = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
for ax, values, title in zip(axes, (u.value, u.stderr), ("u, and -∇u", "standard error of u")):
    image = np.full(len(grid), np.nan)
    image[inside] = values
    mesh = ax.pcolormesh(x, x, image.reshape(100, 100).T, cmap="inferno" if ax is axes[0] else "viridis", shading="nearest")
    figure.colorbar(mesh, ax=ax)
    ax.fill(*hole.T, color="0.8")
    ax.set(title=title, aspect="equal")
coarse = np.zeros((100, 100), bool)
coarse[3::7, 3::7] = True
coarse = coarse.reshape(-1)[inside]
axes[0].quiver(*grid[inside][coarse].T, *-u.grad[coarse].T, color="white", scale=60)
figure.savefig(sys.argv[1], dpi=110)
