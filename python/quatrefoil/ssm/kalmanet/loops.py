"""Gated KalmaNet in plain loops, with the algorithm of csrc/ssm/kalmanet. States are float64 for arrays of any dtype."""

import math

import numpy as np

from ..._backends.numba import jit


@jit
def _eliminate(A):
    """A = L D L^T in place, from the last row up."""
    for p in range(len(A) - 1, 0, -1):
        for i in range(p):
            factor = A[p, i] / A[p, p]
            for j in range(i + 1):
                A[i, j] -= factor * A[p, j]


@jit
def _solve_eliminated(A, x):
    D = len(A)
    for p in range(D - 1, -1, -1):
        factor = x[p] / A[p, p]
        for i in range(p):
            x[i] -= factor * A[p, i]
    for p in range(D):
        for i in range(p):
            x[p] -= A[p, i] * x[i]
        x[p] /= A[p, p]


@jit
def _chebyshev(H, F, ridge, steps, q, x, before, Hx):
    """The Chebyshev iteration; README (4)-(7) evaluate the same polynomial with fewer products."""
    D = len(H)
    lam = ridge * F
    s = 2 / (2 * lam + F)
    rho = (F / (2 * lam + F) / 2) ** 2
    w = 2.0
    for i in range(D):
        before[i], x[i] = 0.0, s * q[i]
    for _ in range(steps):
        w = 1 / (1 - rho * w)
        for i in range(D):
            Hx[i] = 0.0
            for j in range(D):
                Hx[i] += H[i, j] * x[j]
        for i in range(D):
            new = w * x[i] - (s * w * (Hx[i] + lam * x[i] - q[i]) + (w - 1) * before[i])
            before[i], x[i] = x[i], new


@jit
def _solve(H, A, F, ridge, steps, exact, q, x, before, Hx):
    """x ~ (H + ridge F I)^-1 q; A contains the eliminated matrix if exact."""
    x[:] = q
    if exact or steps > 0:
        if F == 0:
            x[:] = 0
        elif exact:
            _solve_eliminated(A, x)
        else:
            _chebyshev(H, F, ridge, steps, q, x, before, Hx)


@jit
def _advance(H, A, e, k, ridge, exact):
    """H <- e H + k k^T and, if exact, A <- the elimination of H + ridge F I; returns F."""
    D = len(H)
    norm2 = 0.0
    for i in range(D):
        for j in range(D):
            H[i, j] = e * H[i, j] + k[i] * k[j]
            norm2 += H[i, j] ** 2
    F = math.sqrt(norm2)
    if exact and F != 0:
        A[:] = H
        for i in range(D):
            A[i, i] += ridge * F
        _eliminate(A)
    return F


@jit
def _gka(q, k, v, alpha, g, gk, H, U, y, ridge, steps, exact):
    """One head: q, k, v, y (T, D), gates (T,), states (D, D). The states are updated in place."""
    T, D = q.shape
    A, x, before, Hx = np.empty((D, D)), np.empty(D), np.empty(D), np.empty(D)
    for t in range(T):
        F = _advance(H, A, math.exp(gk[t]), k[t], ridge, exact)
        _solve(H, A, F, ridge, steps, exact, q[t], x, before, Hx)
        e = math.exp(g[t])
        for i in range(D):
            total = 0.0
            for j in range(D):
                U[i, j] = e * U[i, j] + v[t, i] * k[t, j]
                total += U[i, j] * ((1 - alpha[t]) * q[t, j] + alpha[t] * x[j])
            y[t, i] = total / math.sqrt(D)


@jit
def _forward_for_gradient(q, k, v, alpha, g, gk, H, U, grad, dq, dalpha, x, w, Hk, c, along_H, along_U, ridge, steps, exact):
    """README (11), (12): the values for each token that the backward pass needs, and dq and dalpha."""
    T, D = q.shape
    A, before, Hx, u = np.empty((D, D)), np.empty(D), np.empty(D), np.empty(D)
    for t in range(T):
        F = _advance(H, A, math.exp(gk[t]), k[t], ridge, exact)
        _solve(H, A, F, ridge, steps, exact, q[t], x[t], before, Hx)
        e = math.exp(g[t])
        u[:] = 0
        for i in range(D):
            for j in range(D):
                U[i, j] = e * U[i, j] + v[t, i] * k[t, j]
                u[j] += U[i, j] * grad[t, i] / math.sqrt(D)
        _solve(H, A, F, ridge, steps, exact, alpha[t] * u, w[t], before, Hx)
        dalpha[t] = c[t] = along_H[t] = along_U[t] = 0
        for i in range(D):
            dq[t, i] = (1 - alpha[t]) * u[i] + w[t, i]
            dalpha[t] += u[i] * (x[t, i] - q[t, i])
            along_U[t] += u[i] * ((1 - alpha[t]) * q[t, i] + alpha[t] * x[t, i])
            Hk[t, i] = 0
            for j in range(D):
                Hk[t, i] += H[i, j] * k[t, j]
        if not exact and steps == 0:
            w[t] = 0
        elif F != 0:
            wx = ridge * np.dot(w[t], x[t])
            c[t] = -wx / F
            along_H[t] = -wx * F
            for i in range(D):
                for j in range(D):
                    along_H[t] -= w[t, i] * H[i, j] * x[t, j]


@jit
def _backward(q, k, v, alpha, g, gk, grad, x, w, Hk, c, along_H, along_U, N, R, dk, dv, dg, dgk, start):
    """README (13)-(16). N, R: on entry gradients of the final states, on return of the initial ones without sigma H_0. Returns sigma."""
    T, D = q.shape
    sigma, e_H, e_U = 0.0, 1.0, 1.0
    total_H, total_U = start
    for t in range(T - 1, -1, -1):
        for i in range(D):
            dv[t, i] = 0
            for j in range(D):
                after = sigma * k[t + 1, i] * k[t + 1, j] if t + 1 < T else 0.0
                N[i, j] = e_H * (N[i, j] + after) - (w[t, i] * x[t, j] + x[t, i] * w[t, j]) / 2
                R[i, j] = e_U * R[i, j] + grad[t, i] * ((1 - alpha[t]) * q[t, j] + alpha[t] * x[t, j]) / math.sqrt(D)
                dv[t, i] += R[i, j] * k[t, j]
        sigma = c[t] + e_H * e_H * sigma
        e_H, e_U = math.exp(gk[t]), math.exp(g[t])
        total_H += along_H[t]
        total_U += along_U[t]
        for j in range(D):
            RHk = sigma * Hk[t, j]
            RUv = 0.0
            for i in range(D):
                RHk += N[j, i] * k[t, i]
                RUv += R[i, j] * v[t, i]
            dk[t, j] = 2 * RHk + RUv
            total_H -= k[t, j] * RHk
            total_U -= v[t, j] * dv[t, j]
        if e_H == 0:
            total_H = 0.0
        if e_U == 0:
            total_U = 0.0
        dgk[t], dg[t] = total_H, total_U
    for i in range(D):
        for j in range(D):
            N[i, j] = e_H * (N[i, j] + (sigma * k[0, i] * k[0, j] if T else 0.0))
            R[i, j] *= e_U
    return e_H * e_H * sigma


def _of_head(x, b, h):
    """The array of one head in float64, (T, D) or (T,)."""
    return np.ascontiguousarray(x[b, :, h], np.float64)


def _state(x, b, h, D, symmetric):
    if x is None:
        return np.zeros((D, D))
    full = np.array(x[b, h], np.float64)
    return (full + full.T) / 2 if symmetric else full


def _inputs(q, k, v, alpha, g, gk, b, h):
    gates = (np.full(q.shape[1], default) if x is None else _of_head(x, b, h) for x, default in ((alpha, 1.0), (g, 0.0), (gk, 0.0)))
    return [*(_of_head(x, b, h) for x in (q, k, v)), *gates]


def _heads(q):
    B, _, H, D = q.shape
    return [(b, h) for b in range(B) for h in range(H) if D > 0]


def gka(q, k, v, alpha, g, gk, H0, U0, y, H_T, U_T, ridge_strength, num_iter, solver, output_final_state, num_threads):
    for b, h in _heads(q):
        H, U = _state(H0, b, h, q.shape[3], True), _state(U0, b, h, q.shape[3], False)
        result = np.empty(q.shape[1::2])
        _gka(*_inputs(q, k, v, alpha, g, gk, b, h), H, U, result, ridge_strength, num_iter, solver == "exact")
        y[b, :, h] = result
        if H_T is not None:
            H_T[b, h] = H
        if U_T is not None:
            U_T[b, h] = U


def gka_vjp(
    q, k, v, alpha, g, gk, H0, U0, grad_y, grad_H, grad_U, dq, dk, dv, dalpha, dg, dgk, dH0, dU0,
    ridge_strength, num_iter, solver, output_final_state, num_threads,
):  # fmt: skip
    _, T, _, D = q.shape
    for gates in (dalpha, dg, dgk):
        if gates is not None and D == 0:
            gates[...] = 0
    for b, h in _heads(q):
        inputs = _inputs(q, k, v, alpha, g, gk, b, h)
        grad = _of_head(grad_y, b, h)
        H, U = _state(H0, b, h, D, True), _state(U0, b, h, D, False)
        x, w, Hk, gq, gkey, gv = (np.empty((T, D)) for _ in range(6))
        c, along_H, along_U, galpha, gg, ggk = (np.empty(T) for _ in range(6))
        _forward_for_gradient(*inputs, H, U, grad, gq, galpha, x, w, Hk, c, along_H, along_U, ridge_strength, num_iter, solver == "exact")
        N, R = _state(grad_H, b, h, D, True), _state(grad_U, b, h, D, False)
        start = (np.vdot(N, H), np.vdot(R, U))
        of_H0 = _backward(*inputs, grad, x, w, Hk, c, along_H, along_U, N, R, gkey, gv, gg, ggk, start)
        for target, gradient in ((dq, gq), (dk, gkey), (dv, gv), (dalpha, galpha), (dg, gg), (dgk, ggk)):
            if target is not None:
                target[b, :, h] = gradient
        if dH0 is not None:
            dH0[b, h] = N + of_H0 * _state(H0, b, h, D, True)
        if dU0 is not None:
            dU0[b, h] = R
