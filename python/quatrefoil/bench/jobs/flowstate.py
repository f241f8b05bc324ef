"""Forecasts of 512 series by FlowState, a model of granite-tsfm with random weights, unchanged and with ``qf.ssm.install``."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import Side

TITLE = "FlowState on 512 series of 512 steps"
MEASURE = "largest difference from the model in double precision, relative"
QUICK = {"SERIES": 4, "STEPS": 64, "WIDTH": 32}
SERIES, STEPS, WIDTH, CHECKED = 512, 512, 256, 4


def data() -> np.ndarray:
    rng = np.random.default_rng(0)
    t = np.arange(STEPS)[:, None]
    return (np.sin(2 * np.pi * t / rng.uniform(8, 64, SERIES)) + 0.1 * rng.standard_normal((STEPS, SERIES))).astype(np.float32)


def model() -> Any:
    import torch
    from tsfm_public.models.flowstate import FlowStateConfig, FlowStateForPrediction

    torch.manual_seed(0)
    return FlowStateForPrediction(FlowStateConfig(context_length=STEPS, prediction_length=24, embedding_feature_dim=WIDTH)).eval()


def forecasts(network: Any, series: np.ndarray) -> np.ndarray:
    import torch

    with torch.no_grad():
        values = torch.from_numpy(series.T[..., None].copy())
        return np.asarray(network(values.to(next(network.parameters()).dtype), return_loss=False).prediction_outputs.numpy())


def errors(series: np.ndarray, answer: np.ndarray) -> dict[str, float]:
    exact = forecasts(model().double(), series[:, :CHECKED])
    return {"error": np.abs(answer[:CHECKED] - exact).max() / np.abs(exact).max()}


def as_it_is(series: np.ndarray) -> np.ndarray:
    return forecasts(model(), series)


def installed(series: np.ndarray) -> np.ndarray:
    import quatrefoil as qf

    with qf.ssm.install("tsfm_public"):
        return as_it_is(series)


SIDES = {"quatrefoil": Side(installed, "tsfm_public"), "granite-tsfm": Side(as_it_is, "tsfm_public")}
