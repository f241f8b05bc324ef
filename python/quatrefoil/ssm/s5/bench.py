"""S5 compared with JAX's associative scan and a log-step scan in PyTorch (with complex and with real products), and with Numba."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from ... import ssm
from ...bench._problem import Problem, Run, Work, against_numba, autograd, double, installed, torch_peers

Shape = tuple[int, int, int]  # L, H, P
SHAPES = ((1024, 256, 64), (16384, 128, 64))
GOALS = {
    1024: {"jax associative_scan": 2.2, "torch, log-step scan": 3.0},
    16384: {"jax associative_scan": 3.0, "torch, log-step scan": 8.0},
}


def problems() -> Iterator[Problem]:
    for shape in SHAPES:
        yield _forward(shape)
    yield _gradient(SHAPES[0])
    yield against_numba(_forward((2048, 32, 16)))


def _inputs(shape: Shape) -> list[np.ndarray]:
    L, H, P = shape
    rng = np.random.default_rng(0)

    def normal(*size: int) -> Any:
        real, imag = rng.standard_normal((2, *size)) / np.sqrt(size[1])
        return real + 1j * imag

    poles = np.exp(-rng.uniform(1e-3, 0.1, P) + 1j * rng.uniform(0, 3, P))
    arrays = rng.standard_normal((L, H)), poles, normal(P, H), normal(H, P), rng.standard_normal(H)
    return [a.astype(np.complex64 if a.dtype.kind == "c" else np.float32) for a in arrays]


def _work(shape: Shape, passes: int = 1) -> Work:
    """Real products with B and with C, 8 L H P flops per pass. The gradient takes two more: the adjoint states and du, then dB and dC."""
    L, H, P = shape
    return Work(passes * 8 * L * P * (H + 1), 2 * L * H * 4)


def _truth(*arrays: np.ndarray) -> Any:
    u, poles, b, c, D = double(*arrays)
    x = u @ b.T
    for t in range(1, len(x)):
        x[t] += poles * x[t - 1]
    return 2 * (x @ c.T).real + D * u


def _torch_scan(x: Any, poles: Any) -> Any:
    """Doubling steps: x_t += z^d x_{t-d}, d = 1, 2, 4, ..."""
    import torch

    step, power = 1, poles
    while step < len(x):
        x = torch.cat((x[:step], x[step:] + power * x[:-step]))
        step, power = 2 * step, power * power
    return x


def _torch_complex(u: Any, poles: Any, b: Any, c: Any, D: Any) -> Any:
    x = _torch_scan(u.to(b.dtype) @ b.T, poles)
    return 2 * (x @ c.T).real + D * u


def _torch_real(u: Any, poles: Any, b: Any, c: Any, D: Any) -> Any:
    import torch

    x = _torch_scan(torch.complex(u @ b.real.T, u @ b.imag.T), poles)
    return 2 * (x.real @ c.real.T - x.imag @ c.imag.T) + D * u


TORCH = {"torch, log-step scan": _torch_complex, "torch, real products": _torch_real}


def _jax_functions() -> dict[str, Callable[..., Any]]:
    """lindermanlab/S5, and its variant with complex products written as real ones; empty if JAX is not installed."""
    if not installed("jax"):
        return {}
    import jax
    import jax.numpy as jnp

    def scan(poles: Any, into: Any) -> Any:
        def both(first: Any, second: Any) -> Any:
            return second[0] * first[0], second[0] * first[1] + second[1]

        return jax.lax.associative_scan(both, (poles * jnp.ones((len(into), len(poles))), into))[1]

    def upstream(u: Any, poles: Any, b: Any, c: Any, D: Any) -> Any:
        x = scan(poles, jax.vmap(lambda v: b @ v)(u))
        return jax.vmap(lambda v: 2 * (c @ v).real)(x) + D * u

    def real(u: Any, poles: Any, b: Any, c: Any, D: Any) -> Any:
        x = scan(poles, jax.lax.complex(u @ b.real.T, u @ b.imag.T))
        return 2 * (x.real @ c.real.T - x.imag @ c.imag.T) + D * u

    return {"jax associative_scan": upstream, "jax, real products": real}


def _jax_peers(arrays: list[np.ndarray], gradient: bool = False) -> dict[str, Run]:
    """Compiled programs. With ``gradient``, they compute the gradients of <y, u> with respect to u and all parameters."""

    def compiled(function: Callable[..., Any]) -> Run:
        import jax
        import jax.numpy as jnp

        if not gradient:
            value = jax.jit(function)
            return lambda: value(*arrays).block_until_ready()
        both_ways = jax.jit(jax.value_and_grad(lambda *a: jnp.vdot(arrays[0], function(*a)), argnums=(0, 1, 2, 3, 4)))
        return lambda: jax.block_until_ready(both_ways(*arrays)[1])[0]

    return {name: compiled(function) for name, function in _jax_functions().items()}


def _forward(shape: Shape) -> Problem:
    arrays = _inputs(shape)
    ours = partial(ssm.s5_apply, *arrays)
    peers = _jax_peers(arrays) | torch_peers(TORCH, *arrays)
    truth = partial(_truth, *arrays)
    return Problem("ssm", "s5_apply", f"{shape} float32", ours, peers, truth, 1e-6, GOALS.get(shape[0], {}), 1e-5, _work(shape))


def _gradient(shape: Shape) -> Problem:
    """The gradients of <y, u> with respect to u and all parameters. Compares that of u."""
    arrays = _inputs(shape)
    u, poles, b, c, D = arrays
    peers = _jax_peers(arrays, gradient=True)
    if installed("torch"):
        run = autograd(arrays, grad=u)
        peers |= {name: run(function) for name, function in TORCH.items()}

    def ours() -> Any:
        ssm.s5_apply(*arrays)
        return ssm.s5_apply_vjp(*arrays, u)[0]

    def truth() -> Any:
        return _truth(u[::-1], poles, c.T, b.T, D)[::-1]  # the adjoint runs the transposed system from the end

    work = _work(shape, 3)
    return Problem("ssm", "s5_apply and its gradient", f"{shape} float32", ours, peers, truth, 2e-6, {}, 1e-5, work)
