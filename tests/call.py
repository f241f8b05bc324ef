"""Cases as a PyTorch or JAX user would call them."""

import itertools

import numpy as np

from case import adjoint_arguments, arrays_of, build, call_of, differentiable_results, flat, op_of, vjp_of


class Call:
    """A case as a function of all its arrays, or of the differentiable ones. ``convert`` turns NumPy arrays into those of the library."""

    def __init__(self, family, case, rng, convert, precision="float64"):
        self.op, self.compute, self.valid = op_of(family, case.op), call_of(family, case), case.valid
        self.compute_vjp = vjp_of(family, case) if self.op.adjoint else None
        self.arguments, self.keywords = build(family, case, rng, precision)
        self.inputs, self.options = adjoint_arguments(self.op, self.arguments, self.keywords)
        self.positions = []  # per array: index of the argument, index in a sequence or None, whether it is differentiable
        self.arrays = []
        for i, (x, arg) in enumerate(itertools.zip_longest(self.inputs, self.op.inputs)):
            for j, item in enumerate(x if isinstance(x, list) else [x]):
                if isinstance(item, np.ndarray):
                    self.positions.append((i, j if isinstance(x, list) else None, arg.has_gradient and item.dtype.kind in "fc"))
                    self.arrays.append(convert(item))
        self.with_gradient = [k for k, (_, _, has_gradient) in enumerate(self.positions) if has_gradient]

    def __call__(self, *arrays, moved=False):
        inputs = [list(x) if isinstance(x, list) else x for x in self.inputs]
        for (i, j, _), array in zip(self.positions, arrays):
            if j is None:
                inputs[i] = array
            else:
                inputs[i][j] = array
        count = len(self.arguments)
        by_name = {arg.name: x for arg, x in zip(self.op.inputs[count:], inputs[count:]) if x is not None}
        positional = self.valid(inputs[:count]) if moved and self.valid else inputs[:count]
        return tuple(arrays_of(self.compute(*positional, **by_name, **self.options)))

    def of_differentiable(self, *values, moved=False):
        """The differentiable results for new values of the differentiable arrays. ``moved``: whether they differ from the case's."""
        arrays = list(self.arrays)
        for k, x in zip(self.with_gradient, values):
            arrays[k] = x
        return tuple(differentiable_results(self.op, self(*arrays, moved=moved)))

    def of_moved(self, *values):
        """``of_differentiable`` for arrays other than those of the case."""
        return self.of_differentiable(*values, moved=True)

    @property
    def differentiable(self):
        return tuple(self.arrays[k] for k in self.with_gradient)

    def energy(self, *values):
        """The sum of the squares of the results."""
        return sum((y * y.conj()).real.sum() for y in self.of_moved(*values))

    def vjp(self, grads):
        """The gradients from the adjoint, as a NumPy user gets them."""
        several = len(self.op.differentiable_outputs) > 1
        return list(flat(self.compute_vjp(*self.inputs, tuple(grads) if several else grads[0], **self.options)))
