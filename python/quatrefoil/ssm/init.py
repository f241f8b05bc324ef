"""Initialisations of state-space models, all in one namespace; flat in ``quatrefoil.ssm`` too."""

from __future__ import annotations

from .hippo import dplr_legs, hippo_legs, s4d_init
from .ptd import PTD, ptd_init
from .transfer import discretize, transfer_function

__all__ = ["PTD", "discretize", "dplr_legs", "hippo_legs", "ptd_init", "s4d_init", "transfer_function"]
