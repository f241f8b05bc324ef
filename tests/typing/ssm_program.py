"""A user's program: filters, kernels, recurrences and attention over NumPy arrays."""

# pyright: strict

import numpy as np
from numpy.typing import NDArray

import quatrefoil as qf

Signal = NDArray[np.float32]


def smooth(signal: Signal, taps: int = 32) -> Signal:
    """A moving average of every channel."""
    window = np.full(taps, 1 / taps, np.float32)
    return qf.ssm.fft_conv(signal, window)


def low_pass(signal: Signal, pole: float = 0.9) -> tuple[Signal, Signal]:
    b, a = np.array([1 - pole], np.float32), np.array([1, -pole], np.float32)
    return qf.ssm.arma_filter(b, a, signal, return_state=True)


class Layer:
    """S4D with its own parameters, in chunks."""

    def __init__(self, channels: int, modes: int = 16) -> None:
        A, B = qf.ssm.s4d_init("lin", modes)
        self.dt = np.full(channels, 1e-2, np.float32)
        self.A = np.tile(A.astype(np.complex64), (channels, 1))
        self.C = np.tile(B.astype(np.complex64), (channels, 1))
        self.state: NDArray[np.complex64] | None = None

    def __call__(self, u: Signal) -> Signal:
        y, self.state = qf.ssm.s4d_conv(u, self.dt, self.A, self.C, initial_state=self.state, return_state=True)
        return y

    def gradients(self, u: Signal) -> tuple[NDArray[np.float32], ...]:
        K = qf.ssm.s4d_kernel(self.dt, self.A, self.C, u.shape[-1])
        return qf.ssm.fft_conv_vjp(u, K, np.ones_like(u))


def attend(q: Signal, k: Signal, v: Signal, beta: Signal, decay: Signal) -> Signal:
    y, state = qf.ssm.fla.chunk_gated_delta_rule(q, k, v, decay, beta, output_final_state=True)
    assert state is not None
    return y


def main() -> None:
    rng = np.random.default_rng(0)
    u = rng.standard_normal((2, 4, 64)).astype(np.float32)
    layer = Layer(channels=4)
    y = np.concatenate([layer(u[..., :40]), layer(u[..., 40:])], axis=-1)
    filtered, _ = low_pass(smooth(u))
    scanned_numba = qf.ssm.linear_scan(np.full_like(u, 0.5), filtered, backend="numba")
    scanned = qf.ssm.mamba.selective_scan_fn(u, np.abs(u), -np.ones((4, 3), np.float32), u[:, :3], u[:, :3])
    heads = u.reshape(2, 16, 4, 4)
    attended = attend(heads, heads, heads, np.full((2, 16, 4), 0.5, np.float32), np.full((2, 16, 4), -0.1, np.float32))
    start = qf.ssm.ptd_init(8, eps=0.1)
    shapes: list[tuple[int, ...]] = [x.shape for x in (y, scanned_numba, scanned, attended, start.V, *layer.gradients(u))]
    print(shapes, start.max_real < 0, qf.config()["backend"])
