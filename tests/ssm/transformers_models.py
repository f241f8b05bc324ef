"""Tiny transformers models. Under ``install``, their recurrences and convolutions are computed by this library."""

COMMON = {"vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 2, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
ATTENTION = {"num_attention_heads": 2, "num_key_value_heads": 2, "intermediate_size": 24, "max_position_embeddings": 64}
EXPERTS = {"num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 8, "shared_expert_intermediate_size": 8}
LOCAL_EXPERTS = {"num_local_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 8}
MAMBA2 = {"mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_state": 6, "mamba_n_groups": 2, "mamba_chunk_size": 8}
DELTA = {
    **ATTENTION, "head_dim": 8, "layer_types": ["linear_attention", "full_attention"],
    "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 6, "linear_value_head_dim": 4,
}  # fmt: skip
LATENT = {"kv_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4, "v_head_dim": 8}
KIMI = {**ATTENTION, **LOCAL_EXPERTS, **LATENT, "layer_types": ["linear_attention", "full_attention"]}
LFM = {**ATTENTION, "layer_types": ["conv", "full_attention"]}
INKLING = {
    **ATTENTION, "head_dim": 8, "swa_num_attention_heads": 2, "swa_num_key_value_heads": 2, "swa_head_dim": 8, "sliding_window_size": 8,
    "d_rel": 4, "rel_extent": 16, "n_routed_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 8,
}  # fmt: skip

CONV = ("causal_conv1d_fn", "causal_conv1d_update")
SELECTIVE = (*CONV, "selective_scan_fn", "selective_state_update")
CHUNKED = (*CONV, "mamba_chunk_scan_combined", "selective_state_update")
GATED_DELTA = (*CONV, "chunk_gated_delta_rule", "fused_recurrent_gated_delta_rule")
KDA = (*CONV, "chunk_kda", "fused_recurrent_kda")

VISION = {"depth": 1, "hidden_size": 8, "num_heads": 2, "intermediate_size": 8, "out_hidden_size": 16, "projection_intermediate_size": 8}

# Name -> its options, and the functions that it uses.
MODELS = {
    "Mamba": ({"state_size": 4}, SELECTIVE),
    "FalconMamba": ({"state_size": 4}, SELECTIVE),
    "Jamba": (
        {**ATTENTION, **EXPERTS, "attn_layer_period": 2, "attn_layer_offset": 1, "mamba_d_state": 4, "mamba_dt_rank": 2}, SELECTIVE,
    ),
    "Zamba": (
        {
            **ATTENTION, "num_hidden_layers": 3, "layers_block_type": ["mamba", "hybrid", "hybrid"], "n_mamba_heads": 2,
            "mamba_d_state": 4, "mamba_dt_rank": 2,
        },
        SELECTIVE,
    ),
    "Mamba2": ({"num_heads": 4, "head_dim": 8, "state_size": 6, "n_groups": 2, "chunk_size": 8}, CHUNKED),
    "Bamba": ({**ATTENTION, **MAMBA2, "attn_layer_indices": [1]}, CHUNKED),
    "FalconH1": ({**ATTENTION, **MAMBA2, "mamba_d_ssm": 32}, CHUNKED),
    "GraniteMoeHybrid": (
        {**ATTENTION, **MAMBA2, **LOCAL_EXPERTS, "shared_intermediate_size": 8, "layer_types": ["mamba", "attention"]}, CHUNKED,
    ),
    "NemotronH": (
        {
            **ATTENTION, "head_dim": 8, "layers_block_type": ["mamba", "attention"], "mamba_num_heads": 4, "mamba_head_dim": 8,
            "ssm_state_size": 6, "n_groups": 2, "chunk_size": 8,
        },
        CHUNKED,
    ),
    "Zamba2": (
        {
            **ATTENTION, "num_hidden_layers": 3, "layers_block_type": ["mamba", "hybrid", "hybrid"], "n_mamba_heads": 4,
            "mamba_d_state": 6, "mamba_ngroups": 2, "chunk_size": 8,
        },
        CHUNKED,
    ),
    "Qwen3Next": ({**DELTA, **EXPERTS, "decoder_sparse_step": 2}, GATED_DELTA),
    "Qwen3_5": (DELTA, GATED_DELTA),
    "Qwen3_5Moe": ({**DELTA, **EXPERTS}, GATED_DELTA),
    "Qwen4Exp": (
        {
            **DELTA, **EXPERTS, "hc_count": 2, "hc_lowrank": 4, "ple_layer_ids": [], "indexer_n_heads": 2, "indexer_kv_heads": 1,
            "indexer_head_dim": 8, "indexer_budget": 32, "indexer_compress_ratio": 4,
        },
        GATED_DELTA,
    ),
    "OlmoHybrid": (DELTA, GATED_DELTA),
    "LaraMini": ({**DELTA, **EXPERTS, "sliding_window": 8}, GATED_DELTA),
    "KimiLinear": ({**KIMI, "linear_head_dim": 6, "linear_num_heads": 2}, KDA),
    "BailingHybrid": ({**KIMI, "head_dim": 8, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1, "num_mtp_layers": 0}, KDA),
    "Glm5Next": (
        {
            **KIMI, "qk_rope_head_dim": 0, "n_routed_experts": 2, "n_group": 1, "topk_group": 1, "linear_head_dim": 6,
            "linear_num_heads": 2, "q_lora_rank": 8, "index_topk": 32, "index_head_dim": 8, "index_n_heads": 2, "hc_mult": 2,
            "index_kpool": 4,
        },
        KDA,
    ),
    "Lfm2": ({**LFM, "block_auto_adjust_ff_dim": False}, CONV),
    "Lfm2Moe": ({**LFM, **EXPERTS, "num_dense_layers": 1}, CONV),
    "Lfm3": ({**LFM, "head_dim": 8, "sliding_window": 8}, CONV),
    "Inkling": ({**INKLING, "layer_types": ["hybrid_sliding", "hybrid"]}, CONV),
    "Inkling2": ({**INKLING, "unpadded_vocab_size": 60, "layer_types": ["hybrid_sliding", "hybrid"]}, CONV),
    "Inkling2Loop": (
        {
            **INKLING, "unpadded_vocab_size": 60, "num_hidden_layers": 3, "layer_types": ["hybrid_sliding", "hybrid", "hybrid"],
            "loop_layer_index_start": 1, "loop_layer_index_end": 2, "loop_gate_rank": 4, "n_layers_per_attn_res_block": 1,
        },
        CONV,
    ),
    "RecurrentGemma": ({**ATTENTION, "block_types": ["recurrent", "attention"], "attention_window_size": 16}, ("linear_scan",)),
    "MiniMax": (
        {**ATTENTION, **LOCAL_EXPERTS, "head_dim": 8, "block_size": 8, "layer_types": ["linear_attention", "full_attention"]},
        ("chunk_simple_gla",),
    ),
}  # fmt: skip
# How transformers 5.24 treats packed sequences if the packages are available: these models keep them separate, or separate them only in the
# convolution. The other models ignore them.
APART = (
    "Bamba", "FalconH1", "GraniteMoeHybrid", "NemotronH", "Zamba2", "Qwen3Next", "Qwen3_5", "Qwen3_5Moe", "Qwen4Exp", "OlmoHybrid",
    "LaraMini", "Lfm2", "Lfm2Moe", "Lfm3", "Inkling2", "Inkling2Loop",
)  # fmt: skip
# Before release 5 these choose their functions when they are created, or keep their own loops with a warning.
FROM_5 = ("Jamba", "Zamba", "FalconH1", "Zamba2", "Qwen3Next")
HALF_APART = ("Zamba", "KimiLinear", "BailingHybrid", "Glm5Next")

# Decoding with transformers 5.24 and a static cache: models that torch.compile cannot trace to one graph, with this library or without,
# and models with a second graph, because a counter in Python, StaticSlidingWindowLayer.cumulative_length_int in cache_utils.py, is
# a constant of the first graph and a variable of the second one.
NOT_COMPILED = {
    "Qwen4Exp": "modeling_qwen4_exp.py calls torch.nonzero for each token of its indexer, so sizes depend on values",
    "MiniMax": "modeling_minimax.py refuses caches other than its MiniMaxCache, which grows",
}
TWO_GRAPHS = ("Inkling", "Inkling2", "Inkling2Loop", "RecurrentGemma")
# Models of transformers 5.24 whose logits depend on the cache, even without this library and without a compiler.
FAULTS = {
    "Bamba": "BambaModel.forward in modeling_bamba.py starts positions at 0 in every call without position_ids, with any cache",
    "Inkling": "InklingAttention.forward in modeling_inkling.py reads the length of a static cache, a tensor that the following update "
    "changes in place, so the positions of its queries are too large by the number of new tokens",
}
