"""Sound of a loudspeaker in a wall, with an error estimate
========================================================

The Helmholtz equation in a room with one moving wall: a Gaussian process finds the waves, and its residual yields an error estimate.

::

    python examples/kron/loudspeaker.py [POINTS] [PICTURE]

The pressure u of a tone with wavenumber k satisfies u_xx + u_yy + k² u = 0. A loudspeaker fills the middle of the wall x = 0, and u = 0
on the other walls. The solution is a sum of standing waves, so the true error is known, and confirms ``error_estimate``, which does not
use the solution.
"""

from __future__ import annotations

import sys

import numpy as np

import quatrefoil as qf

WAVENUMBER = 39.0  # radians per metre: a tone of 2.1 kHz in a room of 1 m by 1 m


def loudspeaker(y: np.ndarray) -> np.ndarray:
    """The amplitude along the wall, smooth and 0 at the corners."""
    return np.exp(-(((y - 0.5) / 0.12) ** 2)) * np.sin(np.pi * y)


def standing_waves(x: np.ndarray, y: np.ndarray, count: int = 60) -> np.ndarray:
    """The solution on the grid of x and y: each sine along the wall has its own wavenumber in x, imaginary for short wavelengths."""
    nodes, weights = np.polynomial.legendre.leggauss(200)
    at, n = (nodes + 1) / 2, np.arange(1, count + 1)[:, None]
    amplitude = np.sin(n * np.pi * at) @ (weights * loudspeaker(at))
    across = np.sqrt(WAVENUMBER**2 - (n * np.pi) ** 2 + 0j)
    along = (np.sin(across * (1 - x)) / np.sin(across)).real
    return np.einsum("n,nx,ny->xy", amplitude, along, np.sin(n * np.pi * y))


def solver(points: int) -> qf.kron.GPHM:
    x = np.linspace(0, 1, points)
    pde = qf.kron.pde.Helmholtz(WAVENUMBER, boundary=lambda x, y: np.where(x == 0, loudspeaker(y), 0.0))
    return qf.kron.GPHM(pde, [x, x], freq_scale=1.5 * WAVENUMBER / (2 * np.pi))


def draw(x: np.ndarray, fields: dict[str, np.ndarray], file: str) -> None:
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError("the picture needs matplotlib: pip install 'quatrefoil[plot]'") from error
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(fields), figsize=(4.6 * len(fields), 4), layout="constrained", sharey=True)
    worst = max(float(f.max()) for f in list(fields.values())[1:])
    for ax, (title, field) in zip(axes, fields.items()):
        style = {"cmap": "RdBu_r", "vmin": -2, "vmax": 2} if field.min() < 0 else {"cmap": "magma", "vmin": 0, "vmax": worst}
        image = ax.pcolormesh(x, x, field.T, shading="gouraud", **style)
        figure.colorbar(image, ax=ax)
        ax.set(title=title, xlabel="x (m)", aspect="equal")
    axes[0].set_ylabel("y (m)")
    figure.savefig(file, dpi=120)


def main(points: int = 60, file: str | None = None) -> None:
    gp, fine = solver(points), np.linspace(0, 1, 181)
    truth = standing_waves(fine, fine)
    for steps in (10, 90):
        gp.fit(steps)
        u, estimate = gp.predict([fine, fine]), gp.error_estimate([fine, fine])
        error = np.abs(u - truth)
        print(f"after {gp.report()['steps']:3d} steps: largest error {error.max():.1e}, estimated {estimate.max():.1e}")
    if file:
        draw(fine, {"pressure": u, "error": error, "estimated error": estimate}, file)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 60, sys.argv[2] if len(sys.argv) > 2 else None)
