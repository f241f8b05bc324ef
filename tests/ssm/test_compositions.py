"""What holds for every function on arrays of qf.ssm that is no op, or is one by another name; for ops the suites over the table say it."""

import numpy as np
import pytest

import quatrefoil as qf


def _selective_state_update(rng):
    n = rng.standard_normal
    arrays = {"state": n((5, 4, 3, 2)), "x": n((2, 4, 3)), "dt": n((2, 4, 3)), "A": -np.exp(n((4, 3, 2))), "B": n((2, 2, 2))}
    arrays |= {"C": n((2, 2, 2)), "D": n((4, 3)), "z": n((2, 4, 3)), "dt_bias": n((4, 3)), "state_batch_indices": np.array([3, 1])}
    return arrays, {"dt_softplus": True}


def _causal_conv1d_update(rng):
    n = rng.standard_normal
    arrays = {"x": n((2, 3, 4)), "conv_state": n((5, 3, 6)), "weight": n((3, 4)), "bias": n(3)}
    return arrays | {"cache_seqlens": np.array([2, 0]), "conv_state_indices": np.array([4, 1])}, {"activation": "silu"}


def _mamba_inner_fn(rng):
    n = rng.standard_normal
    arrays = {"xz": n((2, 6, 7)), "conv1d_weight": n((3, 1, 4)), "conv1d_bias": n(3), "x_proj_weight": n((6, 3))}
    arrays |= {"delta_proj_weight": n((3, 2)), "out_proj_weight": n((5, 3)), "out_proj_bias": n(5), "A": -np.exp(n((3, 2)))}
    arrays |= {"D": n(3), "delta_bias": n(3), "B_proj_bias": n(2), "C_proj_bias": n(2)}
    return arrays | {"b_rms_weight": n(2), "c_rms_weight": n(2), "dt_rms_weight": n(3)}, {}


def _mamba_split_conv1d_scan_combined(rng):
    n = rng.standard_normal  # H, P, G, N = 2, 4, 1, 3, and 2 pairs
    arrays = {"zxbcdt": n((2, 7, 28)), "conv1d_weight": n((14, 4)), "conv1d_bias": n(14), "dt_bias": n(2), "A": -np.exp(n(2))}
    arrays |= {"D": n((2, 4)), "initial_states": n((2, 2, 4, 3)), "seq_idx": np.arange(14).reshape(2, 7) // 4}
    arrays |= {"rmsnorm_weight": n(8), "outproj_weight": n((5, 10)), "outproj_bias": n(5)}
    return arrays, {"chunk_size": 4, "return_final_states": True}


def _rule(rng):
    n = rng.standard_normal
    arrays = {"q": n((1, 9, 2, 3)), "k": n((1, 9, 2, 3)), "v": n((1, 9, 4, 5)), "initial_state": n((2, 4, 3, 5))}
    return arrays | {"cu_seqlens": np.array([0, 5, 9])}, {"output_final_state": True}


def _delta_rule(rng):
    arrays, options = _rule(rng)
    return arrays | {"beta": rng.uniform(0, 1, (1, 9, 4))}, options | {"use_qk_l2norm_in_kernel": True}


def _gated_delta_rule(rng):
    arrays, options = _delta_rule(rng)
    return arrays | {"g": -rng.uniform(0, 1, (1, 9, 4))}, options


def _simple_gla(rng):
    arrays, options = _rule(rng)
    return arrays | {"g_gamma": -rng.uniform(0, 1, 4)}, options


# Name -> what makes its arrays, by name, and its options.
FUNCTIONS = {
    "selective_state_update": _selective_state_update,
    "causal_conv1d_update": _causal_conv1d_update,
    "mamba_inner_fn": _mamba_inner_fn,
    "mamba_split_conv1d_scan_combined": _mamba_split_conv1d_scan_combined,
    "fused_recurrent_gated_delta_rule": _gated_delta_rule,
    "chunk_delta_rule": _delta_rule,
    "fused_recurrent_delta_rule": _delta_rule,
    "chunk_simple_gla": _simple_gla,
    "fused_recurrent_simple_gla": _simple_gla,
}
IN_PLACE = {"selective_state_update": "state", "causal_conv1d_update": "conv_state"}
over_functions = pytest.mark.parametrize("name", FUNCTIONS)


def run(name, arrays, options):
    """All results, what is updated in place among them."""
    result = getattr(qf.ssm, name)(**arrays, **options)
    results = result if isinstance(result, tuple) else (result,)
    return (*results, arrays[IN_PLACE[name]]) if name in IN_PLACE else results


def tensors(arrays, convert=lambda t: t):
    torch = pytest.importorskip("torch")
    return {name: convert(torch.from_numpy(a.copy())) for name, a in arrays.items()}


@over_functions
def test_masked_arrays_are_refused(rng, name):
    arrays, options = FUNCTIONS[name](rng)
    for argument, array in arrays.items():
        masked = np.ma.masked_array(array, mask=np.zeros(array.shape, bool))
        before = {key: a.copy() for key, a in arrays.items()}
        with pytest.raises(TypeError, match=r"^ssm\.\w+: \S+ is a masked array"):
            run(name, arrays | {argument: masked}, options)
        for key, a in arrays.items():
            np.testing.assert_array_equal(a, before[key])


@pytest.mark.torch
@over_functions
def test_tensors_are_what_arrays_are(backend, rng, name):
    arrays, options = FUNCTIONS[name](rng)
    given = tensors(arrays)
    for got, expected in zip(run(name, given, options), run(name, arrays, options), strict=True):
        np.testing.assert_allclose(got.numpy(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.torch
@over_functions
def test_tensors_without_numbers(rng, name):
    arrays, options = FUNCTIONS[name](rng)
    expected = run(name, tensors(arrays), options)
    got = run(name, tensors(arrays, lambda t: t.to("meta")), options)
    assert [(g.device.type, g.shape, g.dtype) for g in got] == [("meta", e.shape, e.dtype) for e in expected]
    for argument in arrays:
        for here, there in (("cpu", "meta"), ("meta", "cpu")):
            given = tensors(arrays, lambda t, here=here: t.to(here))
            given[argument] = tensors(arrays)[argument].to(there)
            with pytest.raises(
                TypeError, match=r"^ssm\.\w+: .+ is on (meta but .+ is on cpu|cpu but .+ is on meta); all tensors of a call"
            ):
                run(name, given, options)


@pytest.mark.torch
@over_functions
def test_tensors_with_pending_signs(backend, rng, name):
    pytest.importorskip("torch")
    from tensors import lazy

    arrays, options = FUNCTIONS[name](rng)
    expected = run(name, tensors(arrays), options)
    for got, right in zip(run(name, {key: lazy(a) for key, a in arrays.items()}, options), expected, strict=True):
        got, right = got.resolve_neg().numpy(), right.numpy()  # products of PyTorch's round by how matrices lie
        np.testing.assert_allclose(got, right, rtol=0, atol=16 * np.finfo(right.dtype).eps * np.abs(right).max(initial=0))


@pytest.mark.torch
@pytest.mark.parametrize("half", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", [name for name in FUNCTIONS if not name.startswith("mamba")])  # those have products of matrices in them
def test_half_precision_is_computed_in_float32(backend, rng, name, half):
    torch = pytest.importorskip("torch")
    arrays, options = FUNCTIONS[name](rng)
    of_half = tensors(arrays, lambda t: t.to(getattr(torch, half)) if t.is_floating_point() else t)
    in_float32 = {key: t.float() if t.is_floating_point() else t.clone() for key, t in of_half.items()}
    got, expected = run(name, of_half, options), run(name, in_float32, options)
    assert got[0].dtype == getattr(torch, half)
    for a, b in zip(got, expected, strict=True):
        assert torch.equal(a, b.to(a.dtype))
