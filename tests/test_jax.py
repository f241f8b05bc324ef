"""Every case with JAX arrays, including under jit, grad and vmap, compared with the results for NumPy arrays."""

import doctest
import importlib
import re

import numpy as np
import pytest

jax = pytest.importorskip("jax", minversion="0.5")

import jax.numpy as jnp  # noqa: E402

import quatrefoil as qf  # noqa: E402
from case import arrays_of, op_of, parametrize, simplest, structures  # noqa: E402
from namespaces import mapped  # noqa: E402
from public import CALLS, arrays  # noqa: E402
from traced import Call, assert_same, double_precision, normal, scan_arrays  # noqa: E402, F401

STRUCTURES = structures()
SMALL = [(family, case) for family, case in simplest() if op_of(family, case.op).adjoint]


@parametrize(STRUCTURES)
def test_same_as_numpy(family, case, best_backend, rng):
    call = Call(family, case, rng)
    for g, e in zip(jax.jit(call)(*call.arrays), arrays_of(call.compute(*call.arguments, **call.keywords)), strict=True):
        assert_same(g, e)


@parametrize(SMALL)
def test_single_precision_without_jit(family, case, rng):
    call = Call(family, case, rng, precision="float32")
    for g, e in zip(call(*call.arrays), arrays_of(call.compute(*call.arguments, **call.keywords)), strict=True):
        assert_same(g, e)


@parametrize([(f, c) for f, c in STRUCTURES if op_of(f, c.op).adjoint])
def test_gradient_same_as_vjp(family, case, best_backend, rng):
    """JAX's cotangents are the conjugates of our gradients."""
    call = Call(family, case, rng)
    results, pull = jax.vjp(call.of_differentiable, *call.differentiable)
    grads = [normal(rng, y) for y in results]
    got = pull(tuple(jnp.asarray(g.conj()) for g in grads))
    for g, e in zip(got, call.vjp(grads), strict=True):
        assert_same(g.conj(), e)


@parametrize(SMALL)
def test_grad_under_jit(family, case, rng):
    call = Call(family, case, rng)
    gradient = jax.grad(call.energy, argnums=tuple(range(len(call.differentiable))))
    for g, e in zip(jax.jit(gradient)(*call.differentiable), gradient(*call.differentiable), strict=True):
        np.testing.assert_allclose(g, e, rtol=1e-12, atol=1e-12 * max(1.0, np.abs(np.asarray(e)).max(initial=0)))


@parametrize([(f, c) for f, c in SMALL if op_of(f, c.op).policy.second_vjp])
def test_second_derivative(family, case, rng):
    """Along two directions, the Hessian is symmetric and agrees with central differences of the gradient."""
    call = Call(family, case, rng)
    gradient = jax.grad(call.energy, argnums=tuple(range(len(call.differentiable))))
    directions = [[jnp.asarray(normal(rng, x)) for x in call.differentiable] for _ in range(2)]

    def slope(values, direction):
        return sum((g * v).sum() for g, v in zip(gradient(*values), direction))

    first, second = (compute(call.differentiable, v) for compute, v in zip((jax.jit(jax.grad(slope)), jax.grad(slope)), directions))
    one, other = (sum((g * v).sum() for g, v in zip(*pair)) for pair in ((first, directions[1]), (second, directions[0])))
    size = sum(jnp.abs(g * v).sum() for g, v in zip((*first, *second), (*directions[1], *directions[0])))
    assert abs(one - other) <= 1e-11 * size

    def difference(h):
        right, left = (slope([x + s * v for x, v in zip(call.differentiable, directions[1])], directions[0]) for s in (h, -h))
        return (right - left) / (2 * h)

    step = 1e-5
    assert abs(one - (4 * difference(step) - difference(2 * step)) / 3) <= 1e-5 * size


@parametrize([(f, c) for f, c in SMALL if not op_of(f, c.op).policy.second_vjp])
def test_second_derivative_raises(family, case, rng):
    call = Call(family, case, rng)
    gradient = jax.grad(call.energy)
    with pytest.raises(NotImplementedError, match="second derivative"):
        jax.grad(lambda *numbers: jnp.real(gradient(*numbers)).sum())(*call.differentiable)


@parametrize(SMALL)
def test_vmap(family, case, rng):
    call = Call(family, case, rng)
    stacked = [jnp.stack([x, 2 * x / 3]) for x in call.differentiable]
    single = [call.of_moved(*[x[i] for x in stacked]) for i in range(2)]
    for g, *e in zip(jax.vmap(call.of_moved)(*stacked), *single, strict=True):
        assert_same(g, np.stack(e))
    slopes = [jax.grad(call.energy)(*[x[i] for x in stacked]) for i in range(2)]
    got = jax.vmap(jax.grad(call.energy))(*stacked)
    np.testing.assert_allclose(got, np.stack(slopes), rtol=1e-12, atol=1e-12 * max(1.0, np.abs(np.stack(slopes)).max(initial=0)))


@parametrize(SMALL)
def test_forward_mode_raises(family, case, rng):
    call = Call(family, case, rng)
    with pytest.raises(TypeError, match="custom_vjp"):
        jax.jvp(call.of_differentiable, call.differentiable, call.differentiable)


def test_both_entry_points(entry_point, rng):
    a, b = scan_arrays(rng)
    for _ in range(2):
        assert_same(qf.ssm.linear_scan(a, b), qf.ssm.linear_scan(np.asarray(a), np.asarray(b)))
        assert_same(jax.jit(qf.ssm.linear_scan)(a, b), qf.ssm.linear_scan(np.asarray(a), np.asarray(b)))


def test_wrong_arguments_raise_at_tracing(rng):
    a, b = scan_arrays(rng)
    for compute in (qf.ssm.linear_scan, jax.jit(qf.ssm.linear_scan)):
        with pytest.raises(ValueError, match=r"ssm.linear_scan: a has shape \(3, 50\), which does not broadcast"):
            compute(a, b[:, :7])
        with pytest.raises(TypeError, match=r"ssm.linear_scan: b has dtype float64 but a has float32"):
            compute(a, b.astype(np.float64))
        with pytest.raises(TypeError, match=r"ssm.linear_scan: a has dtype bfloat16"):
            compute(a.astype(jnp.bfloat16), b)
    with pytest.raises(TypeError, match="b is a numpy array but a is a jax array; all arrays of a call must be from one library"):
        qf.ssm.linear_scan(a, np.asarray(b))
    with pytest.raises(TypeError, match="out= does not accept JAX arrays"):
        qf.ssm.linear_scan(a, b, out=b)
    with pytest.raises(ValueError, match="unknown backend 'fast'"):
        qf.ssm.linear_scan(a, b, backend="fast")


def test_errors_of_kernels_become_errors_of_xla():
    singular = jnp.zeros((2, 2))
    with pytest.raises(Exception, match="X does not exist") as numpys:
        qf.kron.sylvester_solve(*[np.zeros((2, 2))] * 2, np.ones((2, 2)))
    with pytest.raises(jax.errors.JaxRuntimeError) as xlas:
        jax.block_until_ready(jax.jit(qf.kron.sylvester_solve)(singular, singular, jnp.ones((2, 2))))
    assert str(numpys.value) in str(xlas.value)


def test_updates_in_place_are_rejected(rng):
    one, state = jnp.ones((1, 2)), jnp.zeros((1, 2, 3))
    with pytest.raises(TypeError, match="selective_state_update: state is a JAX array, which is immutable"):
        qf.ssm.selective_state_update(state, one, one, -jnp.ones((2, 3)), jnp.ones((1, 3)), jnp.ones((1, 3)))
    with pytest.raises(TypeError, match="causal_conv1d_update: conv_state is a JAX array, which is immutable"):
        qf.ssm.causal_conv1d_update(one, state, jnp.ones((2, 3)))
    with pytest.raises(TypeError, match="causal_conv1d_fn: final_states_out is a JAX array, which is immutable"):
        qf.ssm.causal_conv1d_fn(jnp.ones((1, 2, 5)), jnp.ones((2, 4)), final_states_out=state)
    after = qf.ssm.selective_state_step(state, one, one, -jnp.ones((2, 3)), jnp.ones((1, 3)), jnp.ones((1, 3)))[1]
    assert isinstance(after, jax.Array)


@pytest.mark.parametrize("name", CALLS)
def test_functions_that_are_not_ops(name):
    """These functions work like ops, or raise an error that says what to pass instead."""
    call = CALLS[name]
    expected = arrays(call(lambda x: x))
    try:
        got = arrays(call(lambda x: mapped(np.ndarray, jnp.asarray, x)))
    except TypeError as error:
        if not re.search(r"is a JAX array, which (this function does not accept; pass numpy\.asarray|is immutable)", str(error)):
            raise
    else:
        for g, e in zip(got, expected, strict=True):
            np.testing.assert_allclose(np.asarray(g), e, rtol=0, atol=1e-13 * np.abs(e).max(initial=1))


def test_errors_name_what_cannot_be_traced():
    factors = [jnp.eye(2), jnp.eye(3)]
    with pytest.raises(TypeError, match="progress is a function, which a compiled JAX program cannot trace"):
        qf.kron.gp_solve(factors, jnp.ones(6), 0.1, progress=print)
    with pytest.raises(TypeError, match="is traced by JAX, but its values must be read"):
        jax.jit(lambda s: qf.kron.gp_nll(factors, jnp.ones(6), 0.1, tol=s))(0.5)


def test_constants_have_no_gradient():
    x, weights = jnp.arange(5.0), jnp.ones(2)
    compute = lambda x, w: qf.kron.gsmp_kernel(x, weights=w, means=jnp.ones(2), std=jnp.ones(2)).sum()  # noqa: E731
    with pytest.raises(NotImplementedError, match=r"is not differentiable with respect to x; pass jax.lax.stop_gradient"):
        jax.grad(compute)(x, weights)
    assert jax.grad(compute, 1)(x, weights).shape == (2,)
    assert np.all(jax.grad(lambda x: compute(jax.lax.stop_gradient(x), weights))(x) == 0)


def test_unused_results_have_zero_gradients(rng):
    u, dt, A, C = (jnp.asarray(rng.random(s)) for s in ((2, 9), 2, (2, 3), (2, 3)))
    call = lambda u: qf.ssm.s4d_conv(u, dt, -A + 0j, C + 0j, return_state=True)  # noqa: E731
    for which in (0, 1):
        got = jax.grad(lambda u, w=which: jnp.real(call(u)[w]).sum())(u)
        expected = jax.grad(lambda u, w=which: sum(jnp.real(y).sum() * (i == w) for i, y in enumerate(call(u))))(u)
        np.testing.assert_array_equal(got, expected)


def test_half_precision_is_computed_in_float32(rng):
    u, k = (jnp.asarray(rng.standard_normal(s), jnp.bfloat16) for s in ((2, 3, 70), (3, 70)))
    expected = qf.ssm.fft_conv(u.astype(np.float32), k.astype(np.float32)).astype(jnp.bfloat16)
    assert qf.ssm.fft_conv(u, k).dtype == jnp.bfloat16
    assert jnp.array_equal(jax.jit(qf.ssm.fft_conv)(u, k), expected)
    assert jax.grad(lambda u: qf.ssm.fft_conv(u, k).astype(np.float32).sum())(u).dtype == jnp.bfloat16


def test_without_double_precision(rng):
    """Without it, JAX has only 32-bit integers."""
    jax.config.update("jax_enable_x64", False)
    x, weight = (jnp.asarray(rng.standard_normal(s)) for s in ((2, 3, 20), (3, 4)))
    seq_idx = jnp.asarray(np.arange(40).reshape(2, 20) // 7)
    assert (x.dtype, seq_idx.dtype) == (np.float32, np.int32)
    expected = qf.ssm.causal_conv1d_fn(*map(np.asarray, (x, weight)), seq_idx=np.asarray(seq_idx))
    for compute in (qf.ssm.causal_conv1d_fn, jax.jit(qf.ssm.causal_conv1d_fn)):
        assert_same(compute(x, weight, seq_idx=seq_idx), expected)
    assert jax.grad(lambda x: qf.ssm.causal_conv1d_fn(x, weight, seq_idx=seq_idx).sum())(x).shape == x.shape


def test_empty_arrays():
    for shape in ((0, 5), (3, 0)):
        empty = jnp.zeros(shape)
        assert jax.jit(qf.ssm.linear_scan)(empty, empty).shape == shape


def test_the_example():
    jax.config.update("jax_enable_x64", False)
    result = doctest.testmod(importlib.import_module("quatrefoil.jax"))
    assert result.attempted > 4
    assert not result.failed
