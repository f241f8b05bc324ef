"""The site, without Sphinx: its programs run, every public name is in its reference, every page is listed, every link leads somewhere."""

import functools
import importlib
import inspect
import json
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
from quatrefoil._public import everything

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
pytestmark = pytest.mark.skipif(not (ROOT / "csrc").is_dir(), reason="no sources here")


STARTS = {  # pages that the README sends people to: where their program is, and an error that is small
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
def generated():
    """The generators of docs/_generate."""
    sys.path.insert(0, str(DOCS))
    try:
        names = ("_generate", "equations", "docstrings", "gallery", "methods", "performance", "reference")
        return {n: importlib.import_module(n if n == "_generate" else f"_generate.{n}") for n in names}
    finally:
        sys.path.remove(str(DOCS))


@pytest.fixture(scope="module")
def pages(generated):
    """All pages by their path without ending: what is written and what is made."""
    made = generated["_generate"].pages()
    written = {
        p.relative_to(DOCS).as_posix(): p.read_text()
        for p in DOCS.rglob("*.md")
        if p.relative_to(DOCS).parts[0] in ("tutorials", "howto", p.name)
    }
    written = {path: generated["methods"].expanded(text, path) for path, text in written.items()}
    written["index.md"] = generated["methods"].led((ROOT / "README.md").read_text(), ROOT / "README.md", "index")
    written["contributing.md"] = generated["methods"].led((ROOT / "CONTRIBUTING.md").read_text(), ROOT / "CONTRIBUTING.md", "contributing")
    gallery = {"gallery/index.rst": (ROOT / "examples/GALLERY_HEADER.rst").read_text()}
    gallery |= {f"gallery/{p.parent.name}/{p.stem}.rst": p.read_text() for p in (ROOT / "examples").glob("*/*.py")}
    return {**made, **written, **gallery}


# ---------------------------------------------------------------- the newcomer's programs

PROGRAMS = ("replace_s4d_kernel", "smooth_grid", "value_and_gradient", "laplace_with_a_hole")


def test_a_program_is_short_and_on_its_page(pages):
    for name in PROGRAMS:
        lines = [line for line in (DOCS / f"programs/{name}.py").read_text().splitlines() if line]
        assert len(lines) <= 15, name
        assert sum(f"programs/{name}.py" in text for text in pages.values()) == 1, name


@pytest.mark.torch
def test_the_kernel_that_takes_the_place_of_another():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    names = runpy.run_path(str(DOCS / "programs/replace_s4d_kernel.py"))
    found = [names[n].grad for n in ("dt", "A", "C")]
    given = [names[n].detach().to(torch.complex128 if n != "dt" else torch.float64).requires_grad_() for n in ("dt", "A", "C")]
    K = names["kernel_before"](*given, names["L"])
    K.square().sum().backward()
    assert (names["K"] - K).abs().max() < 1e-5 * K.abs().max()
    for got, x in zip(found, given):
        assert (got - x.grad).abs().max() < 1e-4 * x.grad.abs().max()


@pytest.mark.slow
def test_programs_run():
    """They vary the README's programs; test_readme.py checks the numbers of those."""
    run = {name: runpy.run_path(str(DOCS / f"programs/{name}.py")) for name in PROGRAMS if name != "replace_s4d_kernel"}
    assert np.abs(run["smooth_grid"]["mean"] - run["smooth_grid"]["truth"]).max() < 0.2  # the noise is 0.2 in a single cell
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
    made = run_how_to("kronecker")
    C = made["C"].to_dense().detach().numpy() + 0.1 * np.eye(1200)
    assert made["nll"].item() == pytest.approx(
        (made["y"] @ np.linalg.solve(C, made["y"]) + np.linalg.slogdet(C)[1]) / 2 + 600 * np.log(2 * np.pi)
    )
    assert made["quadratic"].item() == pytest.approx(made["y"] @ np.linalg.solve(C, made["y"]))
    np.testing.assert_allclose(made["covariance"], 2 * made["K"].to_dense()[7, [7, 8, 37]] + [0.1, 0, 0])
    np.testing.assert_allclose(made["smooth"][1], made["batch"][1].solve(made["y"], 0.1))
    assert made["scales"].grad.isfinite().all()
    quadratic = (made["y"] * made["smooth"]).sum(-1)
    np.testing.assert_allclose(made["nlls"], (quadratic + made["logdets"]) / 2 + 600 * np.log(2 * np.pi))


def test_how_to_pages_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    indices = run_how_to("sobol")
    np.testing.assert_allclose(indices["first"], [0.313905, 0.442411, 0], atol=1e-6)
    np.testing.assert_allclose(indices["total"], [0.557589, 0.442411, 0.243684], atol=1e-6)
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


# ---------------------------------------------------------------- what takes the place of other libraries


def after(library):
    """The code behind each *After* and *or* of a section of docs/switching.md."""
    section = re.search(rf"^## {library}$(.*?)(?=^## |\Z)", (DOCS / "switching.md").read_text(), re.M | re.S)[1]
    blocks = re.findall(r"```(\w+)\n(.*?)```", section, re.S)
    return blocks[0][1], [text for language, text in blocks[1:] if language == "python"]


@pytest.mark.torch
def test_lines_for_gpytorch():
    torch = pytest.importorskip("torch")
    before, [ours] = after("gpytorch")
    x = torch.linspace(0, 1, 9, dtype=torch.float64)
    K1, K2 = (torch.exp(-((x[:n, None] - x[:n]) ** 2) / 0.1) + 0.1 * torch.eye(n, dtype=torch.float64) for n in (7, 9))
    y = torch.sin(torch.arange(63.0, dtype=torch.float64))
    names = {"qf": qf, "math": math, "K1": K1, "K2": K2, "y": y, "noise": torch.tensor(0.3, dtype=torch.float64)}
    exec(ours, names)
    C = torch.kron(K1, K2) + 0.3 * torch.eye(63, dtype=torch.float64)
    truth = (names["y"] @ torch.linalg.solve(C, names["y"]) + torch.logdet(C) + 63 * math.log(2 * math.pi)) / 2
    assert names["nll"].item() == pytest.approx(truth.item(), rel=1e-6)
    pytest.importorskip("linear_operator")
    names["noise"] = torch.tensor([0.3], dtype=torch.float64)
    exec(before, names)
    assert names["nll"].item() == pytest.approx(truth.item(), rel=1e-6)


def test_lines_for_flash_linear_attention():
    names = {"qf": qf}
    _, ours = after("flash-linear-attention")
    for text in ours:
        names["chunk_gated_delta_rule"] = None
        exec(text, names)
        assert names["chunk_gated_delta_rule"] is qf.ssm.chunk_gated_delta_rule
    names["installed"].undo()


def test_lines_for_scikit_learn(rng):
    before, [ours] = after("scikit-learn")
    x, t = np.linspace(0, 1, 12), np.linspace(0, 2, 10)
    table = np.sin(4 * x)[:, None] * np.cos(3 * t) + 0.1 * rng.standard_normal((12, 10))
    names = {"qf": qf, "np": np, "x": x, "t": t, "table": table}
    exec(ours, names)
    mean, deviation = names["mean"], names["deviation"]
    assert np.abs(mean - np.sin(4 * x)[:, None] * np.cos(3 * t)).max() < 0.2
    assert deviation.shape == table.shape
    pytest.importorskip("sklearn")
    exec(before, names)
    np.testing.assert_allclose(names["mean"].reshape(12, 10), mean, atol=0.05)


def test_lines_for_trimesh():
    before, [ours] = after("trimesh")
    V, F = np.eye(4, 3), np.array([[0, 1, 2], [0, 2, 3], [0, 3, 1], [1, 3, 2]])
    names = {"qf": qf, "V": V, "F": F, "points": np.array([[0.2, 0.2, 0.2], [0.5, 0.5, 0.9], [2.0, 0.0, 0.0]])}
    exec(ours, names)
    ours = {name: names[name] for name in ("closest", "distance", "triangle", "signed", "inside")}
    assert ours["inside"].tolist() == [True, False, False]
    np.testing.assert_allclose(np.linalg.norm(ours["closest"] - names["points"], axis=1), ours["distance"], atol=1e-12)
    names["trimesh"] = pytest.importorskip("trimesh")
    exec(before, names)
    for name, array in ours.items():
        np.testing.assert_allclose(names[name], array, atol=1e-9)


def test_lines_for_tensorly(rng):
    before, ours = after("tensorly")
    grid = np.linspace(0, 1, 20)
    C = 1 / (1 + grid[:, None, None] + 2 * grid[:, None] + grid**2)
    names = {"qf": qf, "C": C}
    for text in ours:
        exec(text, names)
        made = np.einsum("abc,ia,jb,kc", names["core"], *names["factors"])
        assert np.linalg.norm(made - C) < 1e-8 * np.linalg.norm(C)
    assert before.startswith("from tensorly.decomposition import tucker")


def test_lines_for_chebfun():
    _, [ours] = after("chebfun")
    names = {"qf": qf, "np": np}
    exec(ours, names)
    assert names["v"][0] == pytest.approx(1 / (4 + 0.1 + 0.06), rel=1e-12)
    assert names["g"](np.array([[0.1, 0.2, 0.3]]))[0] == pytest.approx(-0.3 / (4 + 0.1 + 0.06) ** 2, rel=1e-10)
    x, w = np.polynomial.legendre.leggauss(30)
    assert names["s"] == pytest.approx(np.einsum("i,j,k,ijk", w, w, w, 1 / (4 + x[:, None, None] + x[:, None] * x)), rel=1e-12)


def test_lines_for_zombie():
    _, [ours] = after("zombie")
    outline = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    points = np.array([[0.5, 0.5], [0.3, 0.6]])
    names = {"qf": qf, "outline": outline, "points": points, "g": lambda X: np.exp(X @ [1.0, 1.0])}  # of which Δu = 2u
    exec(ours, names)
    np.testing.assert_allclose(names["u"], np.exp(points.sum(axis=1)), rtol=0.3)  # 128 walks: 5 % of standard error
    assert set(re.findall(r"(\w+)=", ours)) <= set(inspect.signature(qf.wos.solve).parameters)


# ---------------------------------------------------------------- pages and links


def test_every_public_name_is_in_the_reference(pages):
    listed = {
        path: set(re.findall(r"^   ~?(?:quatrefoil\.)?([\w.]+)$", text, re.M))
        for path, text in pages.items()
        if path.startswith("reference")
    }
    for family in qf.FAMILIES:
        module = getattr(qf, family)
        for name in module.__all__:
            page = f"reference/{family}/{name}.rst"
            assert page in pages, name
            assert name in listed[f"reference/{family}/index.rst"], name
            thing = getattr(module, name)
            directive = f"auto{'class' if inspect.isclass(thing) else 'function'}:: {name}"
            directive = "autosummary::" if inspect.ismodule(thing) else directive
            assert re.search(rf"{directive}$", pages[page], re.M), name
            for inner in thing.__all__ if inspect.ismodule(thing) else ():
                assert {f"reference/{family}/{name}/{inner}.rst", f"reference/{family}/{inner}.rst"} & set(pages)
        documented = re.findall(r"auto(?:function|class):: (?:[\w.]+\.)?(\w+)$", "\n".join(pages.values()), re.M)
        assert {n for n in everything(module) if not inspect.ismodule(getattr(module, n))} <= set(documented)
    for name in set(qf.__all__) - {*qf.FAMILIES, "conventions"}:
        assert f"reference/general/{name}.rst" in pages
    assert qf.conventions.__doc__.strip() in pages["reference/conventions.rst"]


@pytest.mark.torch
def test_layers_are_in_the_reference(pages):
    pytest.importorskip("torch")
    from quatrefoil.torch import nn

    assert {p.split("/")[-1] for p in pages if p.startswith("reference/torch/nn/")} == {f"{n}.rst" for n in [*nn.__all__, "index"]}


def test_every_derivation_is_a_page_and_is_led_to(pages, generated):
    there = {p.parent.relative_to(ROOT / "csrc").as_posix() for p in (ROOT / "csrc").rglob("README.md")}
    assert {generated["methods"].path_of(r) + ".md" for r in there} <= set(pages)
    assert ":doc:`Causal convolution </methods/ssm/convolution>`" in pages["reference/ssm/fft_conv.rst"]


def test_roles_name_what_exists(pages):
    """Sphinx with -W, in .ci/run, follows the pages' other links."""
    for text in pages.values():
        for target in re.findall(r"(?:\{|:)(?:func|class|meth)(?:\}|:)`~?([\w.]+)`", text):
            functools.reduce(getattr, target.removeprefix("quatrefoil.").split("."), qf)


def slug(heading):
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def test_the_tests_that_hold_a_promise_exist():
    rows = re.findall(r"^\| \*\*.*\| (.+?) \|$", (DOCS / "reliability.md").read_text(), re.M)
    assert len(rows) >= 10
    assert not [file for files in rows for file in re.findall(r"`([^`]+)`", files) if not (ROOT / file).is_file()]


def test_links_in_the_repository():
    """As a reader of the repository follows them: from the file that has them."""
    for file in [*(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")), *(ROOT / "csrc").rglob("README.md")]:
        for target in re.findall(r"(?<!\\)\]\(([^)\s]+)\)", file.read_text()):
            path, _, anchor = target.partition("#")
            if not re.search(r"[./#]", target):  # a formula
                continue
            whole = file.parent / path if path else file
            assert whole.exists(), (file, target)
            if anchor:
                assert anchor in {slug(h) for h in re.findall(r"^#+ (.*)$", whole.read_text(), re.M)}, (file, target)


def test_numbers_in_docstrings_lead_to_equations(generated):
    docstrings, methods, equations = generated["docstrings"], generated["methods"], generated["equations"]
    lines = inspect.getdoc(qf.ssm.fft_conv).split("\n")
    docstrings.process(None, "function", "quatrefoil.ssm.fft_conv", qf.ssm.fft_conv, None, lines)
    assert "`(1) <../../methods/ssm/convolution.html#eq-1>`__" in lines[0]
    assert {"1", "2", "4"} <= equations.numbers(methods.text_of("ssm/convolution"))
    assert "conventions </reference/conventions>" in "\n".join(lines)


# ---------------------------------------------------------------- benchmarks, examples, commands


def test_what_benchmarks_have_written_is_shown(pages):
    files = sorted((ROOT / "bench/results").glob("*.json"))
    assert files
    for file in files:
        result = json.loads(file.read_text())
        page = pages[f"performance/{file.stem}.md"]
        assert result["machine"]["date"] in page.splitlines()[0]
        assert all(f"`{row['problem']}` | {row['size']}" in page for row in result["rows"])


def test_examples_have_titles_and_are_run_or_not_for_a_reason(generated):
    gallery = generated["gallery"]
    files = sorted((ROOT / "examples").glob("*/*.py"))
    for file in files:
        title, line = file.read_text().removeprefix('"""').split("\n")[:2]
        assert line == "=" * len(title)
        assert (file.stem in gallery.left_out()) != bool(re.search(gallery.pattern(), str(file)))
    assert set(gallery.BEFORE_PICTURE) == {f.stem for f in files}  # each has a picture
    assert "torch" in gallery.imports(ROOT / "examples/ssm/train_s4d.py")


def test_examples_use_what_is_public():
    for file in [*ROOT.glob("examples/*/*.py"), *ROOT.glob("docs/programs/*.py")]:
        assert not re.search(r"\b(quatrefoil|qf)(\.\w+)*\._|import _", file.read_text()), file
