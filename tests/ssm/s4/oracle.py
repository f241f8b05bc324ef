import numpy as np


def cauchy_mult(v, z, w, symmetric=True):
    v, z, w = (x.astype(np.clongdouble) for x in (v, z, w))
    y = (v[..., None] / (z - w[..., None])).sum(-2)
    return y + (np.conj(v)[..., None] / (z - np.conj(w)[..., None])).sum(-2) if symmetric else y


def s4_kernel(dt, Lambda, P, B, C, L, *, Q=None, truncated=False):
    """Full dense matrices and powers one by one; (I - dt/2 A)^-1 by elimination in extended precision."""
    full = [np.concatenate([x, np.conj(x)], -1).astype(np.clongdouble) for x in (Lambda, P, B, C, P if Q is None else Q)]
    K = np.zeros((len(dt), L), np.longdouble)
    for h, (lam, p, b, c, q) in enumerate(zip(*full)):
        half = np.longdouble(dt[h]) / 2 * (np.diag(lam) - np.outer(p, np.conj(q)))
        eye = np.eye(len(lam), dtype=np.clongdouble)
        backward = _solve(eye - half, eye)
        step = backward @ (eye + half)
        x = backward @ b * np.longdouble(dt[h])
        if truncated and L:  # with L = 0, C is undetermined and not needed
            power = eye
            for _ in range(L):
                power = power @ step
            c = _solve((eye - power).T, c[:, None])[:, 0]
        for l in range(L):
            K[h, l] = (c @ x).real
            x = step @ x
    return K


def _solve(a, right):
    """Gauss-Jordan elimination in the precision of the arrays (LAPACK has no extended precision)."""
    a, right = a.copy(), right.copy()
    for k in range(len(a)):
        pivot = k + np.argmax(np.abs(a[k:, k]))
        a[[k, pivot]], right[[k, pivot]] = a[[pivot, k]], right[[pivot, k]]
        right[k] = right[k] / a[k, k]
        a[k] = a[k] / a[k, k]
        for i in range(len(a)):
            if i != k:
                right[i] = right[i] - a[i, k] * right[k]
                a[i] = a[i] - a[i, k] * a[k]
    return right
