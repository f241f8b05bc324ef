"""Which arguments accept half precision and which results have it; tests/test_promises.py tests that it is computed in float32."""

from quatrefoil._spec import FAMILIES

HALF = {
    "fft_conv": ("u k D k_reverse", "y"),
    "arma_filter": ("b a x zi", "y zf"),
    "s4d_conv": ("u dt D", "y"),
    "s5_apply": ("u D", "y"),
    "causal_conv1d_fn": ("x weight bias initial_states", "out final_states"),
    "selective_scan_fn": ("u delta B C z", "out"),
    "causal_conv1d_varlen_states": ("x", "states"),
    "selective_state_step": ("state x dt A B C D z dt_bias", "out next_state"),
    "gka": ("q k v alpha g gk H0 U0", "y"),
    "chunk_gated_delta_rule": ("q k v g beta initial_state", "o"),
    "chunk_simple_gla": ("q k v g initial_state", "o"),
    "chunk_kda": ("q k v g beta initial_state", "o"),
    "chunk_gdn2": ("q k v g b w initial_state", "o"),
    "chunk_dplr_delta_rule": ("q k v a b gk initial_state", "o"),
    "mamba_chunk_scan_combined": ("x dt A B C D z dt_bias initial_states", "out"),
}


def test_arguments_and_results():
    for op in FAMILIES["ssm"]:
        if op.primal is None:
            result = tuple(" ".join(a.name for a in arrays if a.half) for arrays in (op.inputs, op.outputs))
            assert result == HALF.get(op.name, ("", "")), op.name
