"""A few of the fuzzer's random programs over walks, each against an exact solution, and in other units."""

import numpy as np
import pytest

import fuzz

ATTACKS = [attack for attacks in fuzz.attacks() for attack in attacks if attack.__module__.startswith("wos.")]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda f: f.__name__)
def test_programs(best_backend, seed, attack):
    for number in range(40):
        print(seed, number)
        attack(np.random.default_rng([seed, number]), best_backend)
