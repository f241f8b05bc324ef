"""The example of a mesh runs on any closed mesh, and is right where a closed form is known: in a ball."""

import re

import numpy as np
import pytest

from quatrefoil import wos
from quatrefoil._backends import native
from wos.query.oracle import icosphere

pytestmark = pytest.mark.skipif(native.reason() is not None, reason="takes many walks")


def test_a_ball_of_tissue(example):
    """u = u(R) (R / r) sinh(m r) / sinh(m R)."""
    brain, (V, F) = example("brain"), icosphere(4)
    mesh, R = wos.TriangleMesh((20 * V).astype(np.float32), F), 20.0
    X = np.array([[0.0, 3.0, 0.0], [10.0, 0.0, 4.0], [0.0, 15.0, -5.0], [2.0, 2.0, 17.0]], np.float32)
    result = brain.temperatures(mesh, X, 1 << 15)
    r, m = np.linalg.norm(X, axis=1), np.sqrt(brain.PERFUSION / brain.CONDUCTIVITY)
    u = (brain.SURFACE - brain.BLOOD - brain.HEAT / brain.PERFUSION) * R / r * np.sinh(m * r) / np.sinh(m * R)
    assert np.abs(result.value - u).max() < 0.05  # 4 standard errors, and what an icosphere is smaller than a ball


def test_it_runs_on_a_file(example, tmp_path, capsys):
    meshio = pytest.importorskip("meshio")
    pytest.importorskip("matplotlib")
    brain, (V, F) = example("brain"), icosphere(2)
    meshio.write_points_cells(tmp_path / "ball.ply", 10 * V, [("triangle", F)])
    brain.main(24, 64, str(tmp_path / "slice.png"), str(tmp_path / "ball.ply"))
    deep = [float(t) for t in re.findall(r"deep: (\d+\.\d+) °C", capsys.readouterr().out)]
    assert len(deep) == 5
    assert deep == sorted(deep)
    assert 33 < deep[0] < deep[-1] < 37.4
    assert (tmp_path / "slice.png").stat().st_size > 10_000
