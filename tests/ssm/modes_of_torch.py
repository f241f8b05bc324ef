"""Check a function of tensors in every mode of PyTorch."""

import torch


def check_every_mode(f, inputs, atol=1e-6):
    """Compare autograd with finite differences, and torch.func and a compiled function with autograd."""
    assert torch.autograd.gradcheck(f, inputs, eps=1e-6, atol=atol)

    def energy(*arrays):
        return sum((x * x).sum() for x in f(*arrays))

    expected = torch.autograd.grad(energy(*inputs), inputs)
    plain = [x.detach() for x in inputs]
    torch.testing.assert_close(torch.func.grad(energy, argnums=tuple(range(len(inputs))))(*plain), expected, rtol=0, atol=0)
    torch._dynamo.reset()
    compiled = torch.compile(energy, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(torch.autograd.grad(compiled(*inputs), inputs), expected, rtol=1e-14, atol=1e-14)
