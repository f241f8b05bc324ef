"""Initialisations of state-space models in one namespace; also available directly in ``quatrefoil.ssm``."""

from __future__ import annotations

from .._public import public_dir
from .models.diagonal import s4d_init
from .models.hippo import dplr_legs, hippo_legs
from .models.ptd import PTD as PTD
from .models.ptd import ptd_init
from .models.transfer import discretize, transfer_function

__all__ = ["discretize", "dplr_legs", "hippo_legs", "ptd_init", "s4d_init", "transfer_function"]

__dir__ = public_dir(__name__)
