"""A Mamba block with PyTorch: pairs for complex numbers, in-place updates, the layer."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.nn import functional as F  # noqa: E402

import quatrefoil as qf  # noqa: E402
from quatrefoil.torch import nn  # noqa: E402
from ssm.layers import check_chunks_and_steps, same, shapes  # noqa: E402
from ssm.modes_of_torch import check_every_mode  # noqa: E402
from ssm.selective import oracle  # noqa: E402

pytestmark = pytest.mark.torch
update, step = qf.ssm.selective_state_update, qf.ssm.selective_state_step


def tensors(items=2, H=4, P=6, N=8, G=2, rows=None, dtype=torch.float64):
    shapes = (rows or items, H, P, N), (items, H, P), (items, H, P), (H, P, N), (items, G, N), (items, G, N), (H, P), (items, H, P), (H, P)
    arrays = [torch.randn(s, dtype=dtype) for s in shapes]
    arrays[3] = -arrays[3].exp()
    return arrays


def per_head(inputs):
    """Arguments as passed by mamba-ssm's Mamba2: one step size, A, D and bias per head, expanded without copying."""
    inputs[2] = inputs[2][:, :, :1].expand_as(inputs[2])
    inputs[3] = inputs[3][:, :1, :1].expand_as(inputs[3])
    inputs[6], inputs[8] = (inputs[i][:, :1].expand_as(inputs[i]) for i in (6, 8))
    return inputs


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_the_memory_of_the_state_is_kept(backend, mode):
    with mode():
        inputs = per_head(tensors())
        expected, after = oracle.selective_state_step(*[t.numpy() for t in inputs], dt_softplus=True)
        state = inputs[0].mT.contiguous().mT
        memory = state.data_ptr()
        y = update(state, *inputs[1:], dt_softplus=True)
    assert state.data_ptr() == memory
    np.testing.assert_allclose(y.numpy(), expected.astype(float), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(state.numpy(), after.astype(float), rtol=1e-12, atol=1e-13)


def test_nothing_else_is_allocated(monkeypatch, best_backend):
    """Only the result is allocated, which has the shape of x."""
    from quatrefoil.torch import _route

    allocated = []
    monkeypatch.setattr(_route, "empty", lambda shape, dtype, device: allocated.append(tuple(shape)) or torch.empty(shape, dtype=dtype))
    monkeypatch.setattr(_route, "_empty_like", lambda x: allocated.append(tuple(x.shape)) or torch.empty_like(x))
    inputs = tensors()
    update(*inputs)
    assert allocated == [tuple(inputs[1].shape)]


@pytest.mark.parametrize("rows", [None, [3, 0], [-1, 2], [-1, -1]])
def test_an_update_in_place_has_its_gradient_and_compiles(rows):
    start, *inputs = tensors(H=2, P=3, N=4, rows=4 if rows else None)
    rows = None if rows is None else torch.tensor(rows, dtype=torch.int32)

    def f(start, *inputs):
        state = start.clone()
        y = update(state, *inputs, True, rows)
        return y, update(state, *inputs, True, rows), state

    check_every_mode(f, tuple(t.requires_grad_() for t in (start, *inputs)))


def test_autograd_knows_that_the_state_has_changed():
    inputs = tensors()
    weight = torch.ones_like(inputs[0]).requires_grad_()
    loss = (weight * inputs[0]).sum()  # saves the state for its gradient
    update(*inputs)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_a_leaf_that_wants_a_gradient_is_not_overwritten():
    inputs = tensors()
    inputs[0].requires_grad_()
    with pytest.raises(RuntimeError, match="leaf"):
        update(*inputs)


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_activations_with_a_state_in_float32(half):
    inputs = per_head(tensors(dtype=torch.float32))
    inputs = [t.to(half) if i in (1, 2, 4, 5, 7) else t for i, t in enumerate(inputs)]
    wide = [t.float().clone() for t in inputs]
    y = update(*inputs, dt_softplus=True)
    assert y.dtype == half
    torch.testing.assert_close(y, update(*wide, dt_softplus=True).to(half))
    torch.testing.assert_close(inputs[0], wide[0])


def inner_arrays(dtype=torch.float64, complex=False, taps=4, D=6, L=11, N=3, R=2, E=5):
    M = N * (1 + complex)
    shapes = {
        "xz": (2, 2 * D, L), "conv1d_weight": (D, 1, taps), "conv1d_bias": (D,), "x_proj_weight": (R + 2 * M, D),
        "delta_proj_weight": (D, R), "out_proj_weight": (E, D), "out_proj_bias": (E,), "A": (D, N), "D": (D,), "delta_bias": (D,),
        "B_proj_bias": (M,), "C_proj_bias": (M,),
    }  # fmt: skip
    results = {name: torch.randn(shape, dtype=dtype) for name, shape in shapes.items()}
    results["A"] = torch.complex(-results["A"].exp(), torch.randn(D, N, dtype=dtype)) if complex else -results["A"].exp()
    return results


def inner_reference(xz, conv1d_weight, conv1d_bias, x_proj_weight, delta_proj_weight, out_proj_weight, out_proj_bias, A, B=None, C=None,
                    D=None, delta_bias=None, B_proj_bias=None, C_proj_bias=None, b_rms_weight=None, c_rms_weight=None, dt_rms_weight=None,
                    b_c_dt_rms_eps=1e-6):  # fmt: skip
    """Plain PyTorch, one step at a time; B and C for each time (B, L, N), complex if A is."""
    x, z = xz.chunk(2, dim=1)
    x = F.silu(F.conv1d(F.pad(x, (conv1d_weight.shape[2] - 1, 0)), conv1d_weight, conv1d_bias, groups=x.shape[1]))
    mixed = F.linear(x.transpose(1, 2), x_proj_weight)
    rank, M = delta_proj_weight.shape[1], A.shape[1] * (1 + A.is_complex())

    def normed(v, weight):
        return v if weight is None else F.rms_norm(v, v.shape[-1:], weight, b_c_dt_rms_eps)

    steps = normed(F.linear(mixed[..., :rank], delta_proj_weight), dt_rms_weight) + (0 if delta_bias is None else delta_bias)
    delta = F.softplus(steps, threshold=500)  # above the default threshold of 20 it would drop e^-20

    def per_time(matrix, rows, bias):
        if matrix is not None:
            return matrix.transpose(1, 2)
        rows = rows if bias is None else rows + bias
        return torch.view_as_complex(rows.unflatten(-1, (-1, 2)).contiguous()) if A.is_complex() else rows

    B, C = per_time(B, mixed[..., rank : rank + M], B_proj_bias), per_time(C, mixed[..., -M:], C_proj_bias)
    B, C = normed(B, b_rms_weight), normed(C, c_rms_weight)
    state, ys = torch.zeros(*x.shape[:2], A.shape[1], dtype=A.dtype), []
    for t in range(x.shape[2]):
        state = torch.exp(delta[:, t, :, None] * A) * state + (delta[:, t] * x[..., t])[..., None] * B[:, None, t]
        y = (state * C[:, None, t]).sum(-1)
        ys.append(2 * y.real if A.is_complex() else y)
    y = torch.stack(ys, dim=1) + (0 if D is None else D) * x.transpose(1, 2)
    return F.linear(y * F.silu(z.transpose(1, 2)), out_proj_weight, out_proj_bias)


NORMS = {"b_rms_weight": 3, "c_rms_weight": 3, "dt_rms_weight": 6}


def ones(*shape):
    return torch.ones(shape, dtype=torch.float64)


def with_norms(*names, **options):
    return inner_arrays() | {name: torch.randn(NORMS[name], dtype=torch.float64) for name in names} | options


def with_a_given_B(**more):
    inputs = inner_arrays() | {"B": torch.randn(2, 3, 11, dtype=torch.float64), "B_proj_bias": None} | more
    return inputs | {"x_proj_weight": inputs["x_proj_weight"][:5]}


LEFT_OUT = dict.fromkeys(("conv1d_bias", "out_proj_bias", "D", "delta_bias", "C_proj_bias"))
INSIDES = {
    "real": inner_arrays,
    "complex": lambda: inner_arrays(complex=True),
    "one norm": lambda: with_norms("b_rms_weight", b_c_dt_rms_eps=0.5),
    "another": lambda: with_norms("dt_rms_weight"),
    "norms": lambda: with_norms(*NORMS, b_c_dt_rms_eps=0.5),
    "left out": lambda: with_a_given_B(**LEFT_OUT),
    "norms of a given B": lambda: with_a_given_B(**with_norms(*NORMS, B_proj_bias=None)),
}


@pytest.mark.parametrize("kind", INSIDES)
def test_the_inside_of_a_block_is_that_of_a_loop(kind):
    inputs = INSIDES[kind]()
    leaves = {name: t.requires_grad_() for name, t in inputs.items() if isinstance(t, torch.Tensor) and t.is_leaf}
    out, expected = qf.ssm.mamba_inner_fn(**inputs), inner_reference(**inputs)
    torch.testing.assert_close(out, expected, rtol=1e-10, atol=1e-11)
    weight, wanted = torch.randn_like(out), list(leaves.values())
    torch.testing.assert_close(*(torch.autograd.grad((o * weight).sum(), wanted) for o in (out, expected)), rtol=1e-9, atol=1e-10)
    arrays = {name: t.detach().numpy() if isinstance(t, torch.Tensor) else t for name, t in inputs.items()}
    np.testing.assert_allclose(qf.ssm.mamba_inner_fn(**arrays), expected.detach().numpy(), rtol=1e-10, atol=1e-11)


def test_the_inside_of_a_block_in_half_precision():
    half = {name: t if t is None else t.bfloat16() for name, t in INSIDES["norms of a given B"]().items()}
    half |= {name: half[name].float() for name in ("A", "D", "delta_bias", "b_rms_weight")}
    got = qf.ssm.mamba_inner_fn(**half)
    assert got.dtype == torch.bfloat16
    expected = inner_reference(**{name: t if t is None else t.double() for name, t in half.items()})
    assert (got - expected).abs().max() <= 64 * torch.finfo(torch.bfloat16).eps * expected.abs().max()


def inner(complex=False, **changed):
    return lambda: qf.ssm.mamba_inner_fn(**{**inner_arrays(complex=complex), **changed})


BAD = [
    (inner(b_rms_weight=ones(4)), ValueError, r"mamba_inner_fn: b_rms_weight has shape \(4,\), expected \(N,\) = \(3,\)"),
    (inner(dt_rms_weight=ones(2)), ValueError, r"dt_rms_weight has shape \(2,\), expected \(D,\) = \(6,\)"),
    (inner(dt_rms_weight=torch.ones(6)), TypeError, "dt_rms_weight has dtype float32 but xz has float64"),
    (inner(b_rms_weight=np.ones(3)), TypeError, "b_rms_weight is a numpy array .*, expected an array like xz"),
    (inner(b_c_dt_rms_eps=-1.0), ValueError, r"b_c_dt_rms_eps is -1\.0, expected"),
    (inner(b_c_dt_rms_eps="no"), TypeError, "b_c_dt_rms_eps is 'no', expected"),
    (inner(True, c_rms_weight=ones(3)), ValueError, "c_rms_weight requires real A, B and C"),
    (lambda: qf.ssm.mamba_inner_fn(**with_a_given_B(B=ones(6, 3), b_rms_weight=ones(3))), ValueError, "requires a B that varies in time"),
    (inner(xz=ones(2, 11, 11)), ValueError, r"xz has shape \(2, 11, 11\), expected \(B, 2 D, L\)"),
    (inner(conv1d_weight=ones(6, 4)), ValueError, r"conv1d_weight has shape \(6, 4\), expected \(6, 1, W\)"),
    (inner(x_proj_weight=ones(7, 6)), ValueError, r"x_proj_weight has shape \(7, 6\), expected \(8, 6\)"),
    (inner(delta_proj_weight=ones(5, 2)), ValueError, r"delta_proj_weight has shape \(5, 2\), expected \(6, 2\)"),
    (inner(out_proj_weight=ones(5, 7)), ValueError, r"out_proj_weight has shape \(5, 7\), expected \(E, 6\)"),
    (inner(A=ones(5, 3)), ValueError, r"A has shape \(5, 3\), expected \(D, N\) with D = 6"),
    (inner(conv1d_weight=ones(6, 1, 4).float()), TypeError, "has dtype float32"),
]


def test_gradients_reach_interleaved_pairs():
    u, delta = torch.randn(2, 3, 8, dtype=torch.float64), torch.rand(2, 3, 8, dtype=torch.float64)
    A = torch.complex(-torch.rand(3, 2, dtype=torch.float64), torch.randn(3, 2, dtype=torch.float64))
    B, C = torch.randn(2, 2, 16, dtype=torch.float64), torch.randn(2, 1, 2, 16, dtype=torch.float64)
    inputs = tuple(t.requires_grad_() for t in (u, delta, A, B, C))

    def f(*arrays):
        y, last = qf.ssm.selective_scan_fn(*arrays, return_last_state=True)
        return y, torch.view_as_real(last)

    check_every_mode(f, inputs)
    with torch.no_grad():  # a conjugate view does not store the values that it represents
        torch.testing.assert_close(f(u, delta, A.conj(), B, C), f(u, delta, A.conj().resolve_conj(), B, C))


def test_layouts_of_interleaved_pairs():
    u, delta, A, C = torch.randn(2, 3, 5), torch.rand(2, 3, 5), torch.complex(-torch.rand(3, 2), torch.randn(3, 2)), torch.randn(2, 2, 10)

    scan = qf.ssm.selective_scan_fn
    for B in (
        torch.randn(41)[1:].view(2, 2, 10),  # an odd storage offset
        torch.randn(2, 2, 11)[..., 1:],
        torch.randn(2, 10, 2).mT,
        torch.randn(2, 2, 10, dtype=torch.complex64).conj().imag,
    ):
        assert torch.equal(scan(u, delta, A, B, C), scan(u, delta, A, B.clone(memory_format=torch.contiguous_format), C))
    none, no_items = torch.zeros(0), torch.zeros(0, 3, 5)
    for B in (torch.randn(2, 2, 7)[..., :0], torch.randn(2, 2, 7)[..., 1:1], none.reshape(2, 2, 0), none.as_strided((2, 2, 0), (1, 1, 1))):
        assert scan(u[..., :0], delta[..., :0], A, B, B).shape == (2, 3, 0)
    for B in (none.reshape(0, 2, 10), none.as_strided((0, 2, 10), (3, 3, 1)), torch.randn(7, 2, 20)[:0, :, ::2]):
        assert scan(no_items, no_items, A, B, B).shape == (0, 3, 5)


@pytest.mark.parametrize("rows", [[3, 0], [-1, 2], [3, -1], [-1, -1]])
def test_an_update_of_a_convolution_has_its_gradient_and_compiles(rows):
    x, weight = torch.randn(2, 3, 5, dtype=torch.float64), torch.randn(3, 4, dtype=torch.float64)
    start, rows, lengths = torch.randn(4, 3, 6, dtype=torch.float64), torch.tensor(rows), torch.tensor([1, 9], dtype=torch.int32)

    def f(x, start, weight):
        state = start.clone()
        y = qf.ssm.causal_conv1d_update(x, state, weight, activation="silu", conv_state_indices=rows, cache_seqlens=lengths)
        return y, qf.ssm.causal_conv1d_update(x, state[:2], weight), state

    check_every_mode(f, tuple(t.requires_grad_() for t in (x, start, weight)))


def test_final_states_out_is_part_of_the_graph():
    x, weight = (t.requires_grad_() for t in (torch.randn(2, 3, 7), torch.randn(3, 4)))
    out = torch.zeros(2, 3, 3)
    _, states = qf.ssm.causal_conv1d_fn(x, weight, return_final_states=True, final_states_out=out)
    assert states is out
    (dx,) = torch.autograd.grad(states.sum(), x)
    assert torch.equal(dx, (torch.arange(7) >= 4).expand(2, 3, 7).float())


def test_mamba_state_dict():
    assert shapes(nn.Mamba(20, d_state=5)) == {
        "A_log": (40, 5), "D": (40,), "in_proj.weight": (80, 20), "conv1d.weight": (40, 1, 4), "conv1d.bias": (40,),
        "x_proj.weight": (12, 40), "dt_proj.weight": (40, 2), "dt_proj.bias": (40,), "out_proj.weight": (20, 40),
    }  # fmt: skip
    other = shapes(nn.Mamba(20, d_state=5, conv_bias=False, bias=True, dt_rank=7, expand=1))
    assert other["x_proj.weight"] == (17, 20)
    assert other["in_proj.bias"] == (40,)
    assert "conv1d.bias" not in other


def test_mamba_initial_values():
    torch.manual_seed(0)
    layer = nn.Mamba(64, d_state=8, dt_scale=0.5)
    same(layer.A_log.exp(), torch.arange(1.0, 9).repeat(128, 1), 1e-5)
    assert bool((layer.D == 1).all())
    step = F.softplus(layer.dt_proj.bias)
    assert step.min() >= 0.001
    assert step.max() <= 0.1001
    assert abs(step.log().mean() - math.log(0.01)) < 0.4  # the standard deviation of a mean of 128 values is .12
    assert layer.dt_proj.weight.abs().max() <= 0.5 / math.sqrt(4)
    assert layer.A_log._no_weight_decay
    assert layer.D._no_weight_decay
    assert layer.dt_proj.bias._no_reinit
    wide = {name for name, p in nn.Mamba(8, dtype=torch.bfloat16).named_parameters() if p.dtype == torch.float32}
    assert wide == {"A_log", "D"}
    assert {p.dtype for p in nn.Mamba(8, dtype=torch.float64).parameters()} == {torch.float64}


def upstream_mamba(w, u):
    """The first projection, then the inner part of the block from its formulas."""
    names = ("conv1d.weight", "conv1d.bias", "x_proj.weight", "dt_proj.weight", "out_proj.weight", "out_proj.bias")
    xz = (u @ w["in_proj.weight"].T + w.get("in_proj.bias", 0)).mT
    return inner_reference(xz, *map(w.get, names), -w["A_log"].exp(), D=w["D"], delta_bias=w["dt_proj.bias"])


OPTIONS = [{}, {"d_conv": 1, "bias": True}, {"d_conv": 3, "conv_bias": False, "expand": 1, "dt_rank": 3}]


@pytest.mark.parametrize("options", OPTIONS)
def test_mamba_is_upstreams(options):
    layer = nn.Mamba(10, d_state=4, **options).double()
    u = torch.randn(2, 13, 10, dtype=torch.float64)
    same(layer(u), upstream_mamba(layer.state_dict(), u), 1e-11)


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("cuts", [[0, 12], [0, 5, 12], [0, 1, 2, 12], [0, 0, 11, 12]])
def test_mamba_in_chunks_and_steps(options, cuts):
    layer = nn.Mamba(10, d_state=4, **options).double()
    check_chunks_and_steps(layer, torch.randn(2, 17, 10, dtype=torch.float64), cuts)
