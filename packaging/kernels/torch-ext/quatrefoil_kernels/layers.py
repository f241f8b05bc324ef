"""The eleven functions that transformers models look for, as layers without state and with the signatures of the models' functions."""

import inspect

import torch

import quatrefoil.ssm

_DELTA = "query, key, value, g, beta, {}initial_state=None, output_final_state=False, use_qk_l2norm_in_kernel=False, **options"
_SIGNATURES = {  # as transformers 5.24 has them; the models pass the first arguments by position
    "causal_conv1d_fn": "hidden_states, weight, bias=None, activation=None, **options",
    "causal_conv1d_update": "hidden_states, conv_state, weight, bias=None, activation=None",
    "selective_scan_fn": """hidden_states, dt, A, B, C, D=None, z=None, delta_bias=None, delta_softplus=False,
        return_last_state=False, use_mambapy=False, use_associative_scan=False, **options""",
    "selective_state_update": "state, hidden_states, dt, A, B, C, D=None, dt_bias=None, dt_softplus=False, z=None, **options",
    "mamba_chunk_scan_combined": """hidden_states, dt, A, B, C, chunk_size, D=None, dt_bias=None, initial_states=None,
        dt_softplus=False, dt_limit=None, return_final_states=False, **options""",
    "mamba_inner_fn": """xz, conv1d_weight, conv1d_bias, x_proj_weight, delta_proj_weight, out_proj_weight, out_proj_bias, A, B=None,
        C=None, D=None, delta_bias=None, delta_softplus=True, b_rms_weight=None, c_rms_weight=None, dt_rms_weight=None,
        b_c_dt_rms_eps=None, **options""",
    "mamba_split_conv1d_scan_combined": """zxbcdt, conv1d_weight, conv1d_bias, dt_bias, A, D, chunk_size, initial_states=None,
        dt_limit=None, return_final_states=False, activation=None, rmsnorm_weight=None, rmsnorm_eps=None, outproj_weight=None,
        outproj_bias=None, headdim=None, ngroups=None, norm_before_gate=None, **options""",
    "chunk_gated_delta_rule": _DELTA.format("chunk_size=64, "),
    "fused_recurrent_gated_delta_rule": _DELTA.format(""),
    "chunk_kda": _DELTA.format("chunk_size=64, "),
    "fused_recurrent_kda": _DELTA.format(""),
}
_FUSED = ("mamba_inner_fn", "mamba_split_conv1d_scan_combined")  # they ignore padding; returning None makes a model call their parts


def _layer(name, parameters):
    function = None if name in _FUSED else getattr(quatrefoil.ssm, name)
    known = {} if function is None else inspect.signature(function).parameters

    def forward(self, *arguments, **options):
        if function is None:
            return None
        return function(*arguments, **{key: value for key, value in options.items() if key in known})

    names = {}
    exec(f"def forward(self, {parameters}):\n    pass", names)
    forward.__signature__ = inspect.signature(names["forward"])
    return type(name, (torch.nn.Module,), {"forward": forward, "can_torch_compile": True, "__module__": __name__})


for _name, _parameters in _SIGNATURES.items():
    globals()[_name] = _layer(_name, _parameters)
