"""What README.md says, sentence by sentence: each claim has a test, here or where CLAIMS names it."""

import ast
import inspect
import json
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

import quatrefoil as qf
from case import all_cases, build, call_of, made
from quatrefoil import cli

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
FLAT = " ".join(README.split())
needs_sources = pytest.mark.skipif(not (ROOT / "csrc").is_dir(), reason="no sources here")

CLAIMS = {
    "The same functions run on Numba": "test_ops.py::test_value",
    "through `torch.autograd`": "test_torch.py::test_autograd_same_as_vjp",
    "`torch.func.grad`": "test_torch.py::test_func_grad",
    "and `torch.compile`": "test_torch.py::test_compile",
    "`jax.grad`": "test_jax.py::test_gradient_same_as_vjp",
    "or as plain `*_vjp` functions": "test_ops.py::test_gradient",
    "wrap around in silence": "ssm/convolution/test_convolution.py::test_nothing_wraps_around",
    "clamp eigenvalues": "kron/product/test_operator.py::test_negative_eigenvalues",
    "drop walks": "wos/walk/test_walk_geometry.py::test_max_steps",
    "return zeros for a gradient that does not exist": "wos/walk/test_walk_torch.py::test_what_has_no_gradient_raises",
    "change its answer with the number of threads": "ssm/convolution/test_convolution.py::test_threads_do_not_change_a_bit",
    "the same bits for any `num_threads`": "kron/product/test_product.py::test_threads_do_not_change_a_bit",
    "Where there is no compiler, or where it fails": "test_install.py::test_failed_build_is_recorded_in_a_numba_wheel",
    "`quatrefoil info` repeats the compiler's first error": "test_install.py::test_the_reason_is_told",
    "the first call warns of it": "test_install.py::test_one_warning_at_the_first_call",
    "`qf.set_num_threads(n)`": "test_reliability.py::test_set_num_threads",
    '`with qf.use_backend("numba"):`': "test_conventions.py::test_environment_and_blocks_choose_a_backend",
    "`help(qf.conventions)` says what holds for every function": "test_conventions.py::test_every_page_points_to_the_conventions",
    "version, backend and the reason for it": "test_reliability.py::test_config_is_plain_and_says_why",
    "at most 128 MiB, is kept for the next call": "test_memory.py::test_what_is_kept_is_bounded",
    "count as 0": "test_reliability.py::test_numbers_below_the_least_normal_one_are_zero",
    "The mode of the calling thread is as before afterwards": "test_reliability.py::test_flush_to_zero_is_left_alone",
    "Environment, read at import": "test_reliability.py::test_a_choice_that_cannot_be_met_raises_at_import",
    "`QUATREFOIL_REQUIRE_NATIVE=1` makes a failed compilation an error": "test_install.py::test_required_native_build_fails",
    "`QUATREFOIL_PURE=1` asks for the Numba version": "test_install.py::test_unset_by_value",
    "[state-spaces/s4]": "ssm/s4/test_s4_switching.py::test_a_block_of_low_rank_with_state",
    "[lindermanlab/S5]": "ssm/s5/test_s5_switching.py::test_the_line_is_upstreams_scan",
    "[mamba-ssm and causal-conv1d]": "ssm/mamba/test_mamba_torch.py::test_the_lines_for_those_who_switch",
    "`qf.ssm.install()`, makes [models of transformers]": "ssm/test_transformers.py::test_the_line_of_the_readme",
    "`quatrefoil bench compare A.json B.json` says what became slower": "test_benchmark.py::test_compare",
    "a page of it with pictures": "test_demo.py::test_all_of_it_at_tiny_sizes",
    "(`quatrefoil demo --quick` takes smaller sizes)": "test_demo.py::test_the_quick_demo",
    "the last step of a scikit-learn pipeline": "kron/test_estimators.py::test_last_step_of_a_pipeline",
    "PyTorch modules load upstream's checkpoints": "ssm/s4d/test_s4d_layer.py::test_s4d_state_dict",
    "Small programs to start from": "ssm/test_examples.py::test_ptd_example",
    "CUDA tensors and CuPy arrays are computed on their device": "test_array.py::test_cuda_tensors_stay_on_their_device",
    "never a silent copy": "test_array.py::test_what_cannot_run_on_a_device_says_so",
}


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_claim_is_there_and_has_its_test(claim):
    path, name = CLAIMS[claim].split("::")
    assert claim.lower() in FLAT.lower()
    tests = ast.parse((ROOT / "tests" / path).read_text()).body
    assert name in {t.name for t in tests if isinstance(t, ast.FunctionDef)}


def test_the_names_in_the_table_are_public():
    rows = re.findall(r"^\| `qf\.(\w+)` \|.*?\| (.*) \|$", README, re.M)
    assert [family for family, _ in rows] == ["ssm", "kron", "cheb", "wos"]
    for family, text in rows:
        pages, names = getattr(qf, family), re.findall(r"`(\w+)`", text)
        methods = dir(pages.KroneckerOperator) if family == "kron" else []
        assert len(names) > 1
        for name in names:
            assert name in pages.__all__ or name in methods, name


def test_the_program_runs_and_means_what_it_says():
    names = {}
    exec(re.search(r"```python\n(.*?)```", README, re.S)[1].replace("(8, 256, 4096)", "(2, 3, 100)").replace("256, 4096", "3, 100"), names)
    u, k, y = names["u"], names["k"], names["y"]
    assert (y.shape, y.dtype) == (u.shape, np.float32)
    expected = [[np.convolve(u[b, h], k[h])[:100] for h in range(3)] for b in range(2)]
    np.testing.assert_allclose(y, expected, atol=1e-4)


def test_a_program_of_every_family_runs_and_means_what_it_says():
    names = {}
    programs = re.findall(r"```python\n(.*?)```", README, re.S)[1:]
    assert [p.count("qf." + family) > 0 for p, family in zip(programs, ("ssm", "kron", "cheb", "wos"), strict=True)] == [True] * 4
    for program in programs:
        exec(program.replace("np.random.uniform(-1, 1, (100_000, 3))", "(points := np.random.uniform(-1, 1, (100, 3)))"), names)
    assert names["y"].shape == (4, 2000)
    x, t = names["x"], names["t"]
    off = names["mean"] - np.sin(6 * x)[:, None] * np.cos(5 * t)
    assert np.sqrt(np.mean(off**2)) < 0.1  # that of a single cell
    assert names["gp"].noise_ == pytest.approx(0.01, rel=0.5)
    x, y, z = names["points"].T
    e, c, s = np.exp(-x * x), np.cos(3 * z + x * y), np.sin(3 * z + x * y)
    np.testing.assert_allclose(names["value"], e * c, atol=1e-8)
    np.testing.assert_allclose(names["gradient"], np.stack([e * (-2 * x * c - y * s), -e * x * s, -3 * e * s], axis=1), atol=1e-6)
    u = names["u"]
    assert abs(u.value[0] - 0.5) < 5 * u.stderr[0] + 1e-3
    assert (np.abs(u.grad[0] - [0, 1]) < 5 * u.grad_stderr[0] + 1e-2).all()


@needs_sources
def test_what_was_measured_is_what_the_file_says():
    rows = json.loads((ROOT / "bench/results/amd-epyc-2026-11-27.json").read_text())["rows"]
    told = re.findall(r"^\| (ssm|kron|cheb|wos) `([^`]+)` \| (.*?) \| (.*?) \| (.*?) \|$", README, re.M)
    assert {family for family, *_ in told} == {"ssm", "kron", "cheb", "wos"}
    assert min(float(ratio) for *_, ratio in told) < 1  # losses too
    for family, problem, size, peer, ratio in told:
        row = next(r for r in rows if (r["family"], r["problem"], r["size"]) == (family, problem, size))
        ratios = {name: p["ratio"] for name, p in row["peers"].items() if "ratio" in p}
        assert (peer, ratio) == (min(ratios, key=ratios.get), f"{min(ratios.values()):.2g}")


@needs_sources
def test_pictures_are_small():
    pictures = re.findall(r"!\[[^\]]+\]\((docs/_static/(?:ssm|kron|cheb|wos)\.png)\)", README)
    assert len(pictures) == 4
    assert all((ROOT / p).stat().st_size <= 60_000 for p in pictures)


KINDS = {f"{f}.{c.op}": (f, c) for f, c in all_cases() if c.name == "small"}


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("kind", ["numpy", pytest.param("torch", marks=pytest.mark.torch)])
def test_the_same_kind_comes_out(name, kind, rng):
    family, case = KINDS[name]

    def of_kind(x):
        if isinstance(x, (list, tuple)) and x and isinstance(x[0], np.ndarray):
            return [of_kind(a) for a in x]
        return torch.from_numpy(x) if kind == "torch" and isinstance(x, np.ndarray) else x

    torch = pytest.importorskip("torch") if kind == "torch" else None
    arguments, keywords = build(family, case, rng, "float64")
    result = call_of(family, case)(*map(of_kind, arguments), **{k: of_kind(x) for k, x in keywords.items()})
    assert {type(a) for a in made(result)} == {torch.Tensor if torch else np.ndarray}


@pytest.mark.torch
def test_the_same_kind_comes_out_of_an_operator_but_not_of_what_scipy_makes_of_it():
    torch = pytest.importorskip("torch")
    for make in (np.asarray, torch.tensor):
        K = qf.kron.KroneckerOperator([make([[2.0, 1.0], [1.0, 3.0]]), make([[1.0, 0.0], [0.0, 2.0]])])
        x, X = make([1.0, 2.0, 3.0, 4.0]), make([[1.0, 2.0]] * 4)
        found = [K @ x, K @ X, K.T @ x, x @ K, K.matvec(x), K.rmatvec(x), K.matmat(X), K.solve(x), K.solve(X, 0.1)]
        found += [K.to_dense(), K.diagonal(), K.eigh()[0], *K.eigh()[1].factors]
        assert {type(y) for y in found} == {type(x)}
    K = qf.kron.KroneckerOperator([np.eye(2), np.eye(2)])
    assert all(type(made @ np.ones(4)) is np.ndarray for made in (2 * K, K + K, K @ K))


@needs_sources
def test_the_instruction_sets():
    levels = ", ".join(
        re.findall(r"v\d", re.search(r"set\(QUATREFOIL_ISAS (v4.*?) CACHE", (ROOT / "cmake/quatrefoil.cmake").read_text())[1])[::-1]
    )
    assert levels == "v2, v3, v4"
    assert "x86-64-v2, v3 and v4" in FLAT
    assert "`QUATREFOIL_ISA` (`v2`, `v3`, `v4`)" in FLAT
    assert set(qf.config()["isas"]) <= {"v2", "v3", "v4", "base"}


def test_which_functions_take_which_settings():
    pages = {f"{f}.{n}": getattr(getattr(qf, f), n) for f in ("ssm", "kron", "cheb", "wos") for n in getattr(qf, f).__all__}
    takes = {n: set(inspect.signature(p).parameters) for n, p in pages.items() if callable(p) and not inspect.isclass(p)}
    without_kernel = {
        "hippo_legs",
        "dplr_legs",
        "ptd_init",
        "s4d_init",
        "discretize",
        "transfer_function",
        "chebpts",
        "tucker",
        "optimal_samples",
        "coulomb_sog",
        "potential",
        "install",
    }
    assert {n.split(".")[1] for n, found in takes.items() if not {"backend", "num_threads"} <= found} == without_kernel
    # a tuple, a Result, a number; drawn, not computed into memory of the caller's
    several = {
        "ssm.s4d_step",
        "ssm.selective_state_step",
        "wos.solve",
        "wos.closest_point",
        "cheb.tucker_derivatives",
        "kron.gp_nll",
        "kron.gp_posterior",
        "kron.sum_logdet",
        "kron.gp_sample",
        "kron.gp_posterior_sample",
    }
    others = {"ssm.causal_conv1d_update", "ssm.selective_state_update", "ssm.mamba_inner_fn"}
    for name, found in takes.items():
        if name.split(".")[1] not in without_kernel and name not in several:
            assert ("out" in found) == (not name.endswith("_vjp") and name not in others), name
    assert {"backend", "num_threads"} <= set(inspect.signature(qf.kron.KroneckerOperator).parameters)


def test_the_commands(capsys):
    for command, options in (("bench", ("family ...", "--json FILE", "--plot FILE")), ("demo", ("quatrefoil-demo",)), ("info", ())):
        with pytest.raises(SystemExit):
            cli.main([command, "--help"])
        text = " ".join(capsys.readouterr().out.split())
        assert all(option in text for option in options)
        assert f"quatrefoil {command}" in FLAT


@needs_sources
def test_versions_and_extras_are_those_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"Python {project['requires-python'].removeprefix('>=')} or newer" in FLAT
    asked = {extra for found in re.findall(r"\.\[([\w,]+)\]|quatrefoil\[(\w+)\]", README) for e in found if e for extra in e.split(",")}
    assert asked == {"demo", "test", "bench"}
    assert asked <= set(project["optional-dependencies"])
    assert f"{project['license']}." in FLAT


@needs_sources
def test_the_oldest_clang_is_the_one_that_is_tested():
    oldest = re.search(r'"\$\{2:-(\d+)', (ROOT / ".ci/clang").read_text())[1]
    assert f"GCC 12 or Clang {oldest} or newer" in FLAT


@needs_sources
def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)]+)\)", README):
        path, _, anchor = target.partition("#")
        assert (ROOT / path).exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", (ROOT / path).read_text(), re.M)
            assert anchor in {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}, target
