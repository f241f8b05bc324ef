import torch

import quatrefoil as qf


def kernel_before(dt, A, C, L):  # an array (H, N, L) of complex exponentials, and another for the gradient
    x = dt[:, None] * A
    return 2 * torch.einsum("hn,hnl->hl", C * torch.expm1(x) / A, torch.exp(x[..., None] * torch.arange(L))).real


H, N, L = 64, 32, 1024
dt = torch.logspace(-3, -1, H, requires_grad=True)
A = torch.complex(torch.full((H, N), -0.5), torch.pi * torch.arange(N).expand(H, N)).requires_grad_()
C = torch.randn(H, N, dtype=torch.cfloat, requires_grad=True)
K = qf.ssm.s4d_kernel(dt, A, C, L)  # instead of kernel_before(dt, A, C, L)
K.square().sum().backward()  # sets dt.grad, A.grad and C.grad as before
