"""Cases as a JAX user would call them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import call

Call = functools.partial(call.Call, convert=jnp.asarray)


@pytest.fixture(autouse=True)
def double_precision():
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


def normal(rng, like):
    v = rng.standard_normal(like.shape) + (1j * rng.standard_normal(like.shape) if jnp.iscomplexobj(like) else 0)
    return np.asarray(v, like.dtype)


def assert_same(got, expected):
    assert isinstance(got, jax.Array)
    assert got.dtype == expected.dtype
    np.testing.assert_array_equal(np.asarray(got), expected)


def scan_arrays(rng, shape=(3, 50), dtype=np.float32):
    return [jnp.asarray(x, dtype) for x in rng.standard_normal((2, *shape))]
