"""``GPHM`` keeps its state through interrupts and errors, and copies the caller's arrays."""

import numpy as np
import pytest

import quatrefoil as qf
from kron.gphm.attacks import same
from kron.gphm.test_gphm import solver, states


def test_progress(capsys):
    """``attack_programs`` tests interrupts by a callback."""
    gp, seen = solver(N=20, components=3), []
    gp.fit(5, progress=lambda step, loss: seen.append((step, loss)))
    assert seen == list(enumerate(gp.history_["loss"], start=1))
    gp.fit(5, progress=True)
    assert "GPHM: step 6, loss" in capsys.readouterr().err
    np.testing.assert_array_equal(gp.params["U"], solver(N=20, components=3).fit(10).params["U"])


def test_failures_change_nothing():
    gp = solver(N=20, components=3, optimizer="adam").fit(2)
    before = states(gp)
    failing = [
        (lambda: gp.set_params(learning_rate=-1.0), ValueError),
        (lambda: gp.set_params(jitter=-1.0), ValueError),
        (lambda: gp.set_params(axes=[np.zeros(4)]), ValueError),
        (lambda: gp.load_state_dict(gp.state_dict() | {"history.loss": np.array(["x"])}), ValueError),
        (lambda: gp.set_params(learning_rate=1e4).fit(5), (np.linalg.LinAlgError, FloatingPointError)),
    ]
    for call, error in failing:
        with pytest.raises(error):
            call()
        assert gp.jitter is None
        same(states(gp), before, "after an error")
    assert gp.learning_rate == 1e4  # from the call before the failed one


@pytest.mark.parametrize("change", [{"components": 5}, {"jitter": 1e-3}])
def test_changes_during_a_fit_win(change):
    gp, fresh = solver(N=20, components=3), solver(N=20, **{"components": 3, **change})
    with pytest.raises(RuntimeError, match=r"GPHM\.fit: progress, truth or another thread changed the solver"):
        gp.fit(3, progress=lambda step, loss: gp.set_params(**change))
    same(states(gp), states(fresh), change)


class Damped(qf.kron.Poisson):
    def __init__(self, *, rate, source, boundary):
        super().__init__(source=source, boundary=boundary)
        self.rate = rate

    def reaction(self, u):
        return -self.rate * u, -self.rate


def test_arrays_are_copied():
    """Copies of the axes and the equation survive every restart. ``attack_programs`` tests states and components."""
    inputs = [np.linspace(0, 1, 9) ** 1.1, *(np.linspace(a, a + 1, 9) for a in (1, 2, 3))]
    own = [a.copy() for a in inputs]
    pdes = [Damped(rate=rate, source=source, boundary=boundary) for _, rate, source, boundary in (inputs, own)]
    gp, fresh = (qf.kron.GPHM(pde, x[:1], components=3, jitter=1e-4).fit(2) for pde, x in zip(pdes, (inputs, own)))
    pdes[0].source, pdes[0].boundary = 0.0, 0.0
    for a in inputs:
        a[:] = np.nan
    for call in (lambda s: s.fit(2), lambda s: s.set_params(components=4).fit(2), lambda s: s.__sklearn_clone__().fit(1)):
        same(states(call(gp)), states(call(fresh)), "copies")
