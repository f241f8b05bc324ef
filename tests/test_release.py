"""Consistency of the version, licence, requirements and Python versions across files."""

import importlib.util
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.skipif(not (ROOT / "csrc").is_dir(), reason="needs the sources")


def text(name):
    return (ROOT / name).read_text()


def pyproject():
    return tomllib.loads(text("pyproject.toml"))


def of_yaml(name, key):
    """The value of the only ``key:`` in a file, or None."""
    values = re.findall(rf"^ *{re.escape(key)}: *(.*)$", text(name), re.M)
    assert len(values) < 2, (name, key)
    return values[0].strip("\"'") if values else None


def test_the_version():
    project = pyproject()["project"]
    assert of_yaml("CITATION.cff", "version") == project["version"]
    assert f'  version: "{project["version"]}"' in text("packaging/conda/recipe.yaml").splitlines()
    for name in ("cuda12", "cuda13"):
        assert project["optional-dependencies"][name] == [f"quatrefoil-{name}=={project['version']}"]
    versions = re.findall(r"^## \[(.*?)\] - (\S+)$", text("CHANGELOG.md"), re.M)
    assert versions[0][0] == project["version"]
    assert len(versions) == len(re.findall("^## ", text("CHANGELOG.md"), re.M))
    day = of_yaml("CITATION.cff", "date-released")
    assert versions[0][1] == (day or "unreleased")
    assert day is None or re.fullmatch(r"\d{4}-\d\d-\d\d", day)


@pytest.mark.parametrize("major", [12, 13])
def test_the_distribution_of_kernels_for_gpus(major, tmp_path):
    """packaging/cuda derives its metadata from this project's, and requires exactly the same version of quatrefoil."""
    spec = importlib.util.spec_from_file_location("build_cuda", ROOT / "packaging" / "cuda" / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.lay_out(tmp_path, major)
    written, own = tomllib.loads((tmp_path / "pyproject.toml").read_text()), pyproject()
    project, build = written["project"], written["tool"]["scikit-build"]
    assert project["name"] == f"quatrefoil-cuda{major}"
    assert project["dependencies"] == [f"quatrefoil=={own['project']['version']}"]
    for key in ("version", "license", "requires-python"):
        assert project[key] == own["project"][key]
    assert build["wheel"]["packages"] == [build["cmake"]["define"]["QUATREFOIL_CUDA_PACKAGE"]] == [f"quatrefoil_cuda{major}"]
    assert (tmp_path / f"quatrefoil_cuda{major}" / "__init__.py").is_file()
    assert (tmp_path / "LICENSE").is_file()


def test_the_licence_and_the_requirements():
    project, recipe = pyproject()["project"], text("packaging/conda/recipe.yaml")
    assert of_yaml("CITATION.cff", "license") == of_yaml("packaging/conda/recipe.yaml", "license") == project["license"]
    for requirement in (*project["dependencies"], *pyproject()["build-system"]["requires"]):
        assert "    - " + re.sub("(?=>=)", " ", requirement, count=1) in recipe.splitlines()


def test_the_versions_of_python():
    project, wheels = pyproject()["project"], pyproject()["tool"]["cibuildwheel"]
    built = [f"3.{minor}" for minor in re.findall(r"cp3(\d+)-\*", " ".join(wheels["build"]))]
    classified = re.findall(r"Python :: (3\.\d+)", " ".join(project["classifiers"]))
    assert built == classified
    assert project["requires-python"] == f">={built[0]}"


def test_workflows_pin_their_actions_and_keep_no_secret():
    for name in ("ci", "nightly", "wheels"):
        workflow = text(f".github/workflows/{name}.yml")
        for action in re.findall(r"uses: (\S+)", workflow):
            assert re.fullmatch(r"[\w-]+/[\w-]+@(release/)?v\d+", action), (name, action)
        assert "secrets." not in workflow
        assert re.search(r"^permissions:\n  contents: read$", workflow, re.M), name
        assert workflow.count("id-token: write") == (name == "wheels")
