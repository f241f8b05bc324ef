"""The notation of shapes (_dims.py), on ops that are never run."""

import numpy as np
import pytest

import quatrefoil as qf
from quatrefoil._spec import Arg, Op, Option

MODULE = "throwaway.family.method"


def op(*inputs, out="... N", options=(), **more):
    args = tuple(Arg(f"a{i}", dims, optional=True) for i, dims in enumerate(inputs))
    return Op(MODULE, "op", args, (Arg("y", out),), options, differentiable=False, **more)


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


def test_flattened_grids():
    eye = np.eye(3)
    for y, fix in ((np.ones((3, 3)), r"x.reshape\(-1\)"), (np.ones((2, 3, 3)), r"x.reshape\(2, -1\)")):
        with pytest.raises(ValueError, match=rf"expected \(\.\.\., 9\).*; flatten the grid: {fix}$"):
            qf.kron.matvec([eye, eye], y)
    with pytest.raises(ValueError, match=r"expected \(\.\.\., 9\)$"):
        qf.kron.matvec([eye, eye], np.ones((3, 2)))
