"""Files of Chebyshev-Tucker tensors, and graphs."""

import numpy as np
import pytest

import quatrefoil as qf
from cheb.scattered.cases import random_tensor


def test_files(rng, tmp_path):
    core, factors = random_tensor(rng, (6, 3), (4, 2))
    ct = qf.cheb.ChebTucker(core, factors, domain=(0, 1))
    for name in ("plain", "with.suffix.npz"):
        ct.save(tmp_path / name)
        again = qf.cheb.ChebTucker.load(str(tmp_path / name))
        assert repr(again) == "ChebTucker(n=(6, 3), rank=(4, 2), domain=((0.0, 1.0), (0.0, 1.0)), float64)"
    np.savez(tmp_path / "other.npz", x=core)
    with pytest.raises(ValueError, match=r"holds \['x'\]"):
        qf.cheb.ChebTucker.load(tmp_path / "other.npz")


@pytest.mark.torch
def test_tensors_keep_their_graph(rng):
    torch = pytest.importorskip("torch")
    core, factors = random_tensor(rng, (6, 3, 4), (4, 2, 3))
    leaves = [torch.tensor(a, requires_grad=True) for a in (core, *factors)]
    ct = qf.cheb.ChebTucker(leaves[0], leaves[1:])
    x = [torch.tensor(rng.uniform(-1, 1, m)) for m in (5, 2, 3)]
    assert torch.autograd.gradcheck(lambda c, *U: qf.cheb.ChebTucker(c, U).grid(*x), leaves)
    assert torch.autograd.gradcheck(lambda V: qf.cheb.vals2coeffs(V), leaves[0])
    assert torch.autograd.gradcheck(lambda c, *U: qf.cheb.ChebTucker(c, U).to_full(), leaves)
    for function in (
        lambda C: qf.cheb.tucker(C, tol=1e-3),
        lambda C: qf.cheb.tucker(C, rank=2),
        qf.cheb.ChebTucker.from_values,
        lambda _: ct.round(0.1),
    ):
        with pytest.raises(NotImplementedError, match="no gradient"):
            function(leaves[0])
    assert isinstance(qf.cheb.ChebTucker.from_values(torch.tensor(core)).core, torch.Tensor)
    with pytest.raises(NotImplementedError, match="no gradient"):
        ct.grid(x[0].requires_grad_(), *x[1:])
    with pytest.raises(TypeError, match="expected a torch array of float64, as core is"):
        ct.grid(*[np.zeros(2)] * 3)
    with pytest.raises(TypeError, match="torch"):
        qf.cheb.ChebTucker(torch.tensor(core), factors)
