"""The site and README.md, tested without Sphinx: programs run, the reference is complete, and links have targets."""

import functools
import importlib
import inspect
import math
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import quatrefoil as qf
from quatrefoil._public import exported_names

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
README = (ROOT / "README.md").read_text()
pytestmark = pytest.mark.skipif(not (ROOT / "csrc").is_dir(), reason="needs the sources")


@pytest.mark.slow
def test_the_program_of_the_readme():
    names = {}
    [program] = re.findall(r"```python\n(.*?)```", README, re.S)
    exec(program, names)
    gp, off = names["gp"], names["mean"] - names["truth"]
    assert gp.noise_ == pytest.approx(0.04, rel=0.1)
    assert 0.5 < np.sqrt(np.mean((off / names["deviation"]) ** 2)) < 1.5
    assert np.sqrt(np.mean(off**2)) < 0.03


STARTS = {  # pages linked in the README: (text before their program, check of its results)
    "kron/gphm": ("\n", lambda names: np.abs(names["u"] - np.sin(50 * names["x"])).max() < 1e-6),
    "kron/gp": ("\n", lambda names: np.abs(names["mean"] - names["y"]).mean() < 0.12),
    "ssm/delta": ("\n", lambda names: np.isfinite(names["o"]).all()),
    "ssm/arma": ("\n", lambda names: np.abs(np.hstack([names["start"], names["rest"]]) - names["y"]).max() < 1e-14),
    "wos/query": ("\n", lambda names: True),
    "cheb/particles": ("\n", lambda names: np.isfinite(names["values"]).all()),
    "wos": ("\n## Labels for neural operators\n", lambda names: np.isfinite(names["target"]).all()),
}


@pytest.mark.parametrize("page", STARTS)
def test_a_page_begins_with_a_program_that_runs(page):
    begin, is_right = STARTS[page]
    [program] = re.findall(
        r"```python\n(.*?)```", (ROOT / "csrc" / page / "README.md").read_text().partition(begin)[2].partition("\n#")[0], re.S
    )
    names = {}
    exec(program, names)
    assert is_right(names)


@pytest.fixture(scope="module")
def pages():
    """All pages by path: hand-written pages, those from docs/_generate, and the examples."""
    sys.path.insert(0, str(DOCS))
    try:
        generate, methods = importlib.import_module("_generate"), importlib.import_module("_generate.methods")
    finally:
        sys.path.remove(str(DOCS))
    written = {p.relative_to(DOCS).as_posix(): p.read_text() for p in DOCS.rglob("*.md")}
    written = {
        path: methods.expanded(text, path) for path, text in written.items() if "/" not in path or path.startswith(("tutorials/", "howto/"))
    }
    for path, name in (("index.md", "README.md"), ("contributing.md", "CONTRIBUTING.md")):
        written[path] = methods.relinked((ROOT / name).read_text(), ROOT / name, path.removesuffix(".md"))
    examples = {f"gallery/{p.parent.name}/{p.stem}.rst": p.read_text() for p in (ROOT / "examples").glob("*/*.py")}
    return generate.pages() | written | examples


@pytest.mark.torch
def test_the_s4d_kernel_replaces_the_original():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    names = runpy.run_path(str(DOCS / "programs/replace_s4d_kernel.py"))
    gradients = [names[n].grad for n in ("dt", "A", "C")]
    leaves = [names[n].detach().to(torch.complex128 if n != "dt" else torch.float64).requires_grad_() for n in ("dt", "A", "C")]
    K = names["kernel_before"](*leaves, names["L"])
    K.square().sum().backward()
    assert (names["K"] - K).abs().max() < 1e-5 * K.abs().max()
    for got, x in zip(gradients, leaves):
        assert (got - x.grad).abs().max() < 1e-4 * x.grad.abs().max()


@pytest.mark.slow
def test_programs_run():
    run = {name: runpy.run_path(str(DOCS / f"programs/{name}.py")) for name in ("smooth_grid", "value_and_gradient", "laplace_with_a_hole")}
    assert np.abs(run["smooth_grid"]["mean"] - run["smooth_grid"]["truth"]).max() < 0.2  # the standard deviation of the noise is 0.2
    assert run["value_and_gradient"]["value"].shape == (1_000_000,)
    u = run["laplace_with_a_hole"]["u"]
    assert ((u.value >= -5 * u.stderr) & (u.value <= 1 + 5 * u.stderr)).all()  # the maximum principle


def run_how_to(name):
    names = {}
    for program in re.findall(r"```python\n(.*?)```", (DOCS / f"howto/{name}.md").read_text(), re.S):
        exec(program, names)
    return names


@pytest.mark.torch
def test_how_to_compute_with_operators():
    pytest.importorskip("linear_operator")
    names = run_how_to("kronecker")
    C = names["C"].to_dense().detach().numpy() + 0.1 * np.eye(1200)
    assert names["nll"].item() == pytest.approx(
        (names["y"] @ np.linalg.solve(C, names["y"]) + np.linalg.slogdet(C)[1]) / 2 + 600 * np.log(2 * np.pi)
    )
    assert names["quadratic"].item() == pytest.approx(names["y"] @ np.linalg.solve(C, names["y"]))
    np.testing.assert_allclose(names["covariance"], 2 * names["K"].to_dense()[7, [7, 8, 37]] + [0.1, 0, 0])
    np.testing.assert_allclose(names["smooth"][1], names["batch"][1].solve(names["y"], 0.1))
    assert names["scales"].grad.isfinite().all()
    quadratic = (names["y"] * names["smooth"]).sum(-1)
    np.testing.assert_allclose(names["nlls"], (quadratic + names["logdets"]) / 2 + 600 * np.log(2 * np.pi))


@pytest.mark.torch
def test_the_how_to_page_on_distances_runs():
    pytest.importorskip("torch")
    names = run_how_to("distances")
    inside = names["inside"]
    np.testing.assert_array_equal(names["distance"] < 0, inside)
    np.testing.assert_allclose(names["q"].grad, np.where(inside[:, None], -names["direction"], 0), atol=1e-12)


@pytest.mark.slow
def test_how_to_pages_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    indices = run_how_to("sobol")
    np.testing.assert_allclose(indices["first"], [0.313905, 0.442411, 0], atol=1e-6)
    np.testing.assert_allclose(indices["total"], [0.557589, 0.442411, 0.243684], atol=1e-6)
    costly = run_how_to("costly")
    np.testing.assert_array_equal(costly["later"].coefficients, costly["chaos"].coefficients)
    assert abs(costly["ct"](0.5, 2.0, 3.0) - costly["model"](0.5, 2.0, 3.0)) < 1e-3
    for name, value in (("files", 1), ("neumann", 1 / 3)):
        u = run_how_to(name)["u"]
        assert abs(u.value[0] - value) < 5 * u.stderr[0], name
    problem = run_how_to("problem")
    assert abs(problem["u"].value[1] - problem["u"].value[0]) > 0.1
    assert problem["more"].stderr.max() <= 0.02
    assert problem["target"].shape == (16, 64)
    walks = run_how_to("cluster")
    assert (walks["together"].value == walks["alone"].value).all()
    assert (walks["merged"].value == walks["alone"].value).all()


@pytest.mark.slow
def test_jobs_on_a_cluster():
    """Run the page's program in its own process, because Dask's workers import it."""
    pytest.importorskip("distributed")
    run = subprocess.run([sys.executable, DOCS / "programs/on_a_cluster.py", "0.02"], capture_output=True, text=True, check=True)
    assert "all results are bitwise identical to those of this process" in run.stdout


def test_the_how_to_page_on_tables_runs():
    pytest.importorskip("pandas")
    pytest.importorskip("xarray")
    names = run_how_to("tables")
    assert np.abs(names["filled"].to_numpy() - names["warmth"])[np.isfinite(names["warmth"])].max() < 0.3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ssm", "kron", "cheb", "wos"])
def test_pictures_are_drawn(name, tmp_path):
    pytest.importorskip("matplotlib")
    picture = tmp_path / "picture.png"
    subprocess.run([sys.executable, DOCS / f"programs/draw_{name}.py", picture], check=True, env={**os.environ, "MPLBACKEND": "Agg"})
    assert picture.stat().st_size > 20_000


def after(library):
    """The Python code below each "After" and "or" in a section of docs/switching.md."""
    section = re.search(rf"^## {library}$(.*?)(?=^## |\Z)", (DOCS / "switching.md").read_text(), re.M | re.S)[1]
    return [text for language, text in re.findall(r"```(\w+)\n(.*?)```", section, re.S)[1:] if language == "python"]


@pytest.mark.torch
def test_lines_for_gpytorch():
    torch = pytest.importorskip("torch")
    [ours] = after("gpytorch")
    x = torch.linspace(0, 1, 9, dtype=torch.float64)
    K1, K2 = (torch.exp(-((x[:n, None] - x[:n]) ** 2) / 0.1) + 0.1 * torch.eye(n, dtype=torch.float64) for n in (7, 9))
    y = torch.sin(torch.arange(63.0, dtype=torch.float64))
    names = {"qf": qf, "math": math, "K1": K1, "K2": K2, "y": y, "noise": torch.tensor(0.3, dtype=torch.float64)}
    exec(ours, names)
    C = torch.kron(K1, K2) + 0.3 * torch.eye(63, dtype=torch.float64)
    truth = (names["y"] @ torch.linalg.solve(C, names["y"]) + torch.logdet(C) + 63 * math.log(2 * math.pi)) / 2
    assert names["nll"].item() == pytest.approx(truth.item(), rel=1e-6)


def test_lines_for_flash_linear_attention():
    names = {"qf": qf}
    ours = after("flash-linear-attention")
    for text in ours:
        names["chunk_gated_delta_rule"] = None
        exec(text, names)
        assert names["chunk_gated_delta_rule"] is qf.ssm.chunk_gated_delta_rule
    qf.ssm.uninstall()


def test_lines_for_scikit_learn(rng):
    [ours] = after("scikit-learn")
    x, t = np.linspace(0, 1, 12), np.linspace(0, 2, 10)
    table = np.sin(4 * x)[:, None] * np.cos(3 * t) + 0.1 * rng.standard_normal((12, 10))
    names = {"qf": qf, "np": np, "x": x, "t": t, "table": table}
    exec(ours, names)
    assert np.abs(names["mean"] - np.sin(4 * x)[:, None] * np.cos(3 * t)).max() < 0.2
    assert names["deviation"].shape == table.shape


def test_lines_for_trimesh():
    [ours] = after("trimesh")
    V, F = np.eye(4, 3), np.array([[0, 1, 2], [0, 2, 3], [0, 3, 1], [1, 3, 2]])
    names = {"qf": qf, "V": V, "F": F, "points": np.array([[0.2, 0.2, 0.2], [0.5, 0.5, 0.9], [2.0, 0.0, 0.0]])}
    exec(ours, names)
    assert names["inside"].tolist() == [True, False, False]
    np.testing.assert_allclose(np.linalg.norm(names["closest"] - names["points"], axis=1), names["distance"], atol=1e-12)
    np.testing.assert_allclose(np.abs(names["signed"]), names["distance"], atol=1e-9)


def test_lines_for_tensorly(rng):
    ours = after("tensorly")
    grid = np.linspace(0, 1, 20)
    C = 1 / (1 + grid[:, None, None] + 2 * grid[:, None] + grid**2)
    names = {"qf": qf, "C": C}
    for text in ours:
        exec(text, names)
        full = np.einsum("abc,ia,jb,kc", names["core"], *names["factors"])
        assert np.linalg.norm(full - C) < 1e-8 * np.linalg.norm(C)


def test_lines_for_chebfun():
    [ours] = after("chebfun")
    names = {"qf": qf, "np": np}
    exec(ours, names)
    assert names["v"][0] == pytest.approx(1 / (4 + 0.1 + 0.06), rel=1e-12)
    assert names["g"](np.array([[0.1, 0.2, 0.3]]))[0] == pytest.approx(-0.3 / (4 + 0.1 + 0.06) ** 2, rel=1e-10)
    x, w = np.polynomial.legendre.leggauss(30)
    assert names["s"] == pytest.approx(np.einsum("i,j,k,ijk", w, w, w, 1 / (4 + x[:, None, None] + x[:, None] * x)), rel=1e-12)


def test_lines_for_zombie():
    [ours] = after("zombie")
    outline = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    points = np.array([[0.5, 0.5], [0.3, 0.6]])
    names = {"qf": qf, "outline": outline, "points": points, "g": lambda X: np.exp(X @ [1.0, 1.0])}  # g satisfies Δg = 2g
    exec(ours, names)
    np.testing.assert_allclose(names["u"], np.exp(points.sum(axis=1)), rtol=0.3)  # 128 walks: a standard error of 5 %
    assert set(re.findall(r"(\w+)=", ours)) <= set(inspect.signature(qf.wos.solve).parameters)


def test_every_public_name_is_in_the_reference(pages):
    """Every name is listed as a class or function, on its own page if ``dir`` shows it."""
    documented = set(re.findall(r"auto(class|function):: (?:[\w.]+\.)?(\w+)$", "\n".join(pages.values()), re.M))
    for family in qf.FAMILIES:
        module = getattr(qf, family)
        assert not [name for name in module.__all__ if f"reference/{family}/{name}.rst" not in pages]
        members = {name: getattr(module, name) for name in exported_names(module)}
        kinds = {("class" if inspect.isclass(member) else "function", n) for n, member in members.items() if not inspect.ismodule(member)}
        assert kinds <= documented
    assert {f"reference/general/{name}.rst" for name in set(qf.__all__) - {*qf.FAMILIES, "conventions"}} <= set(pages)


def test_the_readme_shows_the_newest_results(pages):
    """``python docs/_generate/performance.py`` writes its table."""
    assert sys.modules["_generate.performance"].with_table(README, ROOT / "bench" / "results") == README


def test_roles_name_existing_objects(pages):
    """Sphinx with -W, in .ci/run, checks all other links."""
    for text in pages.values():
        for target in re.findall(r"(?:\{|:)(?:func|class|meth)(?:\}|:)`~?([\w.]+)`", text):
            functools.reduce(getattr, target.removeprefix("quatrefoil.").split("."), qf)


def slug(heading):
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def test_links_in_the_repository():
    """Links are relative to the file that contains them."""
    for file in [*(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")), *(ROOT / "csrc").rglob("README.md")]:
        for target in re.findall(r"(?<!\\)\]\(([^)\s]+)\)", file.read_text()):
            path, _, anchor = target.partition("#")
            if not re.search(r"[./#]", target):  # a formula
                continue
            whole = file.parent / path if path else file
            assert whole.exists(), (file, target)
            if anchor:
                assert anchor in {slug(h) for h in re.findall(r"^#+ (.*)$", whole.read_text(), re.M)}, (file, target)


def test_links_are_absolute_where_the_metadata_are_published(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "cmake")
    from quatrefoil_metadata import absolute

    text = absolute(README, "https://example.org/quatrefoil")
    assert "![The table" in text
    assert "(https://example.org/quatrefoil/raw/main/docs/_static/kron.png)" in text
    assert not [target for target in re.findall(r"\]\(([^)\s]+)\)", text) if not target.startswith("https://")]
    assert absolute(text, "https://example.org/other") == text
    assert absolute("[a](#b) [c](https://example.net)", "https://example.org") == "[a](#b) [c](https://example.net)"


def test_examples_use_only_public_names():
    for file in [*ROOT.glob("examples/*/*.py"), *ROOT.glob("docs/programs/*.py")]:
        assert not re.search(r"\b(quatrefoil|qf)(\.\w+)*\._|import _", file.read_text()), file
