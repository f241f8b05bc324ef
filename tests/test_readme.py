"""README.md: its programs run, and its names, numbers, pictures and links exist."""

import functools
import inspect
import json
import re
from pathlib import Path

import numpy as np
import pytest

import quatrefoil as qf
from quatrefoil._public import everything

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
needs_sources = pytest.mark.skipif(not (ROOT / "csrc").is_dir(), reason="no sources here")


def test_names_exist():
    names = [
        n
        for cell in re.findall(r"^\| .*? \| (\[.*) \|$", README, re.M)
        for n in re.findall(r"`(?:qf\.|quatrefoil\.)?([\w.]+)(?:\(\))?`", cell)
    ]
    assert len(names) > 10
    modules = [qf, *(getattr(qf, family) for family in qf.FAMILIES)]
    for name in set(names) - {"torch.nn"}:  # needs PyTorch
        assert any(functools.reduce(lambda thing, part: getattr(thing, part, None), name.split("."), module) for module in modules), name


def test_the_program_runs_and_means_what_it_says():
    names = {}
    [program] = re.findall(r"```python\n(.*?)```", README, re.S)
    assert len(program.splitlines()) <= 10
    exec(program, names)
    gp, off = names["gp"], names["mean"] - names["truth"]
    assert gp.noise_ == pytest.approx(0.04, rel=0.1)
    assert 0.5 < np.sqrt(np.mean((off / names["deviation"]) ** 2)) < 1.5
    assert np.sqrt(np.mean(off**2)) < 0.03


def test_links_are_absolute_where_the_metadata_are_published(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "cmake")
    from quatrefoil_metadata import absolute

    text = absolute(README, "https://example.org/quatrefoil")
    assert "![The table" in text
    assert "(https://example.org/quatrefoil/raw/main/docs/_static/kron.png)" in text
    assert not [target for target in re.findall(r"\]\(([^)\s]+)\)", text) if not target.startswith("https://")]
    assert absolute(text, "https://example.org/other") == text
    assert absolute("[a](#b) [c](https://example.net)", "https://example.org") == "[a](#b) [c](https://example.net)"


LOSSES = [("matvec", "2x512 float64"), ("labels", "4 stars, 1024 segments, 2048 x 10 walks; RMS error 0.056, finite elements 0.021")]
PEERS = {
    "PyTorch, tuned by hand": "torch tuned",
    "SciPy's conjugate gradients": "scipy cg, np.matmul",
    "PyTorch's autograd": "torch autograd",
    "a loop in Numba": "numba brute force",
    "NumPy's matmul": "np.matmul",
    "scikit-fem": "finite elements",
}


@needs_sources
def test_what_was_measured_is_what_the_file_says():
    rows = [row for file in (ROOT / "bench/results").glob("*.json") for row in json.loads(file.read_text())["rows"]]
    told = re.findall(r"^\| .*? \| (.*?) \| ([\d.]+) \|$", README, re.M)
    cases = re.findall(r"`([^`]+)`, ([^;]+?)[;.] ", " ".join(README.split()).partition("The cases: ")[2].partition(" All sizes")[0] + " ")
    assert len(cases) == 4
    for (peer, ratio), (problem, size) in zip(told, [*cases, *LOSSES], strict=True):
        row = next(r for r in rows if (r["problem"], r["size"]) == (problem, size))
        ratios = {name: p["ratio"] for name, p in row["peers"].items() if "ratio" in p}
        strongest = min(ratios, key=ratios.get)
        assert (PEERS[peer], ratio) == (strongest, f"{ratios[strongest]:.2g}"), problem
    assert all(float(ratio) < 1 for _, ratio in told[4:])  # losses too


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
    pages = {f"{f}.{n}": getattr(getattr(qf, f), n) for f in ("ssm", "kron", "cheb", "wos") for n in everything(getattr(qf, f))}
    takes = {n: set(inspect.signature(p).parameters) for n, p in pages.items() if callable(p) and not inspect.isclass(p)}
    without_kernel = {"chebpts", "coulomb_sog", "discretize", "dplr_legs", "hippo_legs", "install", "optimal_samples", "potential"}
    without_kernel |= {"ptd_init", "s4d_init", "transfer_function", "tucker"}
    assert {n.split(".")[1] for n, found in takes.items() if not {"backend", "num_threads"} <= found} == without_kernel
    # a tuple, a Result, a number; drawn, not computed into memory of the caller's
    several = {"cheb.tucker_derivatives", "ssm.s4d_step", "ssm.selective_state_step", "wos.closest_point", "wos.solve"}
    several |= {f"kron.{n}" for n in ("gp_nll", "gp_posterior", "gp_posterior_sample", "gp_sample", "sum_logdet")}
    others = {"ssm.causal_conv1d_update", "ssm.selective_state_update", "ssm.mamba_inner_fn"}
    for name, found in takes.items():
        if name.split(".")[1] not in without_kernel and name not in several:
            assert ("out" in found) == (not name.endswith("_vjp") and name not in others), name
    assert {"backend", "num_threads"} <= set(inspect.signature(qf.kron.KroneckerOperator).parameters)
