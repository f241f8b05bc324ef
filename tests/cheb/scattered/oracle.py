import numpy as np
from numpy.polynomial import chebyshev


def tucker_eval(core, factors, X, *, domain=(-1, 1)):
    """NumPy's Vandermonde matrices and one dense einsum, in extended precision."""
    d = len(factors)
    lo, hi = np.broadcast_to(np.reshape(np.asarray(domain, np.longdouble), (-1, 2)), (d, 2)).T
    t = (2 * X.astype(np.longdouble) - lo - hi) / (hi - lo)
    operands = [core.astype(np.longdouble), list(range(d))]
    for k, U in enumerate(factors):
        V = chebyshev.chebvander(t[:, k], max(len(U) - 1, 0))[:, : len(U)]
        operands += [V @ U.astype(np.longdouble), [d, k]]
    return np.einsum(*operands, [d])


def tucker_derivatives(core, factors, X, *, gradient=True, hessian=False, domain=(-1, 1), extrapolate=False):
    """Values of tensors whose factors are differentiated by NumPy's chebder."""
    d = len(factors)
    lo, hi = np.broadcast_to(np.reshape(np.asarray(domain, np.longdouble), (-1, 2)), (d, 2)).T

    def differentiated(*axes):
        changed = [U.astype(np.longdouble) for U in factors]
        for k in axes:
            changed[k] = chebyshev.chebder(changed[k]) * (2 / (hi[k] - lo[k])) if len(changed[k]) > 1 else 0 * changed[k]
        return tucker_eval(core, changed, X, domain=domain)

    f = differentiated()
    if not gradient and not hessian:
        return f
    g = np.stack([differentiated(i) for i in range(d)], axis=1)
    if not hessian:
        return f, g
    return f, g, np.stack([np.stack([differentiated(i, j) for j in range(d)], axis=1) for i in range(d)], axis=1)
