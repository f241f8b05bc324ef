"""Training of a small S4D network on digits, read pixel by pixel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from . import Side

TITLE = "A small S4D network trained on digits of 784 pixels in sequence, two epochs"
MEASURE = "fraction of wrong digits among those not used for training"
QUICK = {"CHANNELS": 8, "STATES": 4, "LAYERS": 1, "EPOCHS": 1, "TRAINED": 128}
CHANNELS, STATES, LAYERS, BATCH, EPOCHS, TRAINED = 64, 32, 2, 64, 2, 1437


class Data(NamedTuple):
    pixels: np.ndarray  # (1797, 784, 1)
    digits: np.ndarray


def data() -> Data:
    """scikit-learn's digits of 8 x 8 pixels, enlarged to 28 x 28."""
    from scipy.ndimage import zoom
    from sklearn.datasets import load_digits

    images, digits = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(digits))
    large = zoom(images.reshape(-1, 8, 8) / 16, (1, 3.5, 3.5), order=1)
    return Data(large.reshape(len(digits), -1, 1)[order].astype(np.float32), digits[order])


def errors(data: Data, answer: np.ndarray) -> dict[str, float]:
    return {"wrong": np.mean(answer != data.digits[TRAINED:])}


def torch_layer() -> Any:
    """S4D as in its authors' minimal script: a Vandermonde kernel and a convolution by FFT, in torch."""
    import torch

    class S4D(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.log_dt = torch.nn.Parameter(torch.rand(CHANNELS) * np.log(100) + np.log(1e-3))
            self.log_A_real = torch.nn.Parameter(torch.log(0.5 * torch.ones(CHANNELS, STATES // 2)))
            self.A_imag = torch.nn.Parameter(np.pi * torch.arange(STATES // 2).repeat(CHANNELS, 1).float())
            self.C = torch.nn.Parameter(torch.randn(CHANNELS, STATES // 2, 2) * 0.5**0.5)
            self.D = torch.nn.Parameter(torch.randn(CHANNELS))

        def forward(self, u: Any) -> Any:
            L = u.shape[1]
            dt, A = self.log_dt.exp(), -self.log_A_real.exp() + 1j * self.A_imag
            dtA = A * dt[:, None]
            C = torch.view_as_complex(self.C) * (torch.exp(dtA) - 1) / A
            kernel = 2 * torch.einsum("hn,hnl->hl", C, torch.exp(dtA[..., None] * torch.arange(L))).real
            x = u.transpose(1, 2)
            y = torch.fft.irfft(torch.fft.rfft(kernel, n=2 * L) * torch.fft.rfft(x, n=2 * L), n=2 * L)[..., :L]
            return torch.nn.functional.gelu(y + x * self.D[:, None]).transpose(1, 2)

    return S4D()


def our_layer() -> Any:
    from quatrefoil.torch.nn import S4D

    return S4D(CHANNELS, d_state=STATES, transposed=False)


def network(layer: Callable[[], Any]) -> Any:
    import torch

    class Network(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.decoder = torch.nn.Linear(1, CHANNELS), torch.nn.Linear(CHANNELS, 10)
            self.layers = torch.nn.ModuleList(layer() for _ in range(LAYERS))
            self.norms = torch.nn.ModuleList(torch.nn.LayerNorm(CHANNELS) for _ in range(LAYERS))

        def forward(self, u: Any) -> Any:
            x = self.encoder(u)
            for layer, norm in zip(self.layers, self.norms):
                y = layer(x)
                x = norm(x + (y[0] if isinstance(y, tuple) else y))
            return self.decoder(x.mean(dim=1))

    return Network()


def trained(layer: Callable[[], Any], compiled: bool = False) -> Callable[[Data], np.ndarray]:
    def run(data: Data) -> np.ndarray:
        import torch

        torch.manual_seed(0)
        model = network(layer)
        forward = torch.compile(model) if compiled else model
        optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
        u, digits = torch.from_numpy(data.pixels), torch.from_numpy(data.digits)
        for _ in range(EPOCHS):
            for batch in torch.randperm(TRAINED)[: TRAINED // BATCH * BATCH].split(BATCH):
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(forward(u[batch]), digits[batch]).backward()
                optimizer.step()
        with torch.no_grad():
            return np.asarray(model(u[TRAINED:]).argmax(dim=1).numpy())

    return run


SIDES = {
    "quatrefoil": Side(trained(our_layer), "torch"),
    "torch, FFT convolution": Side(trained(torch_layer), "torch"),
    "torch.compile": Side(trained(torch_layer, compiled=True), "torch"),
}
