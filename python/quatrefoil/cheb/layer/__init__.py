"""Layers of polynomials. N rows, I inputs, K degrees, O outputs. Equation numbers refer to csrc/cheb/layer/README.md."""

from __future__ import annotations

from ..._call import call, call_vjp
from ..._spec import Arg, Op, Policy
from ..._typing import Array, Backend, T
from .products import PRODUCT_LAYER, TRIG_LAYER, check_recurrence
from .products import product_layer as product_layer
from .products import product_layer_vjp as product_layer_vjp
from .products import trig_layer as trig_layer
from .products import trig_layer_vjp as trig_layer_vjp

POLY_LAYER = Op(
    __name__, "poly_layer",
    inputs=(Arg("X", "N I"), Arg("W", "I K O"), Arg("a", "I K or K", constant=True), Arg("b", "I K or K", constant=True)),
    outputs=(Arg("Y", "N O"),),
    policy=Policy(check_values=lambda label, inputs, options: check_recurrence(label, inputs)),
    tolerance=4e-6,  # a recurrence loses about K eps
)  # fmt: skip
OPS = (POLY_LAYER, PRODUCT_LAYER, TRIG_LAYER)


def poly_layer(
    X: Array[T],
    W: Array[T],
    a: Array[T],
    b: Array[T],
    *,
    out: Array[T] | None = None,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> T:
    """Apply a polynomial layer: orthogonal polynomials of every input, weighted and summed (4).

    Y[n, o] = sum over inputs i and degrees k of W[i, k, o] p_k(X[n, i]), with the orthonormal polynomials p_k of a three-term recurrence
    (1): sqrt(b_{k+1}) p_{k+1} = (x - a_k) p_k - sqrt(b_k) p_{k-1}, p_0 = 1 / sqrt(b_0).

    Parameters
    ----------
    X : (N, I)
        float32 or float64. Any real values; apply tanh, for example, to restrict them to an interval.
    W : (I, K, O)
        Weights of the polynomials of degree 0 to K - 1.
    a, b : (K,), or (I, K) with one measure per input
        From ``orthopoly.from_samples`` or ``orthopoly.classical``; b must be positive and finite (ValueError), and the last a is not used.
        They have no gradient (NotImplementedError).
    out, backend, num_threads
        As in ``help(qf.conventions)``.

    Returns
    -------
    Y : (N, O)

    Notes
    -----
    Differentiable in X and W. Cost: 2 N I K O flops, three times that with both gradients. It is a matrix product whose left factor is
    computed in cache, tile by tile. Memory: a copy of W and a few hundred kB per thread. A NaN in X affects only its row.

    The layers of deep arbitrary polynomial chaos (Oladyshkin et al., Neural Networks 166 (2023) 85) and of Chebyshev-KAN are of this kind:
    for k > 0, T_k is p_k of ``orthopoly.classical("chebyshev", K - 1)`` divided by sqrt(2).

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> a, b = np.zeros(3), np.array([1.0, 1 / 3, 4 / 15])  # Legendre's
    >>> W = np.array([[[0.0], [1.0], [0.0]]])
    >>> qf.cheb.poly_layer(np.array([[0.5], [1.0]]), W, a, b) / 3**0.5
    array([[0.5],
           [1. ]])
    """
    return call(POLY_LAYER, (X, W, a, b), (), (), out, backend, num_threads)


def poly_layer_vjp(
    X: Array[T], W: Array[T], a: Array[T], b: Array[T], grad: Array[T], *, backend: Backend | None = None, num_threads: int | None = None
) -> tuple[T, T]:
    """Gradients of ``poly_layer``: the gradient of Y -> (dX, dW) (5), (6).

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> X, W = np.array([[0.5]]), np.ones((1, 3, 1))
    >>> b = qf.cheb.orthopoly.classical("legendre", 2)
    >>> dX, dW = qf.cheb.poly_layer_vjp(X, W, b.a, b.b, np.ones((1, 1)))
    >>> bool(np.allclose(dW[0, :, 0], b(X[0])[0]))
    True
    """
    dX, dW, *_ = call_vjp(POLY_LAYER, (X, W, a, b, grad), (), (), backend, num_threads)
    return dX, dW
