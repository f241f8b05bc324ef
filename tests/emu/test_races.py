"""ThreadSanitizer and the emulator: races between blocks of a launch are reported, and nothing else is."""

import shutil
import subprocess

import pytest

from emu import build

pytestmark = pytest.mark.emulator


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    target = tmp_path_factory.mktemp("races") / "races"
    sources = [build.EMU / "races.cpp", build.CSRC / "core" / "cuda" / "device.cu"]
    build.run(["g++", *build.FLAGS, "-DQF_ISA=cuda", "-fsanitize=thread", "-x", "c++", *sources, "-o", target])
    return target


@pytest.mark.parametrize(("which", "races"), [("ordered", False), ("write_same", True), ("write_then_read", True)])
def test_races_between_blocks(which, races, program):
    if not shutil.which("setarch"):
        pytest.skip("no setarch, which turns off the random addresses that ThreadSanitizer does not bear")
    done = subprocess.run(["setarch", "-R", program, which], env={"TSAN_OPTIONS": "exitcode=66"}, capture_output=True, text=True)
    assert done.returncode == (66 if races else 0), done.stderr
    assert ("data race" in done.stderr) == races
