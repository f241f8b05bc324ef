"""The modules and names of other packages, and their counterparts here."""

from __future__ import annotations

import pkgutil
from typing import Any

# Package -> the release whose signatures are followed.
VERSIONS = {"mamba_ssm": "2.2.4", "causal_conv1d": "1.5.0", "fla": "0.6.0", "flashfftconv": "0.0.0"}
# Package -> the module without which it cannot run.
EXTENSIONS = {"mamba_ssm": "selective_scan_cuda", "causal_conv1d": "causal_conv1d_cuda", "flashfftconv": "monarch_cuda"}
TESTED_RELEASES = ("4.57", "5.9", "5.24", "5.25")  # releases of transformers tested with the stand-ins
_SCANS = ("selective_scan_fn", "mamba_inner_fn")
_CONVOLUTIONS = ("causal_conv1d_fn", "causal_conv1d_update")
_DELTA_RULES = {  # module of fla.ops -> its functions
    "gated_delta_rule": ("chunk_gated_delta_rule", "fused_recurrent_gated_delta_rule"),
    "delta_rule": ("chunk_delta_rule", "fused_recurrent_delta_rule"),
    "simple_gla": ("chunk_simple_gla", "fused_recurrent_simple_gla"),
    "kda": ("chunk_kda", "fused_recurrent_kda"),
    "gdn2": ("chunk_gdn2", "fused_recurrent_gdn2"),
    "generalized_delta_rule": ("chunk_dplr_delta_rule", "fused_recurrent_dplr_delta_rule"),
    "rwkv7": ("chunk_rwkv7",),
}
_NN = "quatrefoil.torch.nn"
_BLOCKS = {name: f"{_NN}:{name}" for name in ("Mamba", "Mamba2")}
_LAYERS = {name: f"{_NN}:{name}" for name in ("DeltaNet", "GatedDeltaNet", "KimiDeltaAttention")}
# Module -> its names, each with the source of its replacement, by default in quatrefoil.ssm.
MODULES: dict[str, dict[str, str]] = {
    "mamba_ssm": {**{name: name for name in _SCANS}, **_BLOCKS},
    "mamba_ssm.modules": {},
    "mamba_ssm.modules.mamba_simple": {"Mamba": _BLOCKS["Mamba"]},
    "mamba_ssm.modules.mamba2": {"Mamba2": _BLOCKS["Mamba2"]},
    "mamba_ssm.ops": {},
    "mamba_ssm.ops.selective_scan_interface": {name: name for name in _SCANS},
    "mamba_ssm.ops.triton": {},
    "mamba_ssm.ops.triton.layernorm_gated": {"RMSNorm": f"{_NN}._block:GatedRMSNorm", "rmsnorm_fn": f"{_NN}._block:gated_rms_norm"},
    "mamba_ssm.ops.triton.selective_state_update": {"selective_state_update": "selective_state_update"},
    "mamba_ssm.ops.triton.ssd_combined": {
        name: name for name in ("mamba_chunk_scan_combined", "mamba_split_conv1d_scan_combined")
    },
    "causal_conv1d": {name: name for name in _CONVOLUTIONS},
    "causal_conv1d.causal_conv1d_interface": {name: name for name in _CONVOLUTIONS},
    "causal_conv1d.causal_conv1d_varlen": {"causal_conv1d_varlen_states": "causal_conv1d_varlen_states"},
    "fla": {},
    "fla.layers": _LAYERS,
    "fla.modules": {name: f"{_NN}._dropin:{name}" for name in ("FusedRMSNormGated", "ShortConvolution")},
    "fla.ops": {name: name for names in _DELTA_RULES.values() for name in names},
    **{f"fla.ops.{module}": {name: name for name in names} for module, names in _DELTA_RULES.items()},
    "flashfftconv": {"FlashFFTConv": f"{_NN}._dropin:FlashFFTConv"},
}  # fmt: skip
# Modules without a stand-in, and alternatives to them.
INSTEAD = {
    "mamba_ssm.models": "complete models are in transformers; the blocks are mamba_ssm.Mamba and mamba_ssm.Mamba2",
    "mamba_ssm.ops.triton.layer_norm": "use torch.nn.RMSNorm",
    "fla.ops.gla": "gla has one decay per channel; use fla.ops.simple_gla for one decay per head, or fla.ops.kda for a delta rule",
}
_S4: dict[str, str | bool] = {
    "cauchy_naive": "cauchy_mult",
    "log_vandermonde_naive": "log_vandermonde",
    "log_vandermonde_transpose_naive": "log_vandermonde_transpose",
    "has_pykeops": False,
}
_LOOPS = f"{_NN}._loops"
# Target -> module -> name of the replaced object -> source of the replacement.
PATCHES: dict[str, dict[str, dict[str, str | bool]]] = {
    "transformers": {
        "transformers.models.recurrent_gemma.modeling_recurrent_gemma": {"RecurrentGemmaRglru._rnn_scan": f"{_LOOPS}:rglru_scan"},
        "transformers.models.minimax.modeling_minimax": {"MiniMaxLightningAttention.forward": f"{_LOOPS}:lightning_attention"},
    },
    "mambapy": {name: {"pscan": f"{_LOOPS}:pscan"} for name in ("mambapy.pscan", "mambapy.mamba", "mambapy.vim")},
    "tsfm_public": {"tsfm_public.models.flowstate.modeling_flowstate": {"FlowStateS5Block.forward": f"{_LOOPS}:flowstate_s5"}},
    # the modules of state-spaces/s4 that sum over modes, and the functions they call on a CPU
    "s4": dict.fromkeys(("models.s4.s4", "src.models.sequence.kernels.ssm"), _S4),
}


def resolve(source: str | bool) -> Any:
    """Import the object that a source names."""
    if not isinstance(source, str):
        return source
    return pkgutil.resolve_name(source if ":" in source else f"quatrefoil.ssm:{source}")
