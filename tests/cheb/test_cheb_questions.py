"""Tests of tensorly's ``tucker``, of chebfun3 and of chebpy, repeated with quatrefoil. Missing features are in docs/switching.md."""

import copy
import pickle

import numpy as np
import pytest

import quatrefoil as qf
from checks import check_rejected

ChebTucker, tucker = qf.cheb.ChebTucker, qf.cheb.tucker
BOX = ((-1.0, 2.0), (0.0, 1.0), (1.0, 3.0))
AT = (0.3, 0.7, 1.9)


def create(f, domain=BOX):
    return ChebTucker.from_function(f, domain, tol=1e-13)


def of_three(x, y, z):
    return np.exp(x * y) / z + np.sin(x + z)


def line(f, domain=(-1.0, 2.0)):
    return create(f, domain)


F, G = create(of_three), create(lambda x, y, z: np.cos(x - y * z))
L = line(lambda x: np.sin(3 * x) + 0.5)
C = np.random.default_rng(0).standard_normal((5, 4, 6))
LOW = np.einsum("ia,jb,kc,abc->ijk", *(np.linalg.qr(C.reshape(n, -1)[:, :2])[0] for n in (5, 4, 6)), C[:2, :2, :2])


def at(ct):
    return ct(*AT)


def dense(core, factors, modes=(0, 1, 2)):
    for U, k in zip(factors, modes, strict=True):
        core = np.moveaxis(np.tensordot(U, core, (1, k)), 0, k)
    return core


# library and question: (quatrefoil's result, expected result)
QUESTIONS = {
    # tensorly
    "tucker: an array of low rank is reproduced": lambda: (dense(*tucker(LOW, rank=2)), LOW),
    "tucker: all ranks reproduce any array": lambda: (dense(*tucker(C, rank=C.shape)), C),
    "tucker: ranks per axis": lambda: (tucker(C, rank=(3, 2, 4)).core.shape, (3, 2, 4)),
    "tucker: iterations do not make it worse": lambda: (
        np.linalg.norm(dense(*tucker(C, rank=2, method="hooi")) - C) <= np.linalg.norm(dense(*tucker(C, rank=2)) - C) + 1e-12, True,
    ),
    "tucker: by random vectors": lambda: (dense(*tucker(LOW, rank=2, method="rsvd")), LOW),
    "tucker: orthonormal factors": lambda: ([U.T @ U for U in tucker(C, rank=2).factors], [np.eye(2)] * 3),
    "tucker: the core follows from factors": lambda: (
        tucker(C, rank=2).core, dense(C, [U.T for U in tucker(C, rank=2).factors]),
    ),
    "partial_tucker: of some axes": lambda: (dense(*tucker(LOW, rank=2, modes=[0, 2]), modes=(0, 2)), LOW),
    "tucker: given factors stay": lambda: (tucker(C, rank=2, fixed={1: np.eye(4)[:, :2]}).factors[1], np.eye(4)[:, :2]),
    "masked tucker: missing entries are found": lambda: (
        dense(*tucker(np.where(np.arange(120).reshape(5, 4, 6) == 17, np.nan, np.ones((5, 4, 6))), rank=1,
                      mask=np.arange(120).reshape(5, 4, 6) != 17)), np.ones((5, 4, 6)),
    ),
    "tucker: the same result again": lambda: (tucker(C, rank=2).core, tucker(C.copy(), rank=2).core),
    "tucker_to_tensor, to_vec": lambda: (ChebTucker(*tucker(LOW, rank=2)).to_full().ravel(), LOW.ravel()),
    "tucker_mode_dot": lambda: (ChebTucker(*tucker(LOW, rank=2)).integrate(1).n, (5, 6)),
    "tucker_copy": lambda: (copy.deepcopy(tucker(C, rank=2)).core, tucker(C, rank=2).core),
    # chebfun3
    "constructor: values of the function": lambda: (at(F), of_three(*AT)),
    "constructor: a given grid": lambda: (at(ChebTucker.from_function(of_three, BOX, n=25)), of_three(*AT)),
    "constructor: from values": lambda: (
        at(ChebTucker.from_values(of_three(*np.moveaxis(ChebTucker.points(25, BOX), -1, 0)), BOX)), of_three(*AT),
    ),
    "constructor: from coefficients": lambda: (ChebTucker.from_coeffs(C, tol=1e-14).to_full(), C),
    "constructor: functions of numbers": lambda: (at(create(np.vectorize(lambda x, y, z: float(x * y + z)))), AT[0] * AT[1] + AT[2]),
    "constructor: a constant": lambda: (create(lambda x, y, z: 0 * x + 4).rank, (1, 1, 1)),
    "zerofunction": lambda: (create(lambda x, y, z: 0 * x).norm(), 0.0),
    "chebpts3, a grid of points": lambda: (ChebTucker.points(3)[:, 0], [-1, 0, 1]),
    "chebcoeffs3, coefficients": lambda: (line(lambda x: 2 * x * x - 1, (-1, 1)).to_full()[:3], [0, 0, 1]),
    "feval: one point, an array, a grid": lambda: (
        [at(F), F(np.array([AT]))[0], F.grid(*np.array(AT)[:, None])[0, 0, 0]], [of_three(*AT)] * 3,
    ),
    "fevalt, on a tensor grid": lambda: (
        F.grid(*np.array([[-1, 2], [0, 1], [1, 3.0]])), of_three(*np.meshgrid([-1, 2], [0, 1], [1, 3.0], indexing="ij")),
    ),
    "plus, minus, times": lambda: ([at(F + G), at(F - 2 * G), at(F * G)], [at(F) + at(G), at(F) - 2 * at(G), at(F) * at(G)]),
    "uplus, uminus": lambda: ([at(+F), at(-F)], [at(F), -at(F)]),
    "divide: by a number, by a function": lambda: ([at(F / 4), at(F / (G + 3))], [at(F) / 4, at(F) / (at(G) + 3)]),
    "power": lambda: ([at(F**3), at((G + 2) ** 0.5)], [at(F) ** 3, (at(G) + 2) ** 0.5]),
    "repeatedArithmetic keeps its rank": lambda: ((F + F + F - 2 * F).rank, F.round(1e-13).rank),
    "mtimes: a number from either side": lambda: ([at(3 * F), at(F * np.float64(3))], [3 * at(F)] * 2),
    "compose, sin, trigs": lambda: (
        [at(F.compose(np.sin)), at(F.compose(lambda f, g: f * np.exp(g), G))],
        [np.sin(at(F)), at(F) * np.exp(at(G))],
    ),
    "diff, diffx, diffy, diffz": lambda: (
        [at(F.diff(k)) for k in range(3)], F.value_and_grad(np.array(AT))[1],
    ),
    "diff: twice, mixed": lambda: ([at(F.diff(0, 2)), at(F.diff(0).diff(1))], F.eval(np.array(AT), 2)[2][0, :2]),
    "gradient of a polynomial": lambda: (create(lambda x, y, z: x * y + z**2).value_and_grad(AT)[1], [AT[1], AT[0], 2 * AT[2]]),
    "laplacian": lambda: (at(sum(create(lambda x, y, z: x * x * y + z**3).diff(k, 2) for k in range(3))), 2 * AT[1] + 6 * AT[2]),
    "biharm": lambda: (at(create(lambda x, y, z: x**4 + y).diff(0, 4)), 24.0),
    "sum, sum2, sum3": lambda: (
        [create(lambda x, y, z: x + y * z).integrate(), create(lambda x, y, z: x + y * z).integrate([0, 1])(2.0),
         create(lambda x, y, z: x + y * z).integrate(2)(0.5, 0.5)], [3 + 6, 1.5 + 3, 1 + 2],
    ),
    "cumsum: of one axis": lambda: (at(F.cumsum(1).diff(1)), at(F)),
    "cumsum3: from the corner": lambda: (F.cumsum(0).cumsum(1).cumsum(2)(2.0, 1.0, 3.0), F.integrate()),
    "domainvolume": lambda: ((F * 0 + 1).integrate(), 3.0 * 1 * 2),
    "mean, mean2, mean3": lambda: ([F.mean(), F.mean([0, 2])(0.7)], [F.integrate() / 6, F.integrate([0, 2])(0.7) / 6]),
    "std, std3": lambda: (F.var() ** 0.5, (((F - F.mean()) ** 2).mean()) ** 0.5),
    "norm": lambda: (F.norm(), (F * F).integrate() ** 0.5),
    "min3, max3, with their places": lambda: (
        [F(F.minimize().point), F(F.maximize().point)], [F.minimize().value, F.maximize().value],
    ),
    "optimization: a known minimum": lambda: (
        [*create(lambda x, y, z: (x - 0.5) ** 2 + (y - 0.25) ** 2 + (z - 2) ** 2 + 1).minimize().point], [0.5, 0.25, 2],
    ),
    "permute": lambda: (F.transpose([2, 0, 1])(AT[2], AT[0], AT[1]), at(F)),
    "subsref: slices, and numbers at the end": lambda: ([F.at(y=0.7)(0.3, 1.9), F.at(x=0.3, y=0.7, z=1.9)], [at(F)] * 2),
    "squeeze: an axis that is fixed is gone": lambda: (F.at(y=0.7).domain, (BOX[0], BOX[2])),
    "restrict": lambda: (F.restrict([(0, 1), (0.5, 1), (1, 2)])(*AT), at(F)),
    "restrict: nothing is resampled": lambda: (F.restrict({0: (0, 1)}).norm(), (F.restrict([(0, 1), *BOX[1:]])).norm()),
    "rank, ndf": lambda: (create(lambda x, y, z: np.exp(x) * y * z).rank, (1, 1, 1)),
    "tucker, hosvd: orthonormal factors": lambda: ([U.T @ U for U in F.factors], [np.eye(r) for r in F.rank]),
    "isequal, iszero: by the norm of a difference": lambda: ([(F - F).norm(), (F - copy.copy(F)).norm()], [0, 0]),
    "coefficients, chebpolyval3": lambda: (qf.cheb.coeffs2vals(qf.cheb.vals2coeffs(C)), C),
    # chebpy
    "roots: in order": lambda: (line(lambda x: np.cos(np.pi * x), (0, 3)).roots(), [0.5, 1.5, 2.5]),
    "roots: many, of a long series": lambda: (len(line(lambda x: np.sin(40 * np.pi * x), (0.01, 1.99)).roots()), 79),
    "roots: none": lambda: (len(line(lambda x: 2 + np.sin(x)).roots()), 0),
    "calculus of one variable": lambda: (
        [L.integrate(), L.diff(0)(0.4), L.cumsum(0)(2.0)], [(np.cos(3) - np.cos(6)) / 3 + 1.5, 3 * np.cos(1.2), L.integrate()],
    ),
    "evaluation: numbers, arrays, lists, the ends": lambda: (
        [L(0.4), L(np.array([0.4]))[0], L([[0.4]])[0], L(-1.0) - L(-1)], [np.sin(1.2) + 0.5] * 3 + [0],
    ),
    "construction: a kink has its place": lambda: (
        qf.cheb.PiecewiseTucker.from_function(np.abs, (-1, 2), special_points={0: [0.0]})(np.array([-0.5, 1.5])), [0.5, 1.5],
    ),
    "splitting: integral over pieces": lambda: (
        qf.cheb.PiecewiseTucker.from_function(np.abs, (-1, 2), special_points={0: [0.0]}).integrate(), 2.5,
    ),
    "dot product of two functions": lambda: ((L * line(np.cos)).integrate(), line(lambda x: (np.sin(3 * x) + 0.5) * np.cos(x)).integrate()),
    "the number on the left of a quotient": lambda: ((1 / (L + 3))(0.4), 1 / (np.sin(1.2) + 3.5)),
    "copies and pickles": lambda: ([pickle.loads(pickle.dumps(L))(0.4), copy.deepcopy(L)(0.4)], [L(0.4)] * 2),
    "properties: domain, size, support": lambda: (L.domain, ((-1.0, 2.0),)),
}  # fmt: skip


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question(question):
    ours, expected = QUESTIONS[question]()
    if isinstance(expected, list) and any(np.ndim(x) for x in expected):
        for a, b in zip(ours, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-8)
    else:
        np.testing.assert_allclose(ours, expected, rtol=1e-8, atol=1e-8)


def test_questions_without_an_answer_say_so():
    check_rejected([
        (lambda: create(lambda x, y, z: x + 1j * y), TypeError, "expected real numbers"),
        (lambda: F.restrict([(0, 1), (0, 1), (0, 1)]), ValueError, r"point 0 of axis 2 is 0\.0, expected a number within the domain"),
        (lambda: F.restrict({3: (0, 1)}), ValueError, "expected at most 2"),
        (lambda: F.roots(), ValueError, r"3 axes, expected one; fix the others"),
        (lambda: F + create(lambda x: x, (0, 1)), ValueError, "the domains are"),
        (lambda: np.sin(F), TypeError, "ufunc"),
        (lambda: line(np.abs), ValueError, "PiecewiseTucker"),
        (lambda: tucker(C, rank=9), ValueError, "rank"),
    ])  # fmt: skip
