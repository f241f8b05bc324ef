"""A few of the fuzzer's random programs, each against dense arrays, direct sums or exact solutions."""

import numpy as np
import pytest

import fuzz
import quatrefoil as qf
from case import BACKENDS

ATTACKS = [attack for attacks in fuzz.attacks() for attack in attacks]
COUNTS = {"kron": 6, "cheb": 15, "wos": 20}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("part", [0, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda f: f"{f.__module__}.{f.__name__}")
def test_programs(attack, part, seed):
    family = attack.__module__.partition(".")[0]
    # for the other families, compiling with Numba takes too long
    for backend in BACKENDS if family in ("kron", "cheb") else BACKENDS[:1]:
        for number in range(part * COUNTS[family], (part + 1) * COUNTS[family]):
            print(backend, seed, number)
            with qf.use_backend(backend):
                attack(np.random.default_rng([seed, number]), backend)
