"""The ops of this family as functions, ``walk``, ``walk_vjp``, ``place``, ..., with defaults for options that most tests omit."""

import functools

from quatrefoil import wos
from quatrefoil._call import call, call_vjp

DEFAULTS = {
    "dirichlet_kind": "number", "source_kind": "none", "neumann_kind": "none", "robin_kind": "none", "diffusion_kind": "none",
    "screening_kind": "none", "seed": 0, "first_walk": 0, "walks": 64, "max_steps": 1024, "gradient": False, "screening": 0.0,
    "first_instance": 0, "first_point": 0, "outside": False, "endless": False, "closed": True, "sign": False, "where": True,
    "weights": False, "samples": 1, "modes": 16, "nrhs": 1, "sourced": False, "events": 0, "reach": 0.0, "rate": 0.0,
    "varies": False, "sobol": False,
}  # fmt: skip


@functools.cache
def __getattr__(name):
    op = next((op for op in wos.OPS if op.name == name), None)
    if op is None:
        raise AttributeError(name)
    options = tuple((o.name, DEFAULTS[o.name]) for o in op.options)
    inputs, extras = tuple(a.name for a in op.inputs), tuple(e.name for e in op.extras)
    known = {*inputs, *extras, *dict(options)}

    def run(*arrays, backend=None, num_threads=None, **keywords):
        for key in keywords.keys() - known:
            raise TypeError(f"{name}() got an unexpected keyword argument {key!r}")
        settings = tuple(keywords.get(key, value) for key, value in options), tuple(keywords.get(key) for key in extras)
        if op.primal is not None:
            return call_vjp(op.primal, arrays, *settings, backend, num_threads)
        rest = tuple(keywords.get(key) for key in inputs[len(arrays) :])
        return call(op, (*arrays, *rest), *settings, None, backend, num_threads)

    return run
