import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

import quatrefoil as qf  # noqa: E402
from kron.gp.cases import factor  # noqa: E402


def test_one_eigendecomposition_serves_value_and_gradient(rng, monkeypatch):
    calls = []
    eigh = np.linalg.eigh
    monkeypatch.setattr(np.linalg, "eigh", lambda a: calls.append(len(a)) or eigh(a))
    factors = [torch.from_numpy(factor(rng, n)).requires_grad_() for n in (4, 5)]
    y = torch.from_numpy(rng.standard_normal(20))
    qf.kron.gp_nll(factors, y, 0.3, mask=torch.from_numpy(rng.random(20) < 0.8)).backward()
    assert calls == [4, 5]


def test_the_mean_is_differentiable_and_the_variance_says_no(rng):
    factors = [torch.from_numpy(factor(rng, n)) for n in (3, 4)]
    cross = [torch.from_numpy(rng.standard_normal((2, n))).requires_grad_() for n in (3, 4)]
    y = torch.from_numpy(rng.standard_normal(12)).requires_grad_()
    mean = qf.kron.gp_posterior(factors, cross, y, 0.1, variance=False)
    da, db, dy = torch.autograd.grad(mean.sum(), [*cross, y])
    assert all(bool(g.abs().max() > 0) for g in (da, db, dy))
    with pytest.raises(NotImplementedError, match="detach"):
        qf.kron.gp_posterior(factors, cross, y, 0.1)


def test_tables_compile(rng):
    factors, y = [torch.from_numpy(factor(rng, n)) for n in (3, 4)], torch.from_numpy(rng.standard_normal((3, 4)))
    solve = torch.compile(lambda y, mask: qf.kron.gp_solve(factors, y, 0.1, mask=mask), fullgraph=True, backend="eager")
    expected = qf.kron.gp_solve(factors, y.reshape(-1), 0.1, mask=y.reshape(-1) > 0)
    torch.testing.assert_close(solve(y, y > 0), expected.reshape(3, 4), rtol=0, atol=0)
