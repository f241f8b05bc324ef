"""A few of the fuzzer's random programs over the tensors and the methods of this family, each against dense arrays or direct sums."""

import numpy as np
import pytest

import fuzz

ATTACKS = [attack for attacks in fuzz.attacks() for attack in attacks if attack.__module__.startswith("cheb.")]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda f: f.__name__)
def test_programs(backend, seed, attack):
    for number in range(30):
        print(seed, number)
        attack(np.random.default_rng([seed, number]), backend)
