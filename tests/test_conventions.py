"""The public interface and ``help(qf.conventions)``: names, signatures, settings and examples."""

import doctest
import importlib
import inspect
import weakref
from pathlib import Path

import numpy as np
import pytest

import quatrefoil as qf
from quatrefoil._public import exported_names

FAMILIES = [qf.ssm, qf.kron, qf.cheb, qf.wos]
PACKAGE = Path(qf.__file__).parent
SCRIPTS = ("bench", "demo")  # nothing public
WITH_EXAMPLES = [
    ".".join(("quatrefoil", *p.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
    for p in sorted(PACKAGE.rglob("*.py"))
    if ">>> " in p.read_text() and p.relative_to(PACKAGE).parts[0] not in (*SCRIPTS, "jax")  # run by test_jax.py
]
PAGES = {f"{family.__name__}.{name}": getattr(family, name) for family in FAMILIES for name in exported_names(family)}
MODULES = [qf, *FAMILIES, *(page for page in (getattr(f, n) for f in FAMILIES for n in f.__all__) if inspect.ismodule(page))]
SHORT = ("_vjp", ".coeffs2vals")  # documented with another function


def test_every_page_points_to_the_conventions():
    for name, page in PAGES.items():
        if callable(page) and "num_threads" in inspect.signature(page).parameters and not name.endswith(SHORT):
            assert "As in ``help(qf.conventions)``" in page.__doc__, name


def test_dir_shows_public_names():
    assert {qf.ssm.init, qf.ssm.mamba, qf.ssm.fla, qf.cheb.orthopoly} <= {*MODULES}
    assert dir(qf.torch) == ["nn"]
    for module in MODULES:
        assert dir(module) == sorted({*module.__all__, *["torch"] * (module is qf)}), module
        assert len(dir(module)) <= 30, module
        assert not [n for n in dir(module) if n.endswith("_vjp") or getattr(module, n) is None], module
        with pytest.raises(AttributeError, match="smm"):
            module.smm  # noqa: B018


def test_unknown_names_get_hints():
    for module, name, text in (
        (qf.ssm, "S4D", "layers are in quatrefoil.torch.nn: from quatrefoil.torch.nn import S4D"),
        (qf.ssm, "selective_scan", "did you mean selective_scan_fn"),
        (qf.wos, "Polygone", "did you mean Polygon"),
        (qf.ssm.mamba, "", "has no attribute ''"),  # documentation tools look this up
        (qf.ssm, "long_conv", "has no attribute 'long_conv'; use fft_conv"),
        (qf.ssm.mamba, "selective_scan", "module 'quatrefoil.ssm.mamba' has no .* did you mean selective_scan_fn"),
        (qf.ssm.fla, "chunk_gla", "use chunk_simple_gla for one decay per head"),
        (qf, "fft_conv", "use quatrefoil.ssm.fft_conv"),
        (qf, "nn", "layers are in quatrefoil.torch.nn"),
        (qf.torch, "S4D", "from quatrefoil.torch.nn import S4D"),
    ):
        with pytest.raises(AttributeError, match=text):
            getattr(module, name)


@pytest.mark.torch
def test_unknown_names_of_layers_get_hints():
    pytest.importorskip("torch")
    assert qf.ssm.mamba.Mamba is qf.torch.nn.Mamba
    for name, text in (("S4", "use S4D, or quatrefoil.ssm.s4_kernel"), ("FFTConv", "quatrefoil.ssm.fft_conv"), ("Mamba3", "Mamba")):
        with pytest.raises(AttributeError, match=f"module 'quatrefoil.torch.nn' has no attribute '{name}'; .*{text}"):
            getattr(qf.torch.nn, name)


def test_families_export_more_than_dir_shows():
    for family in FAMILIES:
        modules = [m for m in MODULES if m.__name__.startswith(family.__name__) and m is not qf.cheb.orthopoly]
        assert not [n for m in modules for n in m.__all__ if not hasattr(family, n)]
        adjoints = [op.adjoint.name for op in family.OPS if op.adjoint and op.name in exported_names(family)]
        assert not set(adjoints) - set(exported_names(family))
    exported = {*exported_names(qf.ssm), *exported_names(qf.cheb), *exported_names(qf.wos)}
    assert {"PTD", "Installation", "selective_scan_fn_vjp", "Potential", "SumOfGaussians", "TuckerTensor", "Result", "State"} <= exported


def test_signatures_show_annotations_as_written():
    assert str(inspect.signature(qf.ssm.fft_conv)).startswith("(u: Array[T], k: Array[T], D: Array[T] | None = None, *, ")
    for name, page in PAGES.items():
        for function in (page, page.__init__, *vars(page).values()) if inspect.isclass(page) else (page,):
            if inspect.isfunction(function):
                quoted = [p for p in inspect.signature(function).parameters.values() if repr(p.annotation).startswith("'")]
                assert not quoted, name


def test_settings_come_last_and_by_keyword():
    for name, page in PAGES.items():
        if callable(page) and not inspect.isclass(page):
            parameters = [p for p in inspect.signature(page).parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
            at = [i for i, p in enumerate(parameters) if p.name in ("out", "backend", "num_threads")]
            assert at == list(range(len(parameters) - len(at), len(parameters))), name
            assert all(parameters[i].kind is inspect.Parameter.KEYWORD_ONLY for i in at), name


def test_settings_of_each_function():
    takes = {
        name.removeprefix("quatrefoil."): set(inspect.signature(page).parameters)
        for name, page in PAGES.items()
        if callable(page) and not inspect.isclass(page)
    }
    without_kernel = {"chebpts", "coulomb_sog", "discretize", "dplr_legs", "hippo_legs", "install", "optimal_samples", "potential"}
    without_kernel |= {"ptd_init", "s4d_init", "transfer_function", "tucker", "uninstall", "exponential_integrator"}
    assert {n.split(".")[1] for n, settings in takes.items() if not {"backend", "num_threads"} <= settings} == without_kernel
    # without out=, because they return several arrays, a number, or random samples
    several = {"cheb.tucker_derivatives", "ssm.s4d_step", "ssm.selective_state_step", "wos.closest_point", "wos.solve"}
    several |= {f"kron.{n}" for n in ("gp_nll", "gp_posterior", "gp_posterior_sample", "gp_sample", "sum_logdet")}
    others = {"ssm.causal_conv1d_update", "ssm.selective_state_update", "ssm.mamba_inner_fn"}
    for name, settings in takes.items():
        if name.split(".")[1] not in without_kernel and name not in several:
            assert ("out" in settings) == (not name.endswith("_vjp") and name not in others), name
    assert {"backend", "num_threads"} <= set(inspect.signature(qf.kron.KroneckerOperator).parameters)


def test_other_array_libraries_are_rejected_and_work_by_dlpack():
    xp = pytest.importorskip("array_api_strict")
    assert hasattr(np.ones(1), "__array_namespace__")
    x = xp.ones((1, 4), dtype=xp.float64)
    with pytest.raises(TypeError, match="u is Array, expected a NumPy, PyTorch, CuPy or JAX array"):
        qf.ssm.fft_conv(x, x)
    np.testing.assert_allclose(qf.ssm.fft_conv(np.from_dlpack(x), np.ones((1, 4))), [[1, 2, 3, 4]], rtol=1e-12)
    assert "``numpy.from_dlpack(x)``" in qf.conventions.__doc__


def test_objects_can_be_referenced_weakly():
    """jax.jit of an object that cannot be referenced weakly crashes the process on the next call."""
    classes = {name: page for name, page in PAGES.items() if inspect.isclass(page) and not issubclass(page, tuple)}
    assert len(classes) > 20
    assert not [name for name, page in classes.items() if not page.__weakrefoffset__]
    assert weakref.ref(qf.cheb.ChebTucker(np.ones((1, 1)), [np.ones((2, 1))] * 2).plan(1e-3))


def test_a_foreign_attribute_layout_is_ignored():
    """Arrays of older releases of JAX have such an attribute."""

    class WithLayout(np.ndarray):
        layout = "rows"

    u = np.ones((1, 4))
    np.testing.assert_array_equal(qf.ssm.linear_scan(u.view(WithLayout), u), qf.ssm.linear_scan(u, u))


def check_examples(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted
    assert not result.failed


@pytest.mark.parametrize("name", [n for n in WITH_EXAMPLES if not n.startswith("quatrefoil.torch.")])
def test_examples_run(name):
    check_examples(name)


@pytest.mark.torch
@pytest.mark.parametrize("name", [n for n in WITH_EXAMPLES if n.startswith("quatrefoil.torch.")])
def test_examples_of_layers_run(name):
    pytest.importorskip("torch")
    if name.endswith("linear_operator"):
        pytest.importorskip("linear_operator")
    check_examples(name)


def test_every_page_has_an_example():
    pages = PAGES | {f"quatrefoil.{n}": getattr(qf, n) for n in qf.__all__}
    pages |= {f"quatrefoil.cheb.orthopoly.{n}": getattr(qf.cheb.orthopoly, n) for n in qf.cheb.orthopoly.__all__}
    assert len(pages) > 130
    assert not [name for name, page in pages.items() if callable(page) and ">>> " not in (page.__doc__ or "")]


@pytest.mark.torch
def test_every_layer_has_an_example():
    nn = pytest.importorskip("quatrefoil.torch.nn")
    assert not [name for name in nn.__all__ if ">>> " not in (getattr(nn, name).__doc__ or "")]
