"""The large S4 layer's arithmetic as models/s4/s4.py of state-spaces/s4 does it, in PyTorch, on whatever sums it is given.

C outputs, H channels, N stored modes, R the rank of what is taken off, B initial states: A = diag(Lambda) - sum_r P_r P_r^*.
"""

import numpy as np
import torch


def pairs(x):
    """The stored modes and their conjugates."""
    return torch.cat([x, x.conj()], dim=-1)


def nodes(L):
    """The L-th roots of unity of a real transform, and where the bilinear rule puts them. At -1 exactly there is no such place."""
    roots = torch.exp(torch.tensor(-2j * np.pi / L, dtype=torch.complex128)) ** torch.arange(L // 2 + 1)
    return roots, 2 * (1 - roots) / (1 + roots)


def kernels(cauchy, dt, Lambda, P, B, C, L, state=None):
    """(C, H, L), and what B initial states give: (B, C, H, L). Lambda (H, N), P (R, H, N), B (1, H, N), dt (H, 1); C (C, H, N) is given
    times I - Abar^L."""
    rank = len(P)
    roots, z = nodes(L)
    if state is not None:  # a state stands where B does, once the step is taken off it
        s, p = pairs(state), pairs(P)
        moved = s * pairs(Lambda) - torch.einsum("bhm,rhm,rhn->bhn", s, p.conj(), p)
        B = torch.cat([(s / dt + moved / 2)[..., : Lambda.shape[-1]], B])
    left, right = torch.cat([B, P]), torch.cat([C, P.conj()])
    r = cauchy(left[:, None] * right[None] * dt, z, Lambda * dt)  # (B + 1 + R, C + R, H, L/2 + 1)
    small = torch.eye(rank)[..., None, None] + r[-rank:, -rank:]
    solved = torch.linalg.solve(small.movedim((0, 1), (-2, -1)), r[-rank:, :-rank].movedim((0, 1), (-2, -1))).movedim((-2, -1), (0, 1))
    seen = r[:-rank, :-rank] - torch.einsum("irhl,rchl->ichl", r[:-rank, -rank:], solved)
    k = torch.fft.irfft(2 / (1 + roots) * seen, n=L)
    return k[-1], k[:-1]


def dense(dt, Lambda, P, B, C, L, state):
    """The same from matrices of all modes and their powers, one by one; the state after L samples u is a function of u."""
    lam, p, b, c, s = (pairs(x) for x in (Lambda, P, B[0], C, state))
    A = torch.diag_embed(lam) - torch.einsum("rhm,rhn->hmn", p, p.conj())
    eye = torch.eye(A.shape[-1], dtype=A.dtype)
    half = dt[..., None] / 2 * A
    step = torch.linalg.solve(eye - half, eye + half)
    x = torch.linalg.solve(eye - half, dt * b)
    K, from_state = [], []
    for _ in range(L):
        s = torch.einsum("hmn,bhn->bhm", step, s)
        K.append(torch.einsum("chn,hn->ch", c, x).real)
        from_state.append(torch.einsum("chn,bhn->bch", c, s).real)
        x = torch.einsum("hmn,hn->hm", step, x)
    return torch.stack(K, dim=-1), torch.stack(from_state, dim=-1), step


def cut_off(C, step, L):
    """C (I - Abar^L)."""
    c = pairs(C)
    return (c - torch.einsum("chm,hmn->chn", c, torch.linalg.matrix_power(step, L)))[..., : C.shape[-1]]


def forward_state(log_vandermonde_transpose, dA, dB, u, state):
    """The state of a diagonal layer after u (B, H, L)."""
    moved = log_vandermonde_transpose(u.flip(-1).to(dA), dB, dA.log(), u.shape[-1])
    return dA ** u.shape[-1] * state + moved
