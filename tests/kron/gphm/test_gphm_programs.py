"""The example, and the command that makes the table of errors."""

import json
import re

import numpy as np
import pytest

from quatrefoil.bench import gphm

pytestmark = pytest.mark.slow


def test_example(example, printed):
    first, last = map(float, re.findall(r"error (\S+), residual", printed(example("multiscale"), 120, 30)))
    assert last < 1e-5  # measured: 1e-7
    assert last <= 2 * first


def test_the_error_of_a_loudspeaker(example, printed):
    for result, estimated in re.findall(r"largest error (\S+), estimated (\S+)", printed(example("loudspeaker"), 40)):
        assert float(result) / 3 < float(estimated) < 3 * float(result)
    assert float(result) < 1e-3


@pytest.mark.parametrize("case", gphm.CASES, ids=lambda c: c.name)
def test_solutions_solve_their_equations(rng, case):
    """Fourth-order finite differences have an error of h^4 w^6 / 90 for frequencies w up to 500."""
    x, h = rng.uniform(0.1, 0.9, (case.dims, 5)), 1e-4

    def along(k, t):
        return case.solution(*(a + t * h * (i == k) for i, a in enumerate(x)))

    u = case.solution(*x)
    if case.combine == "travelling":
        first = [(8 * (along(k, 1) - along(k, -1)) - along(k, 2) + along(k, -2)) / (12 * h) for k in range(2)]
        np.testing.assert_allclose(200 * first[0] + first[1], 0, atol=1e-2)
        return
    total = sum((16 * (along(k, 1) + along(k, -1)) - along(k, 2) - along(k, -2) - 30 * u) / (12 * h * h) for k in range(case.dims))
    total += u * (u * u - 1) if case.allen_cahn else 0
    np.testing.assert_allclose(total, case.source(*x), rtol=0, atol=1e-5 * 500**2)


def test_the_table(tmp_path, capsys):
    arguments = "--problems sin500x advection --kinds gaussian --share 1e-5 --jobs 1 --json"
    assert gphm.main([*arguments.split(), str(tmp_path / "t")]) == 0
    rows = json.loads((tmp_path / "t").read_text())
    assert [(r["problem"], r["optimizer"], r["steps"], r["logged"]) for r in rows] == [
        ("advection sin(x - 200t)", "projection", 1, 1.35e-3),
        ("sin500x on a parabola", "projection", 1, 1.82e-3),
        ("advection sin(x - 200t)", "adam", 1, 1.35e-3),
        ("sin500x on a parabola", "adam", 1, 1.82e-3),
    ]
    assert all(row["best_error"] <= row["error"] for row in rows)
    assert len(capsys.readouterr().out.splitlines()) == 5
    with pytest.raises(SystemExit):
        gphm.main(["--problems", "sin7x"])
