"""The inside of a Mamba-2 block: against the block written out, gradients against differences, bad input."""

import numpy as np
import pytest

import quatrefoil as qf
from case import exact, made, nudged, worst
from ssm.ssd import oracle

block, block_vjp = qf.ssm.mamba_split_conv1d_scan_combined, qf.ssm.mamba_split_conv1d_scan_combined_vjp
NAMES = ("initial_states", "seq_idx", "rmsnorm_weight", "outproj_weight", "outproj_bias")


def draw(
    rng, *, items=2, L=40, H=4, P=3, N=5, G=1, M=0, W=4, bias=True, flat=False, start=False, packed=False, norm=False, out=0, **options
):
    """Positional arrays, and arrays and options by name."""
    mixed, inner = H * P + 2 * G * N, H * P
    given = [
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
    return given, more


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


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
def test_value(backend, rng, kind, precision):
    cast = lambda v: v.astype(precision) if isinstance(v, np.ndarray) and v.dtype.kind == "f" else v  # noqa: E731
    given, more = draw(rng, **KINDS[kind])
    given, more = list(map(cast, given)), {k: cast(v) for k, v in more.items()}
    got = block(*given, 16, **more)
    parts = lambda given, more: made(oracle.mamba_split_conv1d_scan_combined(*given, **more))  # noqa: E731
    given, more = list(map(exact, given)), {k: exact(v) for k, v in more.items()}
    eps = np.finfo(precision).eps
    near = parts(nudged(given, rng, eps), {k: nudged(v, rng, eps) for k, v in more.items()})
    for g, e, n in zip(made(got), parts(given, more), near, strict=True):
        assert g.dtype == precision
        # some roundings one behind the other in each part, and what those of the inputs alone do: a norm of little makes much of them
        assert worst(g, e) < 16 * eps + 4 * worst(n, e)


@pytest.mark.parametrize("kind", KINDS)
def test_gradient(backend, rng, kind):
    """<grad, J v> of the block written out, from central differences, against sum_i <vjp_i, v_i>."""
    given, more = draw(rng, **KINDS[kind])
    arrays = [*given, *(more.pop(name, None) for name in NAMES)]
    directions = [rng.standard_normal(a.shape) if a is not None and a.dtype.kind == "f" else None for a in arrays]

    def run(step):
        moved = [a if v is None else a + np.longdouble(step) * v for a, v in zip(arrays, directions)]
        y = oracle.mamba_split_conv1d_scan_combined(*moved, **more)
        return y if isinstance(y, tuple) else (y,)

    grad = tuple(rng.standard_normal(y.shape) for y in run(0))
    single, double = ([(a - b) / (2 * h) for a, b in zip(run(h), run(-h))] for h in (1e-8, 2e-8))
    expected = sum(np.vdot(g, s + (s - d) / 3) for g, s, d in zip(grad, single, double))
    gradients = block_vjp(*arrays, grad if len(grad) > 1 else grad[0], chunk_size=16, **more)
    wanted = [(a, v) for a, v in zip(arrays, directions) if v is not None]
    assert [g.shape for g in gradients] == [a.shape for a, _ in wanted]
    got = sum(np.vdot(g, v) for g, (_, v) in zip(gradients, wanted))
    size = sum(np.linalg.norm(g) * np.linalg.norm(v) for g, (_, v) in zip(gradients, wanted))
    assert abs(got - expected) < 1e-8 * size  # what such a quotient is good for


@pytest.mark.parametrize("shape", [{"items": 0}, {"L": 0}, {"H": 0}, {"N": 0}])
def test_empty(backend, rng, shape):
    given, more = draw(rng, norm=True, out=3, **shape)
    y = block(*given, 16, **more)
    assert y.shape == (*given[0].shape[:2], 3)
    gradients = block_vjp(*given, *(more.pop(name, None) for name in NAMES), y, chunk_size=16, **more)
    assert all(np.isfinite(g).all() for g in gradients)


def test_out(backend, rng):
    given, more = draw(rng, norm=True, out=7)
    y = block(*given, 16, **more)
    room = np.full_like(y, np.nan)
    assert block(*given, 16, **more, out=room) is room
    np.testing.assert_array_equal(room, y)
    for out, error, text in (
        (room[..., :-1], ValueError, "out has shape"),
        (room.astype(np.float32), TypeError, "out is a numpy array of float32, expected a numpy array of float64"),
        (np.moveaxis(np.moveaxis(room, 0, 2).copy(), 2, 0), ValueError, "C-contiguous and writeable"),
        (np.broadcast_to(0.0, y.shape), ValueError, "C-contiguous and writeable"),
        (y.tolist(), TypeError, "out is list"),
    ):
        with pytest.raises(error, match=text):
            block(*given, 16, **more, out=out)
    with pytest.raises(TypeError, match="returns several"):
        block(*given, 16, **more, out=room, return_final_states=True)
    whole = rng.standard_normal((2, 40, 38))
    with pytest.raises(ValueError, match="out overlaps an input"):
        block(whole, *given[1:], 16, outproj_weight=np.ones((38, 12)), out=whole)


rng = np.random.default_rng(0)
(GIVEN, WEIGHT, BIAS, DT, A, D), _ = draw(rng, L=5)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: block(GIVEN[0], WEIGHT, BIAS, DT, A, D, 64), ValueError, r"zxbcdt has shape \(5, 38\), expected \(B, L, 2 M"),
        (lambda: block(GIVEN[..., 1:], WEIGHT, BIAS, DT, A, D, 64), ValueError, r"zxbcdt has shape .*, expected \(B, L, 2 M \+ 38\)"),
        (lambda: block(GIVEN, WEIGHT[1:], BIAS, DT, A, D, 64), ValueError, r"conv1d_weight has shape \(21, 4\), expected .* H P = 12"),
        (lambda: block(GIVEN, WEIGHT, BIAS[1:], DT, A, D, 64), ValueError, "bias has shape"),
        (lambda: block(GIVEN, WEIGHT, BIAS, DT[1:], A, D, 64), ValueError, r"dt_bias has shape \(3,\), expected \(H,\) = \(4,\)"),
        (lambda: block(GIVEN, WEIGHT, BIAS, DT, A[1:], D, 64), ValueError, r"A has shape \(3,\)"),
        (
            lambda: block(GIVEN, WEIGHT, BIAS, DT, A, D[:, 0], 64),
            ValueError,
            r"headdim is None, expected P where D has shape \(H,\) = \(4,\)",
        ),
        (lambda: block(GIVEN, WEIGHT, BIAS, DT, A, D, 64, headdim=4), ValueError, "headdim is 4, expected 3 as in D"),
        (
            lambda: block(GIVEN, WEIGHT, BIAS, DT, A, D, 64, ngroups=3),
            ValueError,
            "ngroups is 3, expected a number that divides the 4 heads",
        ),
        (lambda: block(GIVEN, WEIGHT, BIAS, DT, A, D, 64, ngroups=0), ValueError, "ngroups is 0"),
        (lambda: block(GIVEN, WEIGHT, BIAS, DT, A, D, 0), ValueError, "chunk_size is 0"),
        (lambda: block(GIVEN, WEIGHT, BIAS, DT, A, D, 64, activation="gelu"), ValueError, "activation is 'gelu'"),
        (lambda: block(GIVEN, WEIGHT, BIAS, DT, A, D, 64, dt_limit=(1.0, 0.0)), ValueError, "dt_limit is"),
        (
            lambda: block(GIVEN, WEIGHT, BIAS, DT, A, D, 64, rmsnorm_weight=DT),
            ValueError,
            r"rmsnorm_weight has shape \(4,\), expected \(H P,\)",
        ),
        (lambda: block(GIVEN, WEIGHT, BIAS, DT, A, D, 64, rmsnorm_eps=-1), ValueError, "rmsnorm_eps is -1"),
        (lambda: block(GIVEN, WEIGHT, BIAS, DT, A, D, 64, outproj_bias=DT), ValueError, "outproj_bias was given without outproj_weight"),
        (
            lambda: block(GIVEN, WEIGHT, BIAS, DT, A, D, 64, outproj_weight=D),
            ValueError,
            r"outproj_weight has shape \(4, 3\), expected .* = 12",
        ),
        (lambda: block(GIVEN, WEIGHT, BIAS, DT, A, D.astype(np.float32), 64), TypeError, "D has dtype float32 but zxbcdt has float64"),
        (lambda: block(GIVEN.tolist(), WEIGHT, BIAS, DT, A, D, 64), TypeError, "zxbcdt is list"),
        (
            lambda: block_vjp(GIVEN, WEIGHT, BIAS, DT, A, D, GIVEN, chunk_size=64),
            ValueError,
            "grad has shape .*, expected .* that of the result",
        ),
        (lambda: block_vjp(GIVEN, WEIGHT, chunk_size=64), TypeError, "expected 6 to 11 inputs and then grad"),
    ],
)
def test_bad_input(backend, call, error, text):
    with pytest.raises(error, match=text):
        call()
