"""Gated KalmaNet. B batch items, T tokens, H heads of dimension D. Equation numbers: csrc/ssm/kalmanet/README.md."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, overload

from ..._arguments import choice, integer, number
from ..._call import call, call_vjp
from ..._spec import Arg, Op, Option
from ..._typing import Array, Backend, InputOrGrad, T

SOLVERS = ("chebyshev", "exact")
MAX_STEPS = 2**31 - 1  # the solver's step count is a C int


GKA = Op(
    __name__, "gka",
    inputs=(
        *[Arg(name, "B T H D", half=True) for name in ("q", "k", "v")],
        *[Arg(name, "B T H", optional=True, half=True) for name in ("alpha", "g", "gk")],
        *[Arg(name, "B H D D", optional=True, half=True, title=f"initial_state[{i}]") for i, name in enumerate(("H0", "U0"))],
    ),
    outputs=(Arg("y", "B T H D", half=True), *[Arg(name, "B H D D", only_if="output_final_state") for name in ("H_T", "U_T")]),
    options=(Option("ridge_strength", float), Option("num_iter", int), Option("solver", str), Option("output_final_state", bool)),
    tolerance=2e-6,
)  # fmt: skip
OPS = (GKA,)


# fmt: off
@overload
def gka(
    q: Array[T], k: Array[T], v: Array[T], alpha: Array[T] | None = None, g: Array[T] | None = None, gk: Array[T] | None = None, *,
    ridge_strength: float = 0.02, num_iter: int = 30, solver: str = "chebyshev", initial_state: Sequence[Array[T] | None] | None = None,
    output_final_state: Literal[False] = False,
    out: Array[T] | None = None, backend: Backend | None = None, num_threads: int | None = None,
) -> T: ...
@overload
def gka(
    q: Array[T], k: Array[T], v: Array[T], alpha: Array[T] | None = None, g: Array[T] | None = None, gk: Array[T] | None = None, *,
    ridge_strength: float = 0.02, num_iter: int = 30, solver: str = "chebyshev", initial_state: Sequence[Array[T] | None] | None = None,
    output_final_state: Literal[True],
    out: Array[T] | None = None, backend: Backend | None = None, num_threads: int | None = None,
) -> tuple[T, tuple[T, T]]: ...
@overload
def gka(
    q: Array[T], k: Array[T], v: Array[T], alpha: Array[T] | None = None, g: Array[T] | None = None, gk: Array[T] | None = None, *,
    ridge_strength: float = 0.02, num_iter: int = 30, solver: str = "chebyshev", initial_state: Sequence[Array[T] | None] | None = None,
    output_final_state: bool = False,
    out: Array[T] | None = None, backend: Backend | None = None, num_threads: int | None = None,
) -> T | tuple[T, tuple[T, T]]: ...
# fmt: on
def gka(
    q: Array[T],
    k: Array[T],
    v: Array[T],
    alpha: Array[T] | None = None,
    g: Array[T] | None = None,
    gk: Array[T] | None = None,
    *,
    ridge_strength: float = 0.02,
    num_iter: int = 30,
    solver: str = "chebyshev",
    initial_state: Sequence[Array[T] | None] | None = None,
    output_final_state: bool = False,
    out: Array[T] | None = None,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> T | tuple[T, tuple[T, T]]:
    """Gated KalmaNet: linear attention with a ridge regression over all keys so far (1), (2).

    Per head and token, H_t = e^{gk_t} H_{t-1} + k_t k_t^T, U_t = e^{g_t} U_{t-1} + v_t k_t^T, F_t = ||H_t|| (Frobenius),
    x_t ~ (H_t + ridge_strength F_t I)^-1 q_t, and y_t = D^{-1/2} U_t (q_t + alpha_t (x_t - q_t)).

    Parameters
    ----------
    q, k, v : (B, T, H, D)
        Queries, keys, values; float32 or float64. Half precision is computed in float32.
    alpha, g, gk : (B, T, H), optional
        alpha: the weight of the regression (default 1). g, gk: logarithms of the decays of U and of H (default 0, no decay). Positive
        values are accepted and make the states grow.
    ridge_strength : float
        Regulariser in units of F_t; 0 or more.
    num_iter : int
        Steps of the Chebyshev iteration on [ridge F, (1 + ridge) F] (4)-(7). 0 means no regression (x = q): plain gated linear attention.
    solver : "chebyshev" or "exact"
        "exact" solves the system of each token by elimination and ignores num_iter.
    initial_state : (H_0, U_0), each (B, H, D, D), optional
        The states before the first token, as returned by an earlier call. Only the symmetric part of H_0 is used; None means zeros.
    output_final_state : bool
        Also return (H_T, U_T), each (B, H, D, D).
    out, backend, num_threads
        As in ``help(qf.conventions)``.

    Returns
    -------
    y : (B, T, H, D), or (y, (H_T, U_T))

    Raises
    ------
    ValueError
        Inconsistent shapes, an unknown solver, negative num_iter, or a ridge_strength that is negative, NaN or infinite.
    TypeError
        Unsupported dtypes, or mixed array libraries or dtypes.

    Notes
    -----
    Sources: arXiv 2511.21016, and awslabs/hybrid-model-factory, which returns U transposed. Differentiable in q, k, v, alpha, g, gk,
    initial_state, and through the final states. The gradient is that of the exact solution of the linear system, including the dependence
    of the regulariser on H. The adjoint system uses the same solver (11)-(19). At a finite num_iter the gradient differs from that
    of the iteration by about the iteration's own error, 2e-4 at 30 steps and the default ridge.

    The error of r steps is at most 2 c^{r+1} times the exact solution, where c = (sqrt(K) - 1) / (sqrt(K) + 1), K = (1 + ridge) / ridge,
    and c = 0.754 by default. x_t = 0 while all keys are zero. Cost per token and head: num_iter / 2 + 6 passes over D^2 numbers in
    cache ("exact": D^3 / 6 more multiply-adds). The gradient takes about four times as long and stores one vector per token. From 40 tokens
    on, float32 is within 2e-6 of the float64 result at the same num_iter, and so is each gradient, relative to its largest value (18). With
    fewer tokens the keys span few directions, and rounding errors are up to 1 / ridge_strength times larger. A NaN affects only its head,
    from its time step on (in gradients: anywhere in its head).

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> q = k = v = np.eye(2)[None, :, None]  # two tokens, one head, two orthogonal keys
    >>> qf.ssm.gka(q, k, v)[0, :, 0].round(2)
    array([[0.69, 0.  ],
           [0.  , 0.69]])
    """
    options = _options("gka", ridge_strength, num_iter, solver, output_final_state)
    H0, U0 = _pair("gka", initial_state)
    y, H_T, U_T = call(GKA, (q, k, v, alpha, g, gk, H0, U0), options, (), out, backend, num_threads)
    return (y, (H_T, U_T)) if output_final_state else y


def gka_vjp(
    *inputs_and_grad: InputOrGrad[T] | Sequence[InputOrGrad[T]],
    ridge_strength: float = 0.02,
    num_iter: int = 30,
    solver: str = "chebyshev",
    initial_state: Sequence[Array[T] | None] | None = None,
    output_final_state: bool = False,
    backend: Backend | None = None,
    num_threads: int | None = None,
) -> tuple[T, ...]:
    """Gradients of ``gka`` (11)-(19).

    ``(q, k, v[, alpha[, g[, gk[, H_0[, U_0]]]]], grad)`` -> (dq, dk, dv[, dalpha][, dg][, dgk][, dH_0][, dU_0]). The initial states may
    also be passed as ``initial_state=``. With ``output_final_state``, grad is (grad_y, grad_H_T, grad_U_T), or
    (grad_y, (grad_H_T, grad_U_T)).

    Examples
    --------
    >>> import numpy as np, quatrefoil as qf
    >>> q = k = v = np.eye(2)[None, :, None]
    >>> dq, dk, dv = qf.ssm.gka_vjp(q, k, v, np.ones((1, 2, 1, 2)))
    >>> dq.shape
    (1, 2, 1, 2)
    """
    options = _options("gka_vjp", ridge_strength, num_iter, solver, output_final_state)
    arrays: tuple[Any, ...] = inputs_and_grad or (None,)
    *inputs, grad = arrays
    if initial_state is not None:
        if any(state is not None for state in inputs[6:]):
            raise TypeError("ssm.gka_vjp: the initial states are passed twice, as H_0 and U_0 and as initial_state")
        inputs = [*inputs, *[None] * (6 - len(inputs))][:6] + list(_pair("gka_vjp", initial_state))
    if isinstance(grad, (list, tuple)) and len(grad) == 2 and isinstance(grad[1], (list, tuple)):
        grad = (grad[0], *grad[1])
    return call_vjp(GKA, (*inputs, grad), options, (), backend, num_threads)


def _options(function: str, ridge_strength: Any, num_iter: Any, solver: Any, output_final_state: Any) -> tuple[float, int, str, bool]:
    label = f"ssm.{function}"
    ridge = number(ridge_strength, label, "ridge_strength")
    steps = integer(num_iter, label, "num_iter", 0, MAX_STEPS)
    return ridge, steps, choice(solver, label, "solver", SOLVERS), bool(output_final_state)


def _pair(function: str, state: Any) -> tuple[Any, Any]:
    if state is None:
        return None, None
    if not isinstance(state, (list, tuple)) or len(state) != 2:
        got = f"{type(state).__name__} of length {len(state)}" if isinstance(state, (list, tuple)) else type(state).__name__
        raise TypeError(f"ssm.{function}: initial_state must be a pair of arrays (H_0, U_0), got {got}")
    return state[0], state[1]
