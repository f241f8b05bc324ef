"""Batches of grids, compared with one call per item."""

import numpy as np
import pytest

from checks import check_rejected
from kron.dense import close, of_items, positive
from quatrefoil import kron


def grids(rng, batch, *sizes):
    """Factors with batch axes, except the last factor, which all items share."""
    count = int(np.prod(batch))
    return [*(np.stack(positive(rng, *[n] * count)).reshape(*batch, n, n) for n in sizes[:-1]), *positive(rng, sizes[-1])]


@pytest.mark.parametrize("batch", [(3,), (2, 2), (1,)])
@pytest.mark.parametrize("shape", [(12,), (3, 4), (5, 12)])
def test_values(rng, batch, shape):
    factors, y, noise = grids(rng, batch, 3, 4), rng.standard_normal((*batch, *shape)), rng.uniform(0.1, 0.5, batch)
    mask = rng.random((*batch, *shape)) < 0.7
    cross = [rng.standard_normal((*batch, 2, 3)), rng.standard_normal((5, 4))]
    close(kron.gp_nll(factors, y, noise), of_items(batch, kron.gp_nll, factors, y, noise))
    close(kron.gp_nll(factors, y, 0.2), of_items(batch, lambda F, y: kron.gp_nll(F, y, 0.2), factors, y))
    close(kron.gp_nll(factors, y, 0.2, mask=mask), of_items(batch, lambda F, y, m: kron.gp_nll(F, y, 0.2, mask=m), factors, y, mask))
    close(kron.gp_solve(factors, y, noise), of_items(batch, kron.gp_solve, factors, y, noise))
    mean, var = kron.gp_posterior(factors, cross, y, noise, prior_diag=9.0)
    for i, output in enumerate((mean, var)):
        posterior = lambda F, y, s, *C, i=i: kron.gp_posterior(F, C, y, s, prior_diag=9.0)[i]  # noqa: E731
        close(output, of_items(batch, posterior, factors, y, noise, *spread(cross, batch)))


def spread(matrices, batch):
    return [np.broadcast_to(a, (*batch, *a.shape[-2:])) for a in matrices]


def test_gradients_and_samples(rng):
    factors, y = grids(rng, (3,), 3, 4), rng.standard_normal((3, 12))
    nll, (dA, dB), dnoise = kron.gp_nll(factors, y, 0.2, grad=True)
    each = [kron.gp_nll([factors[0][i], factors[1]], y[i], 0.2, grad=True) for i in range(3)]
    close(nll, np.stack([e[0] for e in each]))
    close(dA, np.stack([e[1][0] for e in each]))
    close(dB, sum(e[1][1] for e in each))
    close(dnoise, sum(e[2] for e in each))
    draws = kron.gp_sample(factors, size=2, rng=0)
    assert draws.shape == (3, 2, 12)
    np.testing.assert_array_equal(draws, kron.gp_sample(factors, size=2, rng=0))
    for seed in (0, np.int64(0)):
        alike = kron.gp_sample([np.stack([factors[0][0]] * 2), factors[1]], rng=seed)
        assert (alike[0] != alike[1]).any()  # every item has its own random numbers


def test_rejected(rng):
    factors, y = grids(rng, (3,), 3, 4), rng.standard_normal((3, 12))
    check_rejected([
        (lambda: kron.gp_nll(factors, y[0], 0.1), ValueError, r"gp_nll: y has shape \(12,\), expected the leading batch axes \(3,\)"),
        (lambda: kron.gp_nll(factors, y, np.ones(12)), ValueError,
         r"gp_nll: noise has shape \(12,\), expected the leading batch axes \(3,\)"),
        (lambda: kron.gp_solve(factors, y, 0.1, mask=np.ones(12, bool)), ValueError, "mask has shape"),
        (lambda: kron.gp_nll([factors[0][:0], factors[1]], y[:0], 0.1), ValueError, "expected no axis of length 0"),
        (lambda: kron.gp_nll(factors, y, 0.1, None), TypeError, "takes factors, y, noise by position, got 4 arguments"),
        (lambda: kron.gp_nll(factors, y, 0.1, noise=5.0), TypeError, "multiple values for argument 'noise'"),
        (lambda: kron.gp_nll(factors, y[:, :5], 0.1), ValueError, r"y has shape \(5,\), expected \(\.\.\., 12\)"),
    ])  # fmt: skip


@pytest.mark.torch
def test_tensors(rng):
    torch = pytest.importorskip("torch")
    inputs = [torch.from_numpy(a).requires_grad_() for a in (*grids(rng, (2,), 3, 2), rng.standard_normal((2, 6)), np.array([0.1, 0.4]))]
    got = kron.gp_nll([a.detach() for a in inputs[:2]], inputs[2].detach(), 0.2, grad=True)
    expected = kron.gp_nll([a.detach().numpy() for a in inputs[:2]], inputs[2].detach().numpy(), 0.2, grad=True)
    for g, e in zip((got[0], *got[1], got[2]), (expected[0], *expected[1], expected[2]), strict=True):
        close(g.numpy(), e)
    assert torch.autograd.gradcheck(lambda A, B, y, s: kron.gp_nll([(A + A.mT) / 2, (B + B.mT) / 2], y, s), inputs)
