"""S5 against JAX's associative scan and a log-step scan in torch, each with complex and with real products, and against Numba."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from ... import ssm
from ...bench._problem import Problem, Run, Work, installed

SHAPES = ((1024, 256, 64), (16384, 128, 64))  # (L, H, P)
GOALS = {
    1024: {"jax associative_scan": 2.2, "torch, log-step scan": 3.0},
    16384: {"jax associative_scan": 3.0, "torch, log-step scan": 8.0},
}


def problems() -> Iterator[Problem]:
    for shape in SHAPES:
        yield _forward(shape)
    yield _gradient(SHAPES[0])
    yield _numba((2048, 32, 16))


def _inputs(shape: tuple[int, int, int]) -> list[np.ndarray]:
    L, H, P = shape
    rng = np.random.default_rng(0)

    def normal(*size: int) -> np.ndarray:
        parts = rng.standard_normal((2, *size)) / np.sqrt(size[1])
        result: np.ndarray = parts[0] + 1j * parts[1]
        return result

    poles = np.exp(-rng.uniform(1e-3, 0.1, P) + 1j * rng.uniform(0, 3, P))
    arrays = rng.standard_normal((L, H)), poles, normal(P, H), normal(H, P), rng.standard_normal(H)
    return [a.astype(np.complex64 if a.dtype.kind == "c" else np.float32) for a in arrays]


def _work(shape: tuple[int, int, int], passes: int = 1) -> Work:
    """Real products with B and C, 8 L H P flops per pass; the gradient takes two more passes: the adjoint states and du, dB and dC."""
    L, H, P = shape
    return Work(passes * 8 * L * P * (H + 1), 2 * L * H * 4)


def _truth(u: np.ndarray, poles: np.ndarray, b: np.ndarray, c: np.ndarray, D: np.ndarray) -> np.ndarray:
    x = u.astype(float) @ b.astype(complex).T
    for t in range(1, len(x)):
        x[t] += poles.astype(complex) * x[t - 1]
    y: np.ndarray = 2 * (x @ c.astype(complex).T).real + D.astype(float) * u
    return y


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


def _jax_scan(poles: Any, into: Any) -> Any:
    import jax

    def both(first: Any, second: Any) -> Any:
        return second[0] * first[0], second[0] * first[1] + second[1]

    return jax.lax.associative_scan(both, (poles * jax.numpy.ones((len(into), len(poles))), into))[1]


def _jax_complex(u: Any, poles: Any, b: Any, c: Any, D: Any) -> Any:
    """Upstream's own program."""
    import jax

    x = _jax_scan(poles, jax.vmap(lambda v: b @ v)(u))
    return jax.vmap(lambda v: 2 * (c @ v).real)(x) + D * u


def _jax_real(u: Any, poles: Any, b: Any, c: Any, D: Any) -> Any:
    import jax

    x = _jax_scan(poles, jax.lax.complex(u @ b.real.T, u @ b.imag.T))
    return 2 * (x.real @ c.real.T - x.imag @ c.imag.T) + D * u


TORCH = {"torch, log-step scan": _torch_complex, "torch, real products": _torch_real}
JAX = {"jax associative_scan": _jax_complex, "jax, real products": _jax_real}


def _run_jax(run: Callable[..., Any], arrays: list[np.ndarray]) -> Any:
    import jax

    return jax.block_until_ready(run(*arrays))


def _forward(shape: tuple[int, int, int]) -> Problem:
    arrays = _inputs(shape)
    peers: dict[str, Run] = {}
    if installed("jax"):
        import jax

        peers = {name: partial(_run_jax, jax.jit(f), arrays) for name, f in JAX.items()}
    if installed("torch"):
        import torch

        tensors = [torch.from_numpy(a) for a in arrays]
        peers |= {name: partial(f, *tensors) for name, f in TORCH.items()}
    goals = {name: goal for name, goal in GOALS[shape[0]].items() if name in peers}
    ours, truth = lambda: ssm.s5_apply(*arrays), lambda: _truth(*arrays)
    return Problem("ssm", "s5_apply", f"{shape} float32", ours, peers, truth, 1e-6, goals, 1e-5, _work(shape))


def _gradient(shape: tuple[int, int, int]) -> Problem:
    """du of <y, u>, with the gradients of all parameters computed too."""
    arrays = _inputs(shape)
    u, poles, b, c, D = arrays
    peers: dict[str, Run] = {}
    if installed("jax"):
        import jax

        def by_jax(f: Callable[..., Any]) -> Run:
            run = jax.jit(jax.value_and_grad(lambda *a: jax.numpy.vdot(u, f(*a)), argnums=(0, 1, 2, 3, 4)))
            return lambda: _run_jax(run, arrays)[1][0]

        peers = {name: by_jax(f) for name, f in JAX.items()}
    if installed("torch"):
        import torch

        def by_torch(f: Callable[..., Any]) -> Any:
            tensors = [torch.from_numpy(a).requires_grad_() for a in arrays]
            return torch.autograd.grad(f(*tensors), tensors, tensors[0].detach())[0]

        peers |= {name: partial(by_torch, f) for name, f in TORCH.items()}

    def ours() -> Any:
        ssm.s5_apply(*arrays)
        return ssm.s5_apply_vjp(*arrays, u)[0]

    def truth() -> np.ndarray:  # the adjoint runs the transposed system from the end
        back = _truth(u[::-1], poles, c.T.astype(np.complex64), b.T.astype(np.complex64), D)
        y: np.ndarray = back[::-1]
        return y

    size, work = f"{shape} float32", _work(shape, 3)
    return Problem("ssm", "s5_apply and its gradient", size, ours, peers, truth, 2e-6, peer_tolerance=1e-5, work=work)


def _numba(shape: tuple[int, int, int]) -> Problem:
    arrays = _inputs(shape)
    peers = {"numba backend": lambda: ssm.s5_apply(*arrays, backend="numba")}
    return Problem("ssm", "s5_apply", f"{shape} float32", lambda: ssm.s5_apply(*arrays), peers, lambda: _truth(*arrays), 1e-6)
