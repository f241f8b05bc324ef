"""The loss (5) of GP-HM by its definition, with dense matrices and kernels of all pairs. For NumPy arrays and tensors with autograd."""

import math

import numpy as np


def kernel(xp, d, log_weights, log_scales, freqs, kind, order):
    """k^(order)(d) for d of any shape."""
    d, w, m = d[..., None], xp.exp(log_weights), 2 * math.pi * freqs
    c, S = xp.cos(m * d), xp.sin(m * d)
    if kind == "student_t":
        a = math.sqrt(5) * xp.exp(log_scales)
        s = a * abs(d)
        E = xp.exp(-s)
        g, first, second = (1 + s + s**2 / 3) * E, -(a**2) / 3 * d * (1 + s) * E, -(a**2) / 3 * (1 + s - s**2) * E
    else:
        p = xp.exp(log_scales)
        g = xp.exp(-p * d**2)
        first, second = -2 * p * d * g, (4 * p**2 * d**2 - 2 * p) * g
    k = [g * c, first * c - m * g * S, second * c - 2 * m * first * S - m**2 * g * c][order]
    return (w * k).sum(-1)


LAPLACIAN = ([(2, 1.0)], [(2, 1.0)])
TERMS = {  # (order, coefficient) of the derivatives along every axis
    "poisson": LAPLACIAN, "allencahn": LAPLACIAN, "helmholtz": LAPLACIAN, "heat": ([(2, -0.7)], [(1, 1.0)]),
    "convection": ([(1, 2.0), (2, -0.7)], [(1, -3.0), (2, -0.7)]), "advection": ([(1, 1.0)], [(1, 1.0)]),
}  # fmt: skip
OF_U = {"helmholtz": 9.0}


def terms_of(equation, k, speed):
    return [(order, c * speed if equation == "advection" and k == 0 else c) for order, c in TERMS[equation][k]]


def pair(xp, params, k, x, kind, terms, jitter):
    """The covariance of axis k with its jitter, and its derivatives: (K, D)."""
    hyper, d = [params[f"{name}_{k}"] for name in ("log_weights", "log_scales", "freqs")], x[:, None] - x
    D = sum(c * kernel(xp, d, *hyper, kind, order) for order, c in terms)
    return kernel(xp, d, *hyper, kind, 0) + jitter * xp.eye(len(x), dtype=x.dtype), D


def loss(xp, params, axes, *, equation, source, boundary, kind, weight, jitter, speed=1.0, base=None):
    """``equation`` is a key of TERMS. ``base`` is None, or a fixed solution to which U is added, with its derivatives."""
    U, log_tau, log_v = params["U"], params["log_tau"], params["log_v"]
    covariances, derivatives = zip(*(pair(xp, params, k, x, kind, terms_of(equation, k, speed), jitter) for k, x in enumerate(axes)))
    value = sum(0.5 * math.prod(U.shape) / len(K) * xp.linalg.slogdet(K)[1] for K in covariances)
    solve = xp.linalg.solve
    if len(axes) == 1:
        weights = solve(covariances[0], U)
        e = derivatives[0] @ weights
        value = value + 0.5 * U @ weights
    else:
        first, second = solve(covariances[0], U), solve(covariances[1], U.T)
        e = derivatives[0] @ first + (derivatives[1] @ second).T
        value = value + 0.5 * (U * solve(covariances[1], first.T).T).sum()
    whole = U
    if base is not None:
        whole, e = U + base[0], e + base[1]
    if equation == "allencahn":
        e = e + whole * (whole**2 - 1)
    e = e + OF_U.get(equation, 0.0) * U - source
    off = whole - boundary
    sides = [off[0], off[-1]] if len(axes) == 1 else [off[0], off[-1], off[:, 0], off[:, -1]]
    count = 2 if len(axes) == 1 else 2 * sum(U.shape)
    misfit = sum((side**2).sum() for side in sides)
    value = value + weight * 0.5 * (xp.exp(log_tau) * misfit - count * log_tau)
    return value + 0.5 * (xp.exp(log_v) * (e**2).sum() - math.prod(U.shape) * log_v)


def collocated(params, axes, *, equation, source, boundary, kind, jitter, speed=1.0, base=None):
    """(U, -log prior of U, condition): U solves (1) at all points without boundary values, by a dense matrix and Newton's method."""
    shape, eyes = source.shape, [np.eye(len(x)) for x in axes]
    terms = [terms_of(equation, k, speed) for k in range(len(axes))]
    operators, inverses, value = [], [], 0.0
    for i, x in enumerate(axes):
        K, D = pair(np, params, i, x, kind, terms[i], jitter)
        inverses.append(np.linalg.inv(K))
        operators.append(D @ inverses[i])
        value += 0.5 * math.prod(shape) / len(x) * np.linalg.slogdet(K)[1]
    whole, prior = operators[0], inverses[0]
    if len(axes) == 2:
        whole = np.kron(operators[0], eyes[1]) + np.kron(eyes[0], operators[1])
        prior = np.kron(*inverses)
    whole = whole + OF_U.get(equation, 0.0) * np.eye(len(whole))
    free, inner = np.zeros(shape, bool), []
    for x, of_axis in zip(axes, terms):
        order, c = of_axis[-1]
        inner.append(slice(1, -1) if order == 2 else slice(1, None) if c * (x[-1] - x[0]) > 0 else slice(None, -1))  # no inflow side
    free[tuple(inner)] = True
    free = free.ravel()
    base, below = (np.zeros(source.size), 0.0) if base is None else (base[0].ravel(), base[1].ravel())
    u = np.where(free, 0.0, boundary.ravel() - base)
    for _ in range(30):
        total = u + base
        residual, slope = whole @ u + below - source.ravel(), np.zeros(source.size)
        if equation == "allencahn":
            residual, slope = residual + total * (total**2 - 1), 3 * total**2 - 1
        matrix = (whole + np.diag(slope))[np.ix_(free, free)]
        u[free] -= np.linalg.solve(matrix, residual[free])
    return u.reshape(shape), value + 0.5 * u @ prior @ u, np.linalg.cond(matrix)
