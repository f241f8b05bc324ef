"""A few of the fuzzer's random programs over functions and models of this family: each against dense matrices, and in other units."""

import numpy as np
import pytest

import fuzz

ATTACKS = [attack for attacks in fuzz.attacks() for attack in attacks if attack.__module__.startswith("kron.")]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda f: f.__name__)
def test_programs(backend, seed, attack):
    for number in range(12):
        print(seed, number)
        attack(np.random.default_rng([seed, number]), backend)
