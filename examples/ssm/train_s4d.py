"""Forecasting an electrocardiogram with an S4D layer
==================================================

An S4D layer learns to forecast an electrocardiogram, then runs sample by sample as it would at a bedside.

::

    python examples/ssm/train_s4d.py [steps [picture.png]]

The recording is ``ecg`` from PyWavelets, 1024 samples. From the past, the model predicts the sample AHEAD steps later. It is trained on the
first three quarters and evaluated on the last. As a recurrence, it needs a state of CHANNELS * MODES complex numbers and gives the same
forecasts.
"""

from __future__ import annotations

import sys
import time

import numpy as np

try:
    import pywt.data
    import torch
except ImportError as error:
    raise ImportError("this needs PyWavelets and PyTorch: pip install 'quatrefoil[demo,torch]'") from error

from quatrefoil.torch.nn import S4D

AHEAD, CHANNELS, MODES, TRAINED = 3, 32, 32, 768


class Forecaster(torch.nn.Module):
    """One input channel, an S4D layer with CHANNELS channels and a residual connection, one output channel."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = torch.nn.Linear(1, CHANNELS)
        self.s4d = S4D(CHANNELS, d_state=2 * MODES, transposed=False, lr=2e-3)
        self.decoder = torch.nn.Linear(CHANNELS, 1)

    def forward(self, u: torch.Tensor) -> torch.Tensor:
        """u (B, L) -> forecasts (B, L)."""
        x = self.encoder(u[..., None])
        return self.decoder(x + self.s4d(x)[0])[..., 0]

    def step(self, u: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.encoder(u[..., None])
        y, state = self.s4d.step(x, state)
        return self.decoder(x + y)[..., 0], state


def groups(model: torch.nn.Module, lr: float, weight_decay: float) -> list[dict]:
    """dt and A have their own learning rate and no weight decay, as specified by the layer in ``_optim``."""
    ordinary = [p for p in model.parameters() if not hasattr(p, "_optim")]
    own = [{"params": [p], **p._optim} for p in model.parameters() if hasattr(p, "_optim")]
    return [{"params": ordinary, "lr": lr, "weight_decay": weight_decay}, *own]


def draw(signal: np.ndarray, forecast: np.ndarray, losses: list[float], file: str) -> None:
    """``forecast[t]`` is the forecast made at time t for AHEAD samples later."""
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError("the picture needs matplotlib: pip install 'quatrefoil[plot]'") from error
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    t = np.arange(TRAINED, signal.size - AHEAD) + AHEAD
    measured, last = signal[t], signal[t - AHEAD]
    figure, axes = plt.subplot_mosaic(
        [["signal", "losses"], ["errors", "losses"]], figsize=(13, 5), layout="constrained", width_ratios=(2, 1)
    )
    axes["signal"].plot(t, measured, color="black", lw=3, alpha=0.3, label="measured")
    axes["signal"].plot(t, forecast[t - AHEAD], color="C3", lw=1, label=f"forecast {AHEAD} samples earlier")
    axes["signal"].set_title("the unseen part, in standard deviations")
    axes["errors"].plot(t, last - measured, color="0.6", lw=1, label="error of repeating the last value")
    axes["errors"].plot(t, forecast[t - AHEAD] - measured, color="C3", lw=1, label="error of the forecast")
    axes["errors"].set_xlabel("sample")
    axes["losses"].semilogy(losses)
    axes["losses"].set(xlabel="step", title="training loss")
    for name in ("signal", "errors"):
        axes[name].legend(loc="upper left", fontsize="small")
    figure.savefig(file, dpi=120)


def main(steps: int = 60, file: str | None = None) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)  # arrays this small do not benefit from a second thread
    signal = pywt.data.ecg().astype(np.float32)
    signal = torch.from_numpy((signal - signal[:TRAINED].mean()) / signal[:TRAINED].std())[None]
    inputs, targets = signal[:, :-AHEAD], signal[:, AHEAD:]
    model = Forecaster()
    optimizer = torch.optim.AdamW(groups(model, lr=5e-3, weight_decay=1e-2))
    losses = []
    start = time.perf_counter()
    for step in range(steps):
        loss = (model(inputs[:, :TRAINED]) - targets[:, :TRAINED]).square().mean()
        losses.append(loss.item())
        if step % 20 == 0:
            print(f"step {step:4d}: loss {losses[-1]:.4f}")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"step {steps:4d}: loss {loss.item():.4f}")
    print(f"{steps} steps in {time.perf_counter() - start:.1f} s")
    with torch.no_grad():
        forecast = model(inputs)
        unseen = slice(TRAINED, None)
        error = (forecast - targets)[:, unseen].square().mean().sqrt().item()
        naive = (inputs - targets)[:, unseen].square().mean().sqrt().item()
        print(f"unseen part, {AHEAD} samples ahead: error {error:.3f} standard deviations (repeating the last value: {naive:.3f})")
        state, streamed = model.s4d.default_state(1), []
        for sample in inputs.unbind(-1):
            y, state = model.step(sample, state)
            streamed.append(y)
        print(f"sample by sample: the same within {(torch.stack(streamed, -1) - forecast).abs().max().item():.1e}")
    if file:
        draw(signal[0].numpy(), forecast[0].numpy(), losses, file)
        print("picture:", file)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 60, *sys.argv[2:3])
