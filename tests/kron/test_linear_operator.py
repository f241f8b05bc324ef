"""``quatrefoil.torch.linear_operator``: linear_operator's own suite, and improvements over upstream."""

import functools
import unittest

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("linear_operator")

from linear_operator import operators as upstream  # noqa: E402
from linear_operator.test.linear_operator_test_case import LinearOperatorTestCase, RectangularLinearOperatorTestCase  # noqa: E402

from kron.dense import positive  # noqa: E402
from quatrefoil.torch.linear_operator import KroneckerProductAddedDiagLinearOperator, KroneckerProductLinearOperator  # noqa: E402

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore")]


def tensors(*arrays, dtype=torch.float64):
    return [torch.from_numpy(np.array(a)).to(dtype).requires_grad_() for a in arrays]


def dense_of(factors):
    return functools.reduce(lambda a, b: torch.einsum("...ij,...kl->...ikjl", a, b).flatten(-2).flatten(-3, -2), factors)


class TestSuite(LinearOperatorTestCase, unittest.TestCase):
    seed = 0
    should_call_cg = False
    should_call_lanczos = True
    should_call_lanczos_diagonalization = False
    batch = ()

    def create_linear_op(self):
        factors = [np.broadcast_to(f, (*self.batch, *f.shape)) for f in positive(np.random.default_rng(0), 3, 2, 4)]
        return KroneckerProductLinearOperator(*tensors(*factors, dtype=torch.float32))

    def evaluate_linear_op(self, linear_op):
        return dense_of([f.tensor for f in linear_op.linear_ops])


class TestSuiteOfABatch(TestSuite):
    batch = (3,)


class TestSuiteOfRectangles(RectangularLinearOperatorTestCase, unittest.TestCase):
    seed, batch = 0, ()

    def create_linear_op(self):
        rng = np.random.default_rng(0)
        factors = [rng.standard_normal((*self.batch, *shape)) for shape in ((2, 3), (5, 2), (3, 4))]
        return KroneckerProductLinearOperator(*tensors(*factors, dtype=torch.float32))

    evaluate_linear_op = TestSuite.evaluate_linear_op


class TestSuiteOfABatchOfRectangles(TestSuiteOfRectangles):
    batch = (3, 4)


class TestSuiteWithNoise(TestSuite):
    skip_slq_tests = True
    should_call_lanczos = False
    should_call_lanczos_diagonalization = True

    def create_linear_op(self):
        output = super().create_linear_op() + upstream.ConstantDiagLinearOperator(torch.tensor([0.25], requires_grad=True), 24)
        assert isinstance(output, KroneckerProductAddedDiagLinearOperator)
        return output

    def evaluate_linear_op(self, linear_op):
        K = super().evaluate_linear_op(linear_op.linear_op)
        return K + torch.diag_embed(linear_op.diag_tensor.diagonal())


def test_other_diagonals_are_upstreams(rng):
    factors, d = tensors(*positive(rng, 3, 2)), torch.from_numpy(rng.uniform(0.1, 1, 6))
    K, y = KroneckerProductLinearOperator(*factors) + upstream.DiagLinearOperator(d), torch.ones(6, dtype=torch.float64)
    assert isinstance(K, KroneckerProductAddedDiagLinearOperator)
    torch.testing.assert_close(K.solve(y), torch.linalg.solve(dense_of(factors) + torch.diag(d), y))
    once = KroneckerProductLinearOperator(*factors).add_diagonal(torch.tensor(0.1))
    twice = once + upstream.ConstantDiagLinearOperator(torch.tensor([0.2]), 6)
    assert isinstance(twice, KroneckerProductAddedDiagLinearOperator)
    torch.testing.assert_close(twice.logdet(), torch.logdet(dense_of(factors) + 0.3 * torch.eye(6)))
    total = KroneckerProductLinearOperator(*factors) + KroneckerProductLinearOperator(*factors)
    assert isinstance(total, upstream.SumKroneckerLinearOperator)
    torch.testing.assert_close(total.to_dense(), 2 * dense_of(factors))


def test_rejected(rng):
    K = KroneckerProductLinearOperator(torch.ones(2, 3), torch.eye(2))
    with pytest.raises(RuntimeError, match="square"):
        K.solve(torch.ones(6))
    with pytest.raises(RuntimeError, match=r"right_tensor has shape \(3,\), which does not match"):
        KroneckerProductLinearOperator(torch.eye(2)).solve(torch.ones(3))
