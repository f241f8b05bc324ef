import numpy as np


def gka(
    q, k, v, alpha=None, g=None, gk=None, H0=None, U0=None, *, ridge_strength=0.02, num_iter=30, solver="chebyshev",
    initial_state=None, output_final_state=False,
):  # fmt: skip
    """The recurrences, one token at a time for all heads; the plain Chebyshev iteration, or a dense solve."""
    if initial_state is not None:
        H0, U0 = initial_state
    B, T, heads, D = q.shape
    precise = np.float64 if solver == "exact" else np.longdouble  # LAPACK has no long double
    q, k, v = (x.astype(precise) for x in (q, k, v))
    H, U = (np.zeros((B, heads, D, D), precise) if x is None else x.astype(precise) for x in (H0, U0))
    H = (H + H.swapaxes(-1, -2)) / 2
    y = np.zeros_like(q)

    def gate(x, t, absent):
        return np.full((B, heads, 1), absent) if x is None else x[:, t, :, None].astype(precise)

    for t in range(T):
        H = np.exp(gate(gk, t, 0.0))[..., None] * H + k[:, t, :, :, None] * k[:, t, :, None, :]
        U = np.exp(gate(g, t, 0.0))[..., None] * U + v[:, t, :, :, None] * k[:, t, :, None, :]
        F = np.sqrt((H * H).sum((-1, -2)))[..., None]
        solved = _solve(H, F, q[:, t], ridge_strength, num_iter, solver)
        mixed = q[:, t] + gate(alpha, t, 1.0) * (solved - q[:, t])
        y[:, t] = (U * mixed[..., None, :]).sum(-1) / np.sqrt(precise(D))
    return (y, H, U) if output_final_state else y


def _solve(H, F, q, ridge, num_iter, solver):
    if solver == "chebyshev" and num_iter == 0:
        return q
    zero = F == 0
    F = np.where(zero, 1, F)
    lam = ridge * F
    if solver == "exact":
        A = H + lam[..., None] * np.eye(H.shape[-1])
        x = np.linalg.solve(A, q[..., None])[..., 0] if H.size else q
    else:
        s, rho, w = 2 / (2 * lam + F), (F / (2 * lam + F) / 2) ** 2, np.full_like(F, 2)
        before, x = np.zeros_like(q), s * q
        for _ in range(num_iter):
            w = 1 / (1 - rho * w)
            residual = (H * x[..., None, :]).sum(-1) + lam * x - q
            before, x = x, w * x - (s * w * residual + (w - 1) * before)
    return np.where(zero, 0, x)
