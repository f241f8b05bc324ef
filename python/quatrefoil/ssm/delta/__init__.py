"""Linear attention with decays and delta rules, compatible with flash-linear-attention."""

from .dplr import DPLR
from .gated_delta_rule import GATED_DELTA_RULE
from .kda import GDN2, KDA
from .simple_gla import SIMPLE_GLA

OPS = (GATED_DELTA_RULE, SIMPLE_GLA, KDA, GDN2, DPLR)
