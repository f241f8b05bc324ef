"""The examples of charges run, and their numbers are right."""

import sys

import numpy as np
import pytest


def test_the_crystal(monkeypatch, tmp_path, capsys, example):
    module = example("ionic_crystal")
    X, q = module.block(3, 2)
    assert X.shape == (343, 3)
    assert abs(q.sum()) < 1e-12
    np.testing.assert_allclose(
        sorted(set(np.abs(q))), sorted({a * b * c for a in (0.25, 0.75, 1) for b in (0.25, 0.75, 1) for c in (0.25, 0.75, 1)})
    )
    assert abs(module.madelung(10, 5) - module.MADELUNG) < 1e-10
    monkeypatch.setattr(module, "N", 33)
    monkeypatch.setattr(module, "TOL", 1e-8)
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(sys, "argv", ["ionic_crystal.py", "6", str(tmp_path / "crystal.png")])
    module.main()
    assert "2197 ions" in capsys.readouterr().out
    assert (tmp_path / "crystal.png").stat().st_size > 10_000


def torsion(a, b, c, d):
    along = (c - b) / np.linalg.norm(c - b)
    before, behind = (v - (v @ along) * along for v in (a - b, d - c))
    return np.degrees(np.arctan2(np.cross(along, before) @ behind, before @ behind))


def test_the_helix_is_one(example):
    """Right-handed, of L amino acids, with hydrogen bonds from residue to residue + 4; neutral; no atoms in each other."""
    X, q = example("molecule").helix(12)
    residues = X.reshape(12, 10, 3)
    N, H, CA, CB, C, O = (residues[:, i] for i in (0, 1, 2, 4, 5, 6))
    assert torsion(C[4], N[5], CA[5], C[5]) == pytest.approx(-57)
    assert torsion(N[5], CA[5], C[5], N[6]) == pytest.approx(-47)
    assert abs(torsion(CA[5], C[5], N[6], CA[6])) == pytest.approx(180)
    c, r, n, h = (atom[5] - CA[5] for atom in (C, CB, N, residues[:, 3]))
    assert (np.cross(c, r) + np.cross(r, n) + np.cross(n, c)) @ h < 0  # CO, R, N: clockwise seen from the hydrogen
    assert np.linalg.norm(O[3] - H[7]) < 2.3
    assert abs(q.reshape(12, 10).sum(axis=1)).max() < 1e-12
    r = np.linalg.norm(X[:, None] - X, axis=2) + np.eye(120)
    assert r.min() > 0.99


def test_the_molecule(monkeypatch, tmp_path, capsys, example):
    module = example("molecule")
    X, q = module.helix(8)
    lines = [f"ATOM {i} X ALA 1 {x[0]:.3f} {x[1]:.3f} {x[2]:.3f} {charge:.4f} 1.5" for i, (x, charge) in enumerate(zip(X, q))]
    file = tmp_path / "helix.pqr"
    file.write_text("REMARK made here\n" + "\n".join(lines) + "\nEND\n")
    again = module.read_pqr(str(file))
    np.testing.assert_allclose(again[0], X, atol=6e-4)
    np.testing.assert_allclose(again[1], q, atol=1e-12)
    box = np.stack([X.min(axis=0) - 4, X.max(axis=0) + 4], axis=1)
    targets = np.random.default_rng(0).uniform(*box.T, (300, 3))
    found, expected = module.potential_on(X, q, targets, box)[1], module.direct(X, q, targets)
    assert np.linalg.norm(found - expected) <= 1e-6 * np.linalg.norm(expected)
    pytest.importorskip("matplotlib")
    for given in ("5", str(file)):
        monkeypatch.setattr(sys, "argv", ["molecule.py", given, str(tmp_path / "molecule.png")])
        module.main()
        assert "atoms of charge 0.000" in capsys.readouterr().out.replace("-0.000", "0.000")
        assert (tmp_path / "molecule.png").stat().st_size > 10_000
