"""The electrostatic potential of a molecule
=========================================

The electrostatic potential on a slice through a molecule from a PQR file, or through an alpha helix of alanines that is built here.

::

    python examples/cheb/molecule.py [molecule.pqr | number of alanines [picture.png]]

A PQR file is a PDB file with charge and radius at the ends of its ATOM lines (PDB2PQR writes such files). The helix has the bond lengths
and angles of Engh and Huber (Acta Cryst. A47 (1991) 392), rounded; phi = -57 and psi = -47 degrees (IUPAC-IUB, 1970); and the charges of
alanine in the force field of Cornell and others (J. Am. Chem. Soc. 117 (1995) 5179, "ff94", also in ff99 and ff14), which sum to 0. The
dipoles of its peptide groups add up: one end of the helix is positive, the other negative. Takes a second; the picture needs matplotlib.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

import quatrefoil as qf

COULOMB = 332.06371  # energy of two charges e at 1 Angstrom, in kcal/mol
TOL, MARGIN, POINTS_PER_LENGTH = 1e-6, 4.0, 2.0  # relative; Angstrom around the atoms; points per Angstrom and axis
CHARGES = {"N": -0.4157, "H": 0.2719, "CA": 0.0337, "HA": 0.0823, "CB": -0.1825, "HB": 0.0603, "C": 0.5973, "O": -0.5679}
PHI, PSI, OMEGA = np.radians((-57.0, -47.0, 180.0))
BONDS = {"N-CA": 1.458, "CA-C": 1.525, "C-N": 1.329, "C-O": 1.231, "CA-CB": 1.521, "N-H": 1.01, "C-H": 1.09}
ANGLES = {name: np.radians(a) for name, a in {"N-CA-C": 111.2, "CA-C-N": 116.2, "C-N-CA": 121.7, "CA-C-O": 120.8, "CA-CB-H": 109.5}.items()}


def unit(v: np.ndarray) -> np.ndarray:
    return v / np.linalg.norm(v)


def place_atom(a: np.ndarray, b: np.ndarray, c: np.ndarray, bond: float, angle: float, torsion: float) -> np.ndarray:
    """The atom bonded to c, at the given angle to b and torsion about b-c to a."""
    along = unit(c - b)
    normal = unit(np.cross(b - a, along))
    side = np.cross(normal, along)
    return c + bond * (-np.cos(angle) * along + np.sin(angle) * (np.cos(torsion) * side + np.sin(torsion) * normal))


def helix(residues: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions in Angstrom and charges of the atoms, 10 per residue."""
    N, CA = np.zeros(3), np.array([BONDS["N-CA"], 0.0, 0.0])
    C = CA + BONDS["CA-C"] * np.array([-np.cos(ANGLES["N-CA-C"]), np.sin(ANGLES["N-CA-C"]), 0.0])
    atoms: list[tuple[np.ndarray, float]] = []
    for _ in range(residues):
        before, N = (CA, C), place_atom(N, CA, C, BONDS["C-N"], ANGLES["CA-C-N"], PSI)
        before_CA, before_C = before
        CA = place_atom(before_CA, before_C, N, BONDS["N-CA"], ANGLES["C-N-CA"], OMEGA)
        C = place_atom(before_C, N, CA, BONDS["CA-C"], ANGLES["N-CA-C"], PHI)
        O = place_atom(N, CA, C, BONDS["C-O"], ANGLES["CA-C-O"], PSI + np.pi)
        to_N, to_C = unit(N - CA), unit(C - CA)
        middle, across = unit(to_N + to_C), unit(np.cross(to_N, to_C))
        CB = CA + BONDS["CA-CB"] * unit(-middle + 1.35 * across)  # an L amino acid: seen from HA, CO, R and N run clockwise
        HA = CA + BONDS["C-H"] * unit(-middle - 1.35 * across)
        H = N - BONDS["N-H"] * unit(unit(before_C - N) + unit(CA - N))
        HB = [place_atom(N, CA, CB, BONDS["C-H"], ANGLES["CA-CB-H"], turn) for turn in np.radians((60.0, 180.0, 300.0))]
        atoms += [(x, CHARGES[name]) for name, x in zip(("N", "H", "CA", "HA", "CB", "C", "O"), (N, H, CA, HA, CB, C, O))]
        atoms += [(x, CHARGES["HB"]) for x in HB]
    X = np.array([x for x, _ in atoms])
    X -= X.mean(axis=0)
    axes = np.linalg.svd(X, full_matrices=False)[2]
    axes[2] *= np.linalg.det(axes)  # a rotation, not a reflection
    return X @ axes.T, np.array([q for _, q in atoms])  # the helix along x


def read_pqr(file: str) -> tuple[np.ndarray, np.ndarray]:
    """Positions and charges of the ATOM and HETATM lines, whose last five words are x, y, z, charge, radius."""
    lines = [line.split() for line in Path(file).read_text().splitlines() if line.startswith(("ATOM", "HETATM"))]
    if not lines:
        raise SystemExit(f"{file} has no ATOM lines")
    numbers = np.array([[float(word) for word in line[-5:-1]] for line in lines])
    return np.ascontiguousarray(numbers[:, :3]), np.ascontiguousarray(numbers[:, 3])


def potential_on(X: np.ndarray, q: np.ndarray, targets: np.ndarray, box: np.ndarray) -> tuple[qf.cheb.Potential, np.ndarray]:
    n = [int(np.ceil(POINTS_PER_LENGTH * (hi - lo))) + 9 for lo, hi in box]
    V = qf.cheb.potential(X, q, n=n, domain=box, tol=TOL)
    return V, COULOMB * (V(targets) + qf.cheb.short_range(X, q, targets, sog=V.sog))


def direct(X: np.ndarray, q: np.ndarray, targets: np.ndarray) -> np.ndarray:
    parts = [(q / np.linalg.norm(part[:, None] - X, axis=2)).sum(axis=1) for part in np.array_split(targets, 1 + len(targets) // 256)]
    return COULOMB * np.concatenate(parts)


def draw(X: np.ndarray, values: np.ndarray, extent: tuple[float, ...], file: str) -> None:
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError("the picture needs matplotlib: pip install 'quatrefoil[plot]'") from error
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(12, 4), layout="constrained")
    shown = ax.imshow(values.T, origin="lower", extent=extent, cmap="RdBu", vmin=-40, vmax=40)
    ax.plot(X[:, 0], X[:, 1], "k.", ms=1, alpha=0.5)
    figure.colorbar(shown, ax=ax, label="kcal / (mol e)")
    ax.set_title("potential in the plane through the middle of the molecule, and its atoms")
    figure.savefig(file, dpi=120)


def main() -> None:
    source = sys.argv[1] if len(sys.argv) > 1 else "60"
    X, q = helix(int(source)) if source.isdigit() else read_pqr(source)
    box = np.stack([X.min(axis=0) - MARGIN, X.max(axis=0) + MARGIN], axis=1)
    x, y = np.linspace(*box[0], 400), np.linspace(*box[1], 100)
    middle = box[2].mean()
    targets = np.stack(np.broadcast_arrays(x[:, None], y, middle), axis=-1).reshape(-1, 3)
    begin = time.perf_counter()
    V, values = potential_on(X, q, targets, box)
    between = time.perf_counter()
    expected = direct(X, q, targets)
    end = time.perf_counter()
    error = np.linalg.norm(values - expected) / np.linalg.norm(expected)
    print(f"{len(X)} atoms of charge {q.sum():.3f}, ranks {V.rank} of n = {V.n}, cutoff {V.sog.cutoff:.1f} Angstrom")
    print(f"{len(targets)} points: {between - begin:.2f} s, error {error:.1e}; NumPy's direct sum {end - between:.2f} s")
    if len(sys.argv) > 2:
        draw(X, values.reshape(x.size, y.size), (*box[0], *box[1]), sys.argv[2])


if __name__ == "__main__":
    main()
