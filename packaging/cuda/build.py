"""build.py FOLDER [option of pip ...]: write the wheel of quatrefoil-cuda13 or quatrefoil-cuda12 to a folder.

The version of nvcc, from CUDACXX or PATH, decides which. The distribution has one package with the extension module ``_cuda``, which
quatrefoil finds (``_backends/cuda.py``), and requires the same version of quatrefoil. For example, the option
-Ccmake.define.CMAKE_CUDA_ARCHITECTURES=90-real builds for one architecture.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT = """[build-system]
requires = {requires}
build-backend = "scikit_build_core.build"

[project]
name = "quatrefoil-cuda{major}"
version = "{version}"
description = "Quatrefoil's kernels for NVIDIA GPUs, for CUDA {major} drivers"
requires-python = "{python}"
license = "{license}"
license-files = ["LICENSE"]
dependencies = ["quatrefoil=={version}"]

[tool.scikit-build]
cmake.source-dir = "{root}"
cmake.build-type = "Release"
cmake.define.QUATREFOIL_CUDA = "ON"
cmake.define.QUATREFOIL_CUDA_PACKAGE = "quatrefoil_cuda{major}"
build.targets = ["_cuda"]
install.components = ["cuda"]
wheel.packages = ["quatrefoil_cuda{major}"]
"""


def major_version():
    nvcc = os.environ.get("CUDACXX") or shutil.which("nvcc")
    if not nvcc:
        sys.exit("build.py: there is no nvcc; CUDACXX may say where it is")
    return int(re.search(r"release (\d+)\.", subprocess.run([nvcc, "--version"], capture_output=True, text=True, check=True).stdout)[1])


def lay_out(folder, major):
    """Write the sources of the distribution: its metadata, an empty package and the licence."""
    described = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = described["project"]
    values = {"requires": described["build-system"]["requires"], "python": project["requires-python"], "license": project["license"]}
    (folder / "pyproject.toml").write_text(PYPROJECT.format(major=major, version=project["version"], root=ROOT, **values))
    package = folder / f"quatrefoil_cuda{major}"
    package.mkdir()
    (package / "__init__.py").write_text('"""Quatrefoil\'s kernels for GPUs, in ``_cuda``; use quatrefoil\'s public functions."""\n')
    shutil.copy(ROOT / "LICENSE", folder)


def main(target, *options):
    with tempfile.TemporaryDirectory() as name:
        lay_out(Path(name), major_version())
        subprocess.run([sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", target, *options, name], check=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
