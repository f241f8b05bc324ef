"""A million distances to a mesh, compared with Open3D, trimesh, libigl and fcpw.

``OMP_NUM_THREADS=1 IGL_NUM_THREADS=1 python -m quatrefoil.wos.query.bench_million [subdivisions]``. One thread for every library, CPU time,
interleaved runs, medians. Trees are built in advance, unless a call builds its own (libigl's signed distance). Prints the table of the page
on distances. Missing libraries are skipped: ``pip install open3d trimesh rtree libigl fcpw``. Slow libraries are timed on a sample of the
points, and their time is scaled.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np

from ... import wos
from ...bench._problem import installed
from .bench import ball_points, bumpy, fcpw_distances, fcpw_scene

POINTS, RUNS = 1_000_000, 3
Side = tuple[Callable[[np.ndarray], Any], int]  # a function that computes distances, and the number of points that are timed


def sides(V: np.ndarray, F: np.ndarray, signed: bool) -> dict[str, Side]:
    """Signed or unsigned distances from every installed library."""
    mesh = wos.TriangleMesh(V, F)
    libraries: dict[str, Side] = {"quatrefoil": (partial(_ours, mesh, signed), POINTS)}
    if installed("open3d"):
        libraries["Open3D"] = _open3d(V, F, signed), POINTS
    if installed("igl"):
        libraries |= _igl(V, F, signed)
    if installed("fcpw") and not signed:
        libraries["fcpw"] = partial(fcpw_distances, fcpw_scene(V, F)), POINTS // 5
    if installed("trimesh"):
        trimesh: Any = import_module("trimesh")
        of = trimesh.Trimesh(V, F, process=False)
        plain = lambda q: trimesh.proximity.closest_point(of, q)[1]  # noqa: E731
        libraries["trimesh"] = (lambda q: -trimesh.proximity.signed_distance(of, q)) if signed else plain, POINTS // 500
    return libraries


def _ours(mesh: Any, signed: bool, q: np.ndarray) -> np.ndarray:
    return np.asarray(mesh.signed_distance(q, num_threads=1) if signed else mesh.closest_point(q, num_threads=1).distance)


def _open3d(V: np.ndarray, F: np.ndarray, signed: bool) -> Callable[[np.ndarray], Any]:
    open3d: Any = import_module("open3d")
    scene = open3d.t.geometry.RaycastingScene(nthreads=1)
    scene.add_triangles(open3d.core.Tensor(V.astype(np.float32)), open3d.core.Tensor(F.astype(np.uint32)))
    query = scene.compute_signed_distance if signed else scene.compute_distance
    return lambda q: query(open3d.core.Tensor(q), nthreads=1).numpy()


def _igl(V: np.ndarray, F: np.ndarray, signed: bool) -> dict[str, Side]:
    igl: Any = import_module("igl")
    if not signed:
        tree = igl.AABB()
        tree.init(V, F)
        return {"libigl": (lambda q: np.sqrt(tree.squared_distance(V, F, q.astype(float))[0]), POINTS // 5)}
    by = igl.SIGNED_DISTANCE_TYPE_PSEUDONORMAL
    return {"libigl": (lambda q: igl.signed_distance(q.astype(float), V, F, sign_type=by)[0], POINTS // 5)}


def measured(signed: bool, subdivisions: int) -> dict[str, float]:
    """Microseconds per point for every library. Compares the values first."""
    V, F = bumpy(subdivisions)
    q, all_sides = ball_points(POINTS, 1.5), sides(V, F.astype(np.int64), signed)
    truth = all_sides["quatrefoil"][0](q[: POINTS // 500].astype(float))
    times: dict[str, list[float]] = {name: [] for name in all_sides}
    for name, (run, _) in all_sides.items():
        error = float(np.abs(np.asarray(run(q[: POINTS // 500]), float) - truth).max())
        if error > 1e-5:
            raise ValueError(f"{name} is off by {error}")
    for _ in range(RUNS):
        for name, (run, count) in all_sides.items():
            begin = time.process_time()
            run(q[:count])
            times[name].append((time.process_time() - begin) / count * 1e6)
    return {name: float(np.median(x)) for name, x in times.items()}


def main(subdivisions: int = 5) -> None:
    columns = {"signed distance": measured(True, subdivisions), "distance": measured(False, subdivisions)}
    print(f"{POINTS} points, {20 * 4**subdivisions} triangles, one thread, CPU time\n")
    print("| | " + " | ".join(f"{name}, us per point" for name in columns) + " |\n|---|" + "--:|" * len(columns))
    for name in dict.fromkeys(name for column in columns.values() for name in column):
        print(f"| {name} | " + " | ".join(_cell(column, name) for column in columns.values()) + " |")


def _cell(column: dict[str, float], name: str) -> str:
    if name not in column:
        return ""
    return f"{column[name]:.2f}" + ("" if name == "quatrefoil" else f" ({column[name] / column['quatrefoil']:.1f} times)")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
