"""Numbers that say where others lie, right or wrong at random, in calls whose function does not look at them: as compilers trace them."""

import importlib.util
from unittest import mock

import numpy as np

from case import build, call_of, made, op_of, vjp_of

FAR = [-1, -(2**40), 2**31, 2**40, 2**62]


def attack_of(cases, name, argument, is_right):
    """An attack on an op by some of its cases: ``is_right`` says of the first array and the numbers whether they make sense."""
    own = [c for c in cases if c.op == name and len(_numbers(c, argument)) > 0]

    def attack(rng, backend):
        case = own[rng.integers(len(own))]
        arguments, keywords = build("ssm", case, rng, ("float32", "float64")[rng.integers(2)])
        inputs = [*arguments, *(keywords.pop(a.name, None) for a in op_of("ssm", name).inputs[len(arguments) :])]
        at = [a.name for a in op_of("ssm", name).inputs].index(argument)
        run = _vjp(case, inputs, keywords, rng) if rng.random() < 0.4 else _value(case, inputs, keywords)
        expected = run(inputs, np.asarray)
        given = [*inputs[:at], _spoiled(inputs[at], len(inputs[0]) + 2, rng), *inputs[at + 1 :]]
        with_torch = importlib.util.find_spec("torch") is not None and rng.random() < 0.5
        refusal, what = "", f"{case}: {given[at].tolist()}"
        try:
            with mock.patch("quatrefoil.ssm.selective.places.may_look", return_value=False):
                got = _through_operators(run, given) if with_torch else run(given, np.asarray)
        except ValueError as error:
            refusal = str(error)
        if not is_right(inputs[0], given[at]):
            assert f"ssm.{name}" in refusal, f"{what}: {refusal or 'taken'}"
            assert argument in refusal, f"{what}: {refusal}"
            return
        assert not refusal, f"{what}: {refusal}"
        if np.array_equal(given[at], inputs[at]):
            for g, e in zip(got, expected, strict=True):
                np.testing.assert_array_equal(g, e, err_msg=what)

    attack.__name__ = attack.__qualname__ = f"attack_{argument}_of_{name}"
    return attack


def _numbers(case, argument):
    arguments, keywords = case.make(np.random.default_rng(0))
    named = dict(zip([a.name for a in op_of("ssm", case.op).inputs], arguments)) | keywords
    return [] if named.get(argument) is None else named[argument]


def _value(case, inputs, keywords):
    names = [a.name for a in op_of("ssm", case.op).inputs]
    arrays = {name for name, x in zip(names, inputs) if x is not None}
    compute = call_of("ssm", case)

    def run(given, array):
        return made(compute(**{n: array(x) for n, x in zip(names, given) if n in arrays}, **keywords))

    return run


def _vjp(case, inputs, keywords, rng):
    results = _value(case, inputs, keywords)(inputs, np.asarray)
    grads = [rng.standard_normal(y.shape).astype(y.dtype) for y in results]

    def run(given, array):
        last = tuple(map(array, grads)) if len(grads) > 1 else array(grads[0])
        return made(vjp_of("ssm", case)(*[None if x is None else array(x) for x in given], last, **keywords))

    return run


def _spoiled(numbers, most, rng):
    """One number or two are others, or in another order, or nothing is."""
    spoiled = rng.permutation(numbers) if rng.random() < 0.2 else numbers.copy()
    for _ in range(rng.integers(3)):
        near = [rng.integers(-2, most + 1), spoiled[rng.integers(len(spoiled))], spoiled[0] + rng.integers(-1, 2)]
        spoiled[rng.integers(len(spoiled))] = rng.choice(near) if rng.random() < 0.7 else rng.choice(FAR)
    return spoiled


def _through_operators(run, given):
    """With tensors, by ``torch.ops.quatrefoil``."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    class Passing(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            return function(*args, **(kwargs or {}))

    def tensor(x):
        return torch.from_numpy(np.array(x))

    with Passing():
        return [y.numpy() for y in run(given, tensor)]
