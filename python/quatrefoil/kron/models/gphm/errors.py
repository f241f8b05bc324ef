"""Errors of covariances that cannot be inverted."""

from __future__ import annotations

import numpy as np


def not_definite(jitter: float, name: str) -> np.linalg.LinAlgError:
    return np.linalg.LinAlgError(
        f"GPHM: the covariance of {name} with jitter {jitter:g} is not positive definite at these parameters; "
        "give a larger jitter or a smaller learning_rate"
    )


def not_finite(name: str) -> FloatingPointError:
    return FloatingPointError(f"GPHM: the covariance of {name} is not finite; give a smaller learning_rate")
