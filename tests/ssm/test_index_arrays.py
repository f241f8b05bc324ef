"""Index arrays in programs compiled by torch.compile and JAX. No Python function checks them there, so the kernels must."""

import functools
import importlib.util

import numpy as np
import pytest

import quatrefoil as qf
from case import arrays_of
from quatrefoil import _backends
from quatrefoil._spec import FAMILIES
from ssm.delta.cases import channels, delta, gla
from ssm.selective.cases import step, varlen
from ssm.ssd.cases import scan

ENDS = [[0, 6, 2, 9], [-3, 2, 9], [0, 700, 9], [0, 4, 700], [0, 4, -1], [2**62, 2**62 + 5, 9]]
ROWS = [[1, 1], [2, 4], [-1, 2**40]]
BACKENDS = [name for name in ("native", "numba", "array") if _backends.reason(name) is None]
PACKED = {"lengths": (4, 0, 5), "options": {"output_final_state": True}}
# name: (function that draws the inputs, index argument, invalid indices)
OPS = {
    "mamba_chunk_scan_combined": (
        scan((1, 9, 2), 3, 4, chunk=4, D=None, gate=False, bias=False, cuts=[0, 4, 4, 9], return_varlen_states=True), "cu_seqlens", ENDS,
    ),
    "chunk_gated_delta_rule": (delta(1, 9, 2, 3, 4, gates="", **PACKED), "cu_seqlens", ENDS),
    "chunk_simple_gla": (gla(1, 9, 2, 3, 4, gates="", **PACKED), "cu_seqlens", ENDS),
    **{op: (channels(op)(1, 9, 2, 3, 4, **PACKED), "cu_seqlens", ENDS) for op in ("chunk_kda", "chunk_gdn2", "chunk_dplr_delta_rule")},
    "causal_conv1d_varlen_states": (varlen([3, 0, 4], 3, 3, before=1, after=1), "cu_seqlens", ENDS),
    "selective_state_step": (step(2, 3, 2, rows=[3, -1], count=4, skip=False, gate=False, bias=False), "state_batch_indices", ROWS),
}  # fmt: skip


def problem(name):
    """(dictionary of the inputs except the indices, valid indices, options)."""
    arrays, more = OPS[name][0](np.random.default_rng(8))
    names = [a.name for a in getattr(FAMILIES["ssm"], name).inputs]
    inputs = {n: x for n, x in (dict(zip(names, arrays)) | more).items() if isinstance(x, np.ndarray)}
    return inputs, inputs.pop(OPS[name][1]), {n: x for n, x in more.items() if n not in names}


def case(name):
    """(function of the indices for arrays of any library, valid indices, invalid indices)."""
    (inputs, right, options), (_, argument, wrong) = problem(name), OPS[name]

    def call(array, backend):
        converted = {n: array(x) for n, x in inputs.items()}
        return lambda where: arrays_of(getattr(qf.ssm, name)(**converted, **{argument: where}, **options, backend=backend))

    return call, right, wrong


@pytest.mark.parametrize("name", OPS)
def test_functions_reject_invalid_indices(name):
    call, right, wrong = case(name)
    for backend in BACKENDS:
        call(np.asarray, backend)(right)
        for numbers in wrong:
            with pytest.raises(ValueError, match=rf"^ssm\.{name}: {OPS[name][1]}"):
                call(np.asarray, backend)(np.array(numbers))


def of_torch(call, backend):
    torch = pytest.importorskip("torch")
    torch._dynamo.reset()
    program = torch.compile(call(torch.from_numpy, backend), backend="aot_eager", fullgraph=True)
    return lambda where: [x.numpy() for x in program(torch.tensor(where))], ValueError


def of_jax(call, backend):
    jax = pytest.importorskip("jax", minversion="0.5")
    program = jax.jit(call(jax.numpy.asarray, backend))
    return lambda where: [np.asarray(x) for x in program(np.array(where))], (ValueError, jax.errors.JaxRuntimeError)


LIBRARIES = [pytest.param(of_torch, marks=pytest.mark.torch)]
if importlib.util.find_spec("jax"):
    from traced import double_precision  # noqa: F401

    LIBRARIES.append(of_jax)


@pytest.mark.parametrize("name", OPS)
@pytest.mark.parametrize("make", LIBRARIES)
def test_programs_reject_invalid_indices(make, name):
    call, right, wrong = case(name)
    for backend in BACKENDS:
        program, error = make(call, backend)
        for got, expected in zip(program(right), call(np.asarray, backend)(right)):
            np.testing.assert_allclose(got, expected, rtol=1e-13, atol=1e-13)
        for numbers in wrong:
            check_rejects(functools.partial(program, numbers), error, name, numbers, backend)


@pytest.mark.torch
@pytest.mark.parametrize("name", OPS)
def test_gradients_reject_invalid_indices(name):
    """Call the operator alone: in a program, the result is computed first and raises the error."""
    torch = pytest.importorskip("torch")
    from quatrefoil.torch import _library

    (others, right, options), (_, argument, wrong) = problem(name), OPS[name]
    op = getattr(FAMILIES["ssm"], name)
    options = tuple({"dt_max": np.inf, "dt_min": 0.0, "scale": 0.5, **options}.get(o.name, False) for o in op.options)

    def run(where, backend):
        inputs = [np.array(where) if a.name == argument else others.get(a.name) for a in op.inputs]
        shapes = op.infer([None if x is None else x.shape for x in inputs], options)
        arguments = [None if x is None else torch.from_numpy(np.asarray(x)) for x in [*inputs, *[s and np.ones(s) for s in shapes]]]
        return [x.numpy() for x in _library.registered[op.adjoint.key](*_library.pack(op.adjoint, arguments, options, backend, 0))]

    for backend in BACKENDS:
        assert all(np.isfinite(x).all() for x in run(right, backend))
        for numbers in wrong if backend != "array" or argument == "cu_seqlens" else ():
            check_rejects(functools.partial(run, numbers, backend), ValueError, name, numbers, backend)


def check_rejects(run, error, name, numbers, backend):
    """Kernels raise an error; a composition does not read values, and returns NaN for invalid indices."""
    if backend != "array":
        with pytest.raises(error, match=rf"ssm\.{name}(_vjp)?: {OPS[name][1]}"):
            run()
    elif OPS[name][1] == "cu_seqlens":
        assert all(np.isnan(x).all() for x in run())
    else:  # NaN for an item without a row, or with the row of a different item
        out, states = run()
        assert np.isnan(out).all(axis=1).tolist() == [False, True]
        assert np.isfinite(states).all()


@pytest.mark.torch
@pytest.mark.parametrize("backend", BACKENDS)
def test_compiled_torch_reports_duplicate_rows_as_nan(backend):
    """If two items of causal_conv1d_update use one row, array code around the op must return NaN for the second one."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(8)
    x, state, weight = (torch.from_numpy(rng.standard_normal(s)) for s in ((3, 2), (4, 2, 3), (2, 4)))
    torch._dynamo.reset()
    call = lambda state, rows: qf.ssm.causal_conv1d_update(x, state, weight, None, "silu", None, rows, backend=backend)  # noqa: E731
    program = torch.compile(call, backend="aot_eager", fullgraph=True)
    for rows, lost in (([2, 0, 3], []), ([2, -1, 3], []), ([1, 1, 3], [1]), ([0, -1, 0], [2]), ([-1, -1, -1], []), ([3, 3, 3], [1, 2])):
        updated, expected = state.clone(), state.clone()
        y = program(updated, torch.tensor(rows))
        single = [-1 if i in lost else row for i, row in enumerate(rows)]
        reference = call(expected, torch.tensor(single))
        reference[lost] = torch.nan
        torch.testing.assert_close(y, reference, equal_nan=True)
        torch.testing.assert_close(updated, expected)
    with pytest.raises((IndexError, RuntimeError), match=r"out of (bounds|range)"):
        program(state.clone(), torch.tensor([0, 1, 4]))
