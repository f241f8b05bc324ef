"""``help(qf.conventions)``: every page points to it, and what it says is so. Most of it is what the other suites test."""

import doctest
import importlib
import inspect
import pkgutil

import numpy as np
import pytest

import quatrefoil as qf

FAMILIES = [qf.ssm, qf.kron, qf.cheb, qf.wos]
WITH_DOCTESTS = [
    "quatrefoil.cheb.calculus",
    "quatrefoil.cheb.construction",
    "quatrefoil.cheb.layer",
    "quatrefoil.cheb.nonuniform",
    "quatrefoil.cheb.orthopoly",
    "quatrefoil.cheb.particles",
    "quatrefoil.cheb.particles.longrange",
    "quatrefoil.cheb.particles.sog",
    "quatrefoil.cheb.scattered",
    "quatrefoil.cheb.transform",
    "quatrefoil.cheb.tucker",
    "quatrefoil.kron.gp",
    "quatrefoil.kron.gp.posterior",
    "quatrefoil.kron.gp.sample",
    "quatrefoil.kron.gphm.solver",
    "quatrefoil.kron.gridgp",
    "quatrefoil.kron.mixture",
    "quatrefoil.kron.product",
    "quatrefoil.kron.product.operator",
    "quatrefoil.kron.product.spectral",
    "quatrefoil.kron.slimkl",
    "quatrefoil.kron.twoterm",
    "quatrefoil.ssm.arma",
    "quatrefoil.ssm.delta.delta_rule",
    "quatrefoil.ssm.delta.gated_delta_rule",
    "quatrefoil.ssm.delta.simple_gla",
    "quatrefoil.ssm.mamba.state_update",
    "quatrefoil.ssm.mamba.varlen_states",
    "quatrefoil.ssm.s4d.kernel",
    "quatrefoil.ssm.ssd.block",
    "quatrefoil.ssm.ssd.chunk_scan",
    "quatrefoil.ssm.standins",
    "quatrefoil.wos.data",
    "quatrefoil.wos.labels",
    "quatrefoil.wos.mesh",
    "quatrefoil.wos.query",
    "quatrefoil.wos.solid",
    "quatrefoil.wos.star",
    "quatrefoil.wos.walk.solve",
]
PAGES = {f"{family.__name__}.{name}": getattr(family, name) for family in FAMILIES for name in family.__all__}
SHORT = ("_vjp", ".coeffs2vals")  # their pages are those of another function


def test_every_page_points_to_the_conventions():
    for name, page in PAGES.items():
        if callable(page) and "num_threads" in inspect.signature(page).parameters and not name.endswith(SHORT):
            assert "As in ``help(qf.conventions)``" in page.__doc__, name


def test_settings_come_last_and_by_keyword():
    for name, page in PAGES.items():
        if callable(page) and not inspect.isclass(page):
            given = [p for p in inspect.signature(page).parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
            at = [i for i, p in enumerate(given) if p.name in ("out", "backend", "num_threads")]
            assert at == list(range(len(given) - len(at), len(given))), name
            assert all(given[i].kind is inspect.Parameter.KEYWORD_ONLY for i in at), name


def test_environment_and_blocks_choose_a_backend():
    u = np.ones((1, 4), np.float32)
    with qf.use_backend("numba"):
        np.testing.assert_allclose(qf.ssm.fft_conv(u, u), [[1, 2, 3, 4]], rtol=1e-6)
    with pytest.raises(ValueError, match="unknown backend"):
        qf.ssm.fft_conv(u, u, backend="numpy")
    with pytest.raises(ValueError, match="num_threads is 0, expected at least 1"):
        qf.ssm.fft_conv(u, u, num_threads=0)


@pytest.mark.parametrize("name", WITH_DOCTESTS)
def test_examples_of_pages(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted
    assert not result.failed


def test_examples_are_all_run():
    found = [
        m.name
        for m in pkgutil.walk_packages(qf.__path__, "quatrefoil.")
        if m.name.partition(".")[2].partition(".")[0] in {f.__name__.rpartition(".")[2] for f in FAMILIES}
        and ">>>" in inspect.getsource(importlib.import_module(m.name))
    ]
    assert sorted(found) == WITH_DOCTESTS
