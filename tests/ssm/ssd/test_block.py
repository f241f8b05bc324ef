"""The inner part of a Mamba-2 block: compared with the block written out; gradients compared with finite differences; bad input."""

import numpy as np
import pytest

import quatrefoil as qf
from case import arrays_of, exact, perturbed, worst
from ssm.ssd import oracle

block, block_vjp = qf.ssm.mamba_split_conv1d_scan_combined, qf.ssm.mamba_split_conv1d_scan_combined_vjp
NAMES = ("initial_states", "seq_idx", "rmsnorm_weight", "outproj_weight", "outproj_bias")


def draw(
    rng, *, items=2, L=40, H=4, P=3, N=5, G=1, M=0, W=4, bias=True, flat=False, start=False, packed=False, norm=False, out=0, **options
):
    """Positional arrays, and a dictionary of further arrays and options."""
    mixed, inner = H * P + 2 * G * N, H * P
    inputs = [
        rng.standard_normal((items, L, 2 * M + inner + mixed + H)), 0.5 * rng.standard_normal((mixed, W)),
        rng.standard_normal(mixed) if bias else None, 0.5 * rng.standard_normal(H), -np.exp(rng.standard_normal(H)),
        rng.standard_normal(H if flat else (H, P)),
    ]  # fmt: skip
    more = dict(options, ngroups=G, **({"headdim": P} if flat else {}))
    if start:
        more["initial_states"] = rng.standard_normal((items, H, P, N))
    if packed:
        more["seq_idx"] = np.cumsum(rng.uniform(size=(items, L)) < 0.1, axis=1)
    if norm:
        more["rmsnorm_weight"] = rng.standard_normal(inner)
    if out:
        more |= {"outproj_weight": rng.standard_normal((out, M + inner)), "outproj_bias": rng.standard_normal(out)}
    return inputs, more


KINDS = {
    "plain": {},
    "flat D": {"flat": True, "bias": False, "activation": None},
    "states": {"start": True, "return_final_states": True, "G": 2},
    "norm": {"norm": True, "rmsnorm_eps": 1e-3},
    "norm of groups after the gate": {"norm": True, "G": 2, "norm_before_gate": False, "start": True, "return_final_states": True},
    "packed": {"packed": True, "norm": True, "out": 7},
    "mlp": {"M": 4, "out": 5, "dt_limit": (0.1, 1.0)},
    "mlp and norm": {"M": 3, "norm": True, "norm_before_gate": False, "activation": "swish"},
    "one sample": {"L": 1, "W": 1, "norm": True, "out": 2},
}


def in_precision(x, precision):
    return x.astype(precision) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x


@pytest.mark.parametrize("kind", KINDS)
def test_value(best_backend, rng, kind):
    arguments, more = draw(rng, **KINDS[kind])
    for precision in ("float32", "float64"):
        arguments, more = [in_precision(x, precision) for x in arguments], {k: in_precision(x, precision) for k, x in more.items()}
        got, eps = arrays_of(block(*arguments, 16, **more)), np.finfo(precision).eps
        wide = [list(map(exact, arguments)), {k: exact(x) for k, x in more.items()}]
        moved = [perturbed(wide[0], rng, eps), {k: perturbed(x, rng, eps) for k, x in wide[1].items()}]
        expected, near = (arrays_of(oracle.mamba_split_conv1d_scan_combined(*arrays, **options)) for arrays, options in (wide, moved))
        for g, e, n in zip(got, expected, near, strict=True):
            assert g.dtype == precision
            # a few successive rounding errors in each part, plus the effect of rounding the inputs, which a norm of small values amplifies
            assert worst(g, e) < 16 * eps + 4 * worst(n, e)
        arguments, more = wide


@pytest.mark.parametrize("kind", KINDS)
def test_gradient(best_backend, rng, kind):
    """Compare <grad, J v> of the block written out, from central differences, with sum_i <vjp_i, v_i>."""
    inputs, more = draw(rng, **KINDS[kind])
    arrays = [*inputs, *(more.pop(name, None) for name in NAMES)]
    directions = [rng.standard_normal(a.shape) if a is not None and a.dtype.kind == "f" else None for a in arrays]

    def run(step):
        moved = [a if v is None else a + np.longdouble(step) * v for a, v in zip(arrays, directions)]
        return arrays_of(oracle.mamba_split_conv1d_scan_combined(*moved, **more))

    grad = tuple(rng.standard_normal(y.shape) for y in run(0))
    single, double = ([(a - b) / (2 * h) for a, b in zip(run(h), run(-h))] for h in (1e-8, 2e-8))
    expected = sum(np.vdot(g, s + (s - d) / 3) for g, s, d in zip(grad, single, double))
    gradients = block_vjp(*arrays, grad if len(grad) > 1 else grad[0], chunk_size=16, **more)
    wanted = [v for v in directions if v is not None]
    assert [g.shape for g in gradients] == [v.shape for v in wanted]
    size = sum(np.linalg.norm(g) * np.linalg.norm(v) for g, v in zip(gradients, wanted))
    assert abs(sum(map(np.vdot, gradients, wanted)) - expected) < 1e-8 * size  # accuracy of the difference quotients


def test_empty(best_backend, rng):
    for shape in ({"items": 0}, {"L": 0}, {"H": 0}, {"N": 0}):
        print(shape)
        inputs, more = draw(rng, norm=True, out=3, **shape)
        y = block(*inputs, 16, **more)
        assert y.shape == (*inputs[0].shape[:2], 3)
        gradients = block_vjp(*inputs, *(more.pop(name, None) for name in NAMES), y, chunk_size=16, **more)
        assert all(np.isfinite(g).all() for g in gradients)


(INPUT, WEIGHT, BIAS, DT, A, D), _ = draw(np.random.default_rng(0), L=5)
OUT = np.zeros((2, 5, 12))


def test_out(best_backend):
    out = np.full_like(OUT, np.nan)
    assert block(INPUT, WEIGHT, BIAS, DT, A, D, 16, out=out) is out
    np.testing.assert_array_equal(out, block(INPUT, WEIGHT, BIAS, DT, A, D, 16))


def call_with(zxbcdt=INPUT, weight=WEIGHT, bias=BIAS, dt_bias=DT, A=A, D=D, chunk_size=64, **options):
    return lambda: block(zxbcdt, weight, bias, dt_bias, A, D, chunk_size, **options)


BAD = [
    (call_with(INPUT[0]), ValueError, r"zxbcdt has shape \(5, 38\), expected \(B, L, 2 M"),
    (call_with(INPUT[..., 1:]), ValueError, r"zxbcdt has shape .*, expected \(B, L, 2 M \+ 38\)"),
    (call_with(weight=WEIGHT[1:]), ValueError, r"conv1d_weight has shape \(21, 4\), expected .* H P = 12"),
    (call_with(bias=BIAS[1:]), ValueError, "bias has shape"),
    (call_with(dt_bias=DT[1:]), ValueError, r"dt_bias has shape \(3,\), expected \(H,\) = \(4,\)"),
    (call_with(A=A[1:]), ValueError, r"A has shape \(3,\)"),
    (call_with(D=D[:, 0]), ValueError, r"headdim is None, expected P, because D has shape \(H,\) = \(4,\)"),
    (call_with(headdim=4), ValueError, "headdim is 4, expected 3, because D"),
    (call_with(ngroups=3), ValueError, "ngroups is 3, expected a divisor of 4, the number of heads"),
    (call_with(ngroups=0), ValueError, "ngroups is 0"),
    (call_with(chunk_size=0), ValueError, "chunk_size is 0"),
    (call_with(activation="gelu"), ValueError, "activation is 'gelu'"),
    (call_with(dt_limit=(1.0, 0.0)), ValueError, "dt_limit is"),
    (call_with(rmsnorm_weight=DT), ValueError, r"rmsnorm_weight has shape \(4,\), expected \(H P,\)"),
    (call_with(rmsnorm_eps=-1), ValueError, "rmsnorm_eps is -1"),
    (call_with(outproj_bias=DT), ValueError, "got outproj_bias without outproj_weight"),
    (call_with(outproj_weight=D), ValueError, r"outproj_weight has shape \(4, 3\), expected .* = 12"),
    (call_with(rmsnorm_weight=np.ma.masked_array(np.ones(12))), TypeError, "rmsnorm_weight is a masked array"),
    (call_with(D=D.astype(np.float32)), TypeError, "D has dtype float32 but zxbcdt has float64"),
    (call_with(out=OUT[..., 1:]), ValueError, "out has shape"),
    (call_with(out=OUT.astype(np.float32)), TypeError, "out has dtype float32, expected float64"),
    (call_with(out=np.moveaxis(OUT.T.copy(), 0, 2).swapaxes(0, 1)), ValueError, "C-contiguous and writeable"),
    (call_with(out=np.broadcast_to(0.0, OUT.shape)), ValueError, "C-contiguous and writeable"),
    (call_with(out=OUT.tolist()), TypeError, "out is list"),
    (call_with(out=OUT, return_final_states=True), TypeError, "returns several"),
    (call_with(outproj_weight=np.ones((38, 12)), out=INPUT), ValueError, "out shares memory with zxbcdt"),
    (lambda: block_vjp(INPUT, WEIGHT, BIAS, DT, A, D, INPUT, chunk_size=64), ValueError, "grad has shape .*, expected .* of the result"),
    (lambda: block_vjp(INPUT, WEIGHT, chunk_size=64), TypeError, "expected 6 to 11 inputs and then grad"),
]
