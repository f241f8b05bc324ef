"""Madelung's constant from a block of ions
========================================

The Madelung constant of rock salt, from the potential at the ions of a finite block whose outer shells carry less charge.

::

    python examples/cheb/ionic_crystal.py [half a side [picture.png]]

The sum of +-1 / distance over the lattice depends on its outer shells. Evjen (Phys. Rev. 39 (1932) 675) halves the charges of the outermost
layer along every axis, so that the block consists of neutral cells. The error then decreases with the fourth power of the side length, and
its sign alternates from one length to the next. The mean over a few consecutive lengths, with binomial weights, is therefore accurate to
ten digits at half a side of 10. Takes a second; the picture needs matplotlib.
"""

from __future__ import annotations

import math
import sys
import time

import numpy as np

import quatrefoil as qf

MADELUNG = 1.747564594633  # per ion, neighbours at distance 1: Borwein, Borwein and Taylor, J. Math. Phys. 26 (1985) 2999
TOL, N = 1e-11, 65


def block(half: int, sides: int) -> tuple[np.ndarray, np.ndarray]:
    """Ions at integers from -half to half, and their charges averaged over ``sides`` blocks, each with half charges on its faces."""
    x = np.arange(-half, half + 1)
    weight = np.zeros(x.size)
    for j in range(sides):
        face = half - sides + 1 + j
        weight += math.comb(sides - 1, j) / 2 ** (sides - 1) * np.where(np.abs(x) < face, 1.0, np.where(np.abs(x) == face, 0.5, 0.0))
    X = np.stack(np.meshgrid(x, x, x, indexing="ij"), axis=-1).reshape(-1, 3)
    charge = (weight[:, None, None] * weight[:, None] * weight).reshape(-1)
    return X.astype(float), (-1.0) ** X.sum(axis=1) * charge


def potential(X: np.ndarray, q: np.ndarray) -> tuple[qf.cheb.Potential, np.ndarray]:
    """The long-range part, and the complete potential at every ion from all other ions."""
    half = float(X.max())
    V = qf.cheb.potential(X, q, n=N, domain=(-half, half), tol=TOL)
    return V, V.plan(TOL)(X) + qf.cheb.short_range(X, q, X, sog=V.sog)


def madelung(half: int, sides: int) -> float:
    """The constant, from the ion in the middle."""
    X, q = block(half, sides)
    return -float(potential(X, q)[1][len(X) // 2])


def draw(half: int, sides: int, file: str) -> None:
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError("the picture needs matplotlib: pip install 'quatrefoil[plot]'") from error
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    X, q = block(half, sides)
    V, _ = potential(X, q)
    x = np.linspace(-half, half, 400)
    plane = np.stack(np.broadcast_arrays(x[:, None], x, 0.25), axis=-1).reshape(-1, 3)
    values = (V.plan(1e-6)(plane) + qf.cheb.short_range(X, q, plane, sog=V.sog)).reshape(400, 400)
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 5), layout="constrained")
    shown = left.imshow(values.T, origin="lower", extent=(-half, half) * 2, cmap="RdBu_r")
    figure.colorbar(shown, ax=left)
    left.set_title("potential a quarter of a step above a layer of ions")
    lengths = list(range(sides + 1, half + 1))
    for count, mark, label in ((1, "o", "one block"), (sides, "s", f"mean of {sides}")):
        right.semilogy(lengths, [abs(madelung(m, count) - MADELUNG) for m in lengths], mark, label=label)
    right.axhline(TOL, color="0.6", lw=1, label="tolerance of the potential")
    right.set_xlabel("half a side")
    right.set_title("error of Madelung's constant")
    right.legend()
    figure.savefig(file, dpi=120)


def main() -> None:
    half = int(sys.argv[1]) if len(sys.argv) > 1 else 12
    sides = min(5, half)
    X, q = block(half, sides)
    begin = time.perf_counter()
    V, values = potential(X, q)
    seconds = time.perf_counter() - begin
    madelung = -values[len(X) // 2]
    print(f"{len(X)} ions: the potential at all of them in {seconds:.2f} s, {V}")
    print(f"Madelung's constant {madelung:.12f}, {abs(madelung - MADELUNG):.1e} from {MADELUNG}")
    if len(sys.argv) > 2:
        draw(half, sides, sys.argv[2])


if __name__ == "__main__":
    main()
