import numpy as np


def s5_apply(u, Lambda_bar, B_bar, C, D=None, *, conj_sym=True, bidirectional=False, initial_state=None, return_state=False):
    """The recurrence, one step at a time, in extended precision."""
    L, P = u.shape[-2], len(Lambda_bar)
    poles, b, c = (x.astype(np.clongdouble) for x in (Lambda_bar, B_bar, C))
    u = u.astype(np.longdouble)
    y = np.zeros_like(u) if D is None else D * u
    into = (u[..., None, :] * b).sum(-1)  # einsum of long doubles crashes if an axis is empty
    for reverse in range(1 + bidirectional):
        state = np.zeros((*u.shape[:-2], P), np.clongdouble) if initial_state is None else initial_state.astype(np.clongdouble)
        for t in range(L)[:: -1 if reverse else 1]:
            state = poles * state + into[..., t, :]
            y[..., t, :] += (1 + conj_sym) * (state[..., None, :] * c[:, reverse * P : (reverse + 1) * P]).sum(-1).real
    return (y, state) if return_state else y
