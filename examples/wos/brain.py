"""The temperature in a brain under a cooling cap
==============================================

How deep does a cooling cap reach? This example computes the temperature on a slice through one half of a brain.
The surface of the brain is kept at 33 °C.

::

    python examples/wos/brain.py [points per side [walks [picture.png [mesh.ply]]]]

Tissue conducts heat, produces some, and is perfused by blood at 37 °C: -k Δu + w (u - 37) = q. This is Pennes' equation, a screened Poisson
equation, in a mesh of 20 480 triangles with all the folds of a cortex. The interior is not meshed: the temperature is computed only at the
points of interest, with its standard error. The surface is FreeSurfer's fsaverage5 from nilearn (pip install nilearn), or any closed mesh
in millimetres. The run takes a few seconds on two cores. The picture requires matplotlib.
"""

from __future__ import annotations

import sys
import time

import numpy as np

import quatrefoil as qf

CONDUCTIVITY, PERFUSION, HEAT = 0.5e-3, 3.4e-5, 1.0e-5  # W/(mm K), W/(mm^3 K), W/mm^3: grey matter, rounded
BLOOD, SURFACE = 37.0, 33.0


def brain() -> qf.wos.TriangleMesh:
    try:
        from nilearn.datasets import fetch_surf_fsaverage
        from nilearn.surface import load_surf_mesh
    except ImportError as error:
        raise ImportError("the brain comes with nilearn: pip install nilearn, or pass a file") from error
    mesh = load_surf_mesh(fetch_surf_fsaverage().pial_left)
    return qf.wos.TriangleMesh(np.asarray(mesh.coordinates, np.float32), np.asarray(mesh.faces, np.int64))


def slice_through(mesh: qf.wos.TriangleMesh, side: int) -> tuple[np.ndarray, np.ndarray]:
    """A grid of points in the plane through the centre of the box, and a mask of those inside."""
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    y, z = (np.linspace(low[i], high[i], side) for i in (1, 2))
    X = np.stack(np.broadcast_arrays(0.5 * (low[0] + high[0]), y[:, None], z), axis=-1).astype(np.float32)
    return X, qf.wos.contains(mesh, X.reshape(-1, 3)).reshape(side, side)


def temperatures(mesh: qf.wos.TriangleMesh, X: np.ndarray, walks: int) -> qf.wos.Result[np.ndarray]:
    """Solve -Δu + σu = 0 for u = T - T∞, where T∞ is the temperature deep inside a large piece of tissue."""
    far = BLOOD + HEAT / PERFUSION
    return qf.wos.solve(mesh, X, dirichlet=SURFACE - far, screening=PERFUSION / CONDUCTIVITY, walks=walks, epsilon=1e-4, rng=0)


def main(side: int = 160, walks: int = 256, picture: str | None = None, path: str | None = None) -> None:
    mesh = qf.wos.TriangleMesh.from_file(path) if path else brain()
    X, inside = slice_through(mesh, side)
    start = time.perf_counter()
    result = temperatures(mesh, np.ascontiguousarray(X[inside]), walks)
    seconds = time.perf_counter() - start
    T = result.value + BLOOD + HEAT / PERFUSION
    depth = qf.wos.closest_point(mesh, np.ascontiguousarray(X[inside]))[0]
    print(f"{mesh}: {len(T)} points, {walks} walks each, {seconds:.1f} s; largest standard error {result.stderr.max():.2g} K")
    for low in range(0, int(depth.max()) + 1, 2):
        ring = (depth >= low) & (depth < low + 2)
        if ring.any():
            print(f"{low:2d} to {low + 2:2d} mm deep: {T[ring].mean():.2f} °C")
    if picture:
        draw(X, inside, T, result.stderr, picture)


def draw(X: np.ndarray, inside: np.ndarray, T: np.ndarray, error: np.ndarray, picture: str) -> None:
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError("the picture needs matplotlib: pip install 'quatrefoil[plot]'") from error
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(12, 4.6), layout="constrained")
    for ax, values, title, colours in zip(axes, (T, error), ("temperature in °C", "its standard error in K"), ("coolwarm", "viridis")):
        image = np.full(inside.shape, np.nan)
        image[inside] = values
        shown = ax.pcolormesh(X[..., 1], X[..., 2], image, cmap=colours, shading="nearest")
        ax.set_aspect("equal")
        ax.set_title(title)
        figure.colorbar(shown, ax=ax)
    figure.savefig(picture, dpi=120)
    print(f"picture: {picture}")


if __name__ == "__main__":
    arguments = sys.argv[1:]
    main(*(int(n) for n in arguments[:2]), *arguments[2:])
