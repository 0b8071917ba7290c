"""On a Mac the recipe asks q5 itself and installs nothing that is meant for Linux."""

import os
import shutil
import subprocess

import pytest

from conftest import ROOT


@pytest.fixture
def mac(tmp_path, monkeypatch):
    """A copy of bin/ and py/, on a system whose uname answers as on a Mac."""
    for folder in ("bin", "py"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    uname = tmp_path / "tools/uname"
    uname.parent.mkdir()
    uname.write_text("#!/bin/sh\necho Darwin\n")
    uname.chmod(0o755)
    monkeypatch.setenv("PATH", f"{uname.parent}:{os.environ['PATH']}")
    return tmp_path


def test_a_mac_asks_q5_itself(mac, make):
    plan = make("-n", "eval", "CONFIG=demo.env", f"BUILD={mac}/build")
    assert plan.returncode == 0, plan.stderr
    assert f"{mac}/build/q5" in plan.stdout
    assert "q5-float32" not in plan.stdout


def test_a_mac_needs_no_openblas(mac):
    run = subprocess.run([mac / "bin/fast_blas.sh"], capture_output=True, text=True)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def test_a_mac_is_told_that_it_needs_no_cuda(mac):
    run = subprocess.run([mac / "bin/setup.sh", "cuda13"], capture_output=True, text=True)
    assert run.returncode == 2 and "a Mac needs no MLX=" in run.stderr
