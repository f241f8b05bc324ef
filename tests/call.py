"""Cases as users of PyTorch or JAX call them."""

import itertools

import numpy as np

from case import adjoint_arguments, build, call_of, flat, graded, made, op_of, vjp_of


class Call:
    """A case as a function of its arrays, which ``convert`` makes of NumPy's, or of those that have gradients."""

    def __init__(self, family, case, rng, convert, precision="float64"):
        self.op, self.compute, self.valid = op_of(family, case.op), call_of(family, case), case.valid
        self.compute_vjp = vjp_of(family, case) if self.op.adjoint else None
        self.arguments, self.keywords = build(family, case, rng, precision)
        self.inputs, self.options = adjoint_arguments(self.op, self.arguments, self.keywords)
        self.at = []  # of every array (which argument, which of a sequence), and whether there is a gradient in it
        self.arrays = []
        for i, (x, arg) in enumerate(itertools.zip_longest(self.inputs, self.op.inputs)):
            for j, item in enumerate(x if isinstance(x, list) else [x]):
                if isinstance(item, np.ndarray):
                    self.at.append((i, j if isinstance(x, list) else None, arg.has_gradient and item.dtype.kind in "fc"))
                    self.arrays.append(convert(item))
        self.with_gradient = [k for k, (_, _, has) in enumerate(self.at) if has]

    def __call__(self, *arrays, moved=False):
        given = [list(x) if isinstance(x, list) else x for x in self.inputs]
        for (i, j, _), array in zip(self.at, arrays):
            if j is None:
                given[i] = array
            else:
                given[i][j] = array
        names = [a.name for a in self.op.inputs]
        more = {n: x for n, x in zip(names[len(self.arguments) :], given[len(self.arguments) :]) if x is not None}
        positional = given[: len(self.arguments)]
        positional = self.valid(positional) if moved and self.valid else positional
        return tuple(made(self.compute(*positional, **more, **self.options)))

    def of_graded(self, *numbers, moved=False):
        arrays = list(self.arrays)
        for k, x in zip(self.with_gradient, numbers):
            arrays[k] = x
        return tuple(graded(self.op, self(*arrays, moved=moved)))

    def of_moved(self, *numbers):
        """The same of numbers that are others than the case's."""
        return self.of_graded(*numbers, moved=True)

    @property
    def numbers(self):
        return tuple(self.arrays[k] for k in self.with_gradient)

    def energy(self, *numbers):
        """The sum of the squares of the results."""
        return sum((y * y.conj()).real.sum() for y in self.of_moved(*numbers))

    def vjp(self, grads):
        """What NumPy's users get from the adjoint."""
        several = len(self.op.differentiable_outputs) > 1
        return list(flat(self.compute_vjp(*self.inputs, tuple(grads) if several else grads[0], **self.options)))
