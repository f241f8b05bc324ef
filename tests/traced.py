"""Cases as JAX's users call them."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from case import adjoint_arguments, build, call_of, graded, made, op_of


@pytest.fixture(autouse=True)
def double_precision():
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


class Call:
    """A case as a function of its arrays, or of those that have gradients."""

    def __init__(self, family, case, rng, precision="float64"):
        self.op, self.compute, self.valid = op_of(family, case.op), call_of(family, case), case.valid
        self.arguments, self.keywords = build(family, case, rng, precision)
        self.inputs, self.options = adjoint_arguments(self.op, self.arguments, self.keywords)
        self.at = []  # of every array (which argument, which of a sequence), and whether there is a gradient in it
        self.arrays = []
        for i, (x, arg) in enumerate(itertools.zip_longest(self.inputs, self.op.inputs)):
            for j, item in enumerate(x if isinstance(x, list) else [x]):
                if isinstance(item, np.ndarray):
                    self.at.append((i, j if isinstance(x, list) else None, arg.has_gradient and item.dtype.kind in "fc"))
                    self.arrays.append(jnp.asarray(item))
        self.differentiable_outputs = [k for k, (_, _, has) in enumerate(self.at) if has]

    def __call__(self, *arrays, moved=False):
        given = [list(x) if isinstance(x, list) else x for x in self.inputs]
        for (i, j, _), array in zip(self.at, arrays):
            if j is None:
                given[i] = array
            else:
                given[i][j] = array
        names = [a.name for a in self.op.inputs]
        beside = {n: x for n, x in zip(names[len(self.arguments) :], given[len(self.arguments) :]) if x is not None}
        positional = given[: len(self.arguments)]
        positional = self.valid(positional) if moved and self.valid else positional
        return tuple(made(self.compute(*positional, **beside, **self.options)))

    def of_graded(self, *numbers, moved=False):
        arrays = list(self.arrays)
        for k, x in zip(self.differentiable_outputs, numbers):
            arrays[k] = x
        return tuple(graded(self.op, self(*arrays, moved=moved)))

    def of_moved(self, *numbers):
        """The same of numbers that are others than the case's."""
        return self.of_graded(*numbers, moved=True)

    @property
    def numbers(self):
        return tuple(self.arrays[k] for k in self.differentiable_outputs)

    def energy(self, *numbers):
        return sum(jnp.real(y * y.conj()).sum() for y in self.of_moved(*numbers))


def normal(rng, like):
    v = rng.standard_normal(like.shape) + (1j * rng.standard_normal(like.shape) if jnp.iscomplexobj(like) else 0)
    return np.asarray(v, like.dtype)


def assert_same(got, expected):
    assert isinstance(got, jax.Array)
    assert got.dtype == expected.dtype
    np.testing.assert_array_equal(np.asarray(got), expected)


def scan_arrays(rng, shape=(3, 50), dtype=np.float32):
    return [jnp.asarray(x, dtype) for x in rng.standard_normal((2, *shape))]
