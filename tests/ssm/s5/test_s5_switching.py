"""The line that the README gives to users of lindermanlab/S5 runs, and means what it meant there."""

import numpy as np
import pytest

from ssm.switching import lines


@pytest.mark.parametrize(("conj_sym", "bidirectional"), [(True, False), (False, False), (True, True)])
def test_the_line_is_upstreams_scan(rng, conj_sym, bidirectional):
    before, after = lines("s5/README.md", "## Switching from lindermanlab/S5", 2)
    with pytest.raises(ModuleNotFoundError):
        exec(before, {})
    P, H, L = 4, 3, 25
    names = {"conj_sym": conj_sym, "bidirectional": bidirectional, "u": rng.standard_normal((L, H))}
    names["Lambda_bar"] = 0.9 * np.exp(1j * rng.uniform(0, 3, P))
    names["B_bar"] = rng.standard_normal((P, H)) + 1j * rng.standard_normal((P, H))
    names["C_tilde"] = rng.standard_normal((H, P * (1 + bidirectional))) + 1j * rng.standard_normal((H, P * (1 + bidirectional)))
    exec(after, names)
    fed = names["u"] @ names["B_bar"].T

    def scan(fed):  # what associative_scan computes there, one step at a time
        x, states = np.zeros(P, complex), []
        for row in fed:
            x = names["Lambda_bar"] * x + row
            states.append(x)
        return np.array(states)

    states = scan(fed)
    if bidirectional:
        states = np.concatenate([states, scan(fed[::-1])[::-1]], axis=-1)
    np.testing.assert_allclose(names["y"], (2 if conj_sym else 1) * (states @ names["C_tilde"].T).real, atol=1e-11)
