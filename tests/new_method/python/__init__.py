"""Exponential decay along the last axis. H channels, L samples; equation numbers refer to csrc/ssm/decay/README.md."""

from __future__ import annotations

from ..._call import call, call_vjp
from ..._spec import Arg, Op
from ..._typing import Array, Backend, InputOrGrad, T

DECAY_APPLY = Op(
    __name__, "decay_apply",
    inputs=(Arg("x", "... H L"), Arg("rate", "H")),
    outputs=(Arg("y", "... H L"),),
    tolerance=2e-6,
)  # fmt: skip
OPS = (DECAY_APPLY,)


def decay_apply(
    x: Array[T],
    rate: Array[T],
    *,
    out: Array[T] | None = None,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> T:
    """Exponential decay of every channel, y_l = e^{-rate l} x_l (1).

    Parameters
    ----------
    x : (..., H, L)
        Input; float32 or float64.
    rate : (H,)
        Decay rate of each channel, per sample.
    out, backend, num_threads
        As in ``help(qf.conventions)``.

    Returns
    -------
    y : (..., H, L)

    Notes
    -----
    Differentiable in x and rate (2), (3).

    Examples
    --------
    >>> import numpy as np
    >>> import quatrefoil as qf
    >>> qf.ssm.decay_apply(np.ones((1, 3)), np.array([np.log(2)]))
    array([[1.  , 0.5 , 0.25]])
    """
    y: T = call(DECAY_APPLY, (x, rate), (), (), out, backend, num_threads)
    return y


def decay_apply_vjp(*inputs_and_grad: InputOrGrad[T], backend: Backend | None = None, num_threads: int | None = None) -> tuple[T, ...]:
    """Gradients of ``decay_apply``: ``(x, rate, grad)`` -> (dx, drate) (2), (3).

    Examples
    --------
    >>> import numpy as np
    >>> import quatrefoil as qf
    >>> dx, drate = qf.ssm.decay_apply_vjp(np.ones((1, 3)), np.array([np.log(2)]), np.ones((1, 3)))
    >>> dx, drate
    (array([[1.  , 0.5 , 0.25]]), array([-1.]))
    """
    return call_vjp(DECAY_APPLY, inputs_and_grad, (), (), backend, num_threads)
