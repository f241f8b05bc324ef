"""README.md: its programs run, and its names, numbers, pictures and links exist."""

import inspect
import json
import re
from pathlib import Path

import numpy as np
import pytest

import quatrefoil as qf

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
FLAT = " ".join(README.split())
needs_sources = pytest.mark.skipif(not (ROOT / "csrc").is_dir(), reason="no sources here")


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
