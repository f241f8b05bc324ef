"""The notation of shapes (_dims.py), on ops that are never run."""

import numpy as np
import pytest

import quatrefoil as qf
from quatrefoil._spec import Arg, Op, Option

MODULE = "throwaway.family.method"


def op(*inputs, out="... N", options=(), **more):
    args = tuple(Arg(f"a{i}", dims, optional=True) for i, dims in enumerate(inputs))
    return Op(MODULE, "op", args, (Arg("y", out),), options, differentiable=False, **more)


SHAPES = [
    (("... N", "N"), "... N", [(2, 3, 4), (4,)], (2, 3, 4)),
    (("N", "... N M"), "... M N", [(4,), (4, 5)], (5, 4)),
    (("N 2N",), "N", [(3, 6)], (3,)),
    (("2N",), "N", [(6,)], (3,)),
    (("W", "W-1"), "W+1", [(3,), (2,)], (4,)),
    (("2W-1",), "W", [(5,)], (3,)),
    (("3 N",), "N 3", [(3, 7)], (7, 3)),
    (("M? N", "M? K"), "M? K N", [(2, 3), (2, 4)], (2, 4, 3)),
    (("M? N", "M? K"), "M? K N", [(3,), (4,)], (4, 3)),
    (("M? N", "M? K"), "M? K N", [None, (4,)], None),
    (("m", "n", "... n K?"), "... m K?", [(2,), (3,), (3,)], (2,)),
    (("m", "n", "... n K?"), "... m K?", [(2,), (3,), (3, 5)], (2, 5)),
    (("m", "n", "... n K?"), "... m K?", [(2,), (3,), (7, 3, 5)], (7, 2, 5)),
    (("M... ... N", "... N"), "M... ... 2N", [(7, 8, 2, 3), (2, 3)], (7, 8, 2, 6)),
    (("M... ... N", "... N"), "M... N", [(2, 3), (2, 3)], (3,)),
    (("D N or B N L or B G N L", "B D N L"), "B D L", [(2, 3), (5, 2, 3, 4)], (5, 2, 4)),
    (("D N or B N L or B G N L", "B D N L"), "G", [(5, 9, 3, 4), (5, 2, 3, 4)], (9,)),
]


def test_shapes():
    for dims, out, shapes, expected in SHAPES:
        if expected is None:
            with pytest.raises(KeyError):
                op(*dims, out=out).infer(shapes, ())
        else:
            assert op(*dims, out=out).infer(shapes, ()) == [expected]


ERRORS = [
    (("N", "N M"), [(3,), (4, 5)], r"family\.op: a1 has shape \(4, 5\), expected \(N, M\) with N = 3 as in a0$"),
    (("B T", "T", "B T K"), [(2, 3), (3,), (2, 4, 1)], r"expected \(B, T, K\) with B = 2, T = 3 as in a0$"),
    (("N", "M", "N M"), [(3,), (4,), (4, 3)], r"expected \(N, M\) with N = 3 as in a0 and M = 4 as in a1$"),
    (("... N", "... M"), [(2, 3), (4,)], r"expected \(\.\.\., M\) with the batch axes \(2,\) as in a0$"),
    (("M... ... N", "... N"), [(2, 3), (4, 3)], r"a0 has .*, expected \(\.\.\., N\) with the batch axes \(4,\), N = 3 as in a1$"),
    (("N", "2N"), [(3,), (5,)], r"expected \(2N,\) with N = 3 as in a0$"),
    (("2N",), [(5,)], r"expected \(2N,\)$"),
    (("W+1",), [(0,)], r"expected \(W \+ 1,\)$"),
    (("M? N", "M? N"), [(2, 3), (3,)], r"expected \(M, N\) with M = 2, N = 3 as in a0$"),
    (("M? N", "M? N"), [(3,), (2, 3)], r"expected \(N,\) with N = 3 as in a0$"),
    (("M? N",), [(1, 2, 3)], r"expected \(N,\) or \(M, N\)$"),
    (("D N or B N L",), [(1,)], r"expected \(D, N\) or \(B, N, L\)$"),
]  # fmt: skip


def test_errors():
    for dims, shapes, text in ERRORS:
        with pytest.raises(ValueError, match=text):
            op(*dims, out="1").infer(shapes, ())


def test_options():
    two = op("N", "2 N if both else N", out="N L", options=(Option("L", int), Option("both", bool)))
    assert two.infer([(3,), (2, 3)], (5, True)) == [(3, 5)]
    assert two.infer([(3,), (3,)], (5, False)) == [(3, 5)]
    with pytest.raises(ValueError, match=r"a1 has shape \(3,\), expected \(2, N\) with N = 3 as in a0 and both=True"):
        two.infer([(3,), (3,)], (5, True))
    by_option = op("N L", out="N", options=(Option("L", int),))
    with pytest.raises(ValueError, match=r"expected \(N, L\) with L = 6$"):
        by_option.infer([(3, 5)], (6,))


def test_results_on_request():
    inputs, outputs = (Arg("a", "N"), Arg("b", "N", optional=True)), (Arg("y", "N"), Arg("z", "N 2", only_if="more"))
    extended = Op(MODULE, "op", inputs, outputs, (Option("more", bool),))
    assert extended.infer([(3,), None], (True,)) == [(3,), (3, 2)]
    assert extended.infer([(3,), None], (False,)) == [(3,), None]
    assert extended.present_outputs([0, None], (False,)) == [True, False]
    assert extended.adjoint.infer([(3,), None, (3,), None], (False,)) == [(3,), None]
    assert extended.adjoint.present_outputs([0, None, 0, None], (False,)) == [True, False]
    with pytest.raises(ValueError, match=r"grad_z has shape .*, expected None"):
        extended.adjoint.infer([(3,), None, (3,), (3, 2)], (False,))


def test_a_check_runs_when_the_dims_fit():
    def check(label, shapes, options):
        if shapes[0][0] < 2:
            raise ValueError(f"{label}: too short")

    checked = op("N", "N", out="N-2", check=check)
    assert checked.infer([(3,), (3,)], ()) == [(1,)]
    with pytest.raises(ValueError, match=r"family\.op: too short"):
        checked.infer([(1,), (1,)], ())
    with pytest.raises(ValueError, match="a1 has shape"):
        checked.infer([(1,), (2,)], ())


def test_titles_in_errors():
    named = Op(MODULE, "op", (Arg("a", "N"), Arg("b", "N", title="state[0]")), (Arg("y", "N"),))
    with pytest.raises(ValueError, match=r"state\[0\] has shape"):
        named.infer([(1,), (2,)], ())


def test_flattened_grids():
    eye = np.eye(3)
    for y, fix in ((np.ones((3, 3)), r"x.reshape\(-1\)"), (np.ones((2, 3, 3)), r"x.reshape\(2, -1\)")):
        with pytest.raises(ValueError, match=rf"expected \(\.\.\., 9\).*; flatten the grid: {fix}$"):
            qf.kron.matvec([eye, eye], y)
    with pytest.raises(ValueError, match=r"expected \(\.\.\., 9\)$"):
        qf.kron.matvec([eye, eye], np.ones((3, 2)))
