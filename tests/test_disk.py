"""A disk that is too small or fills anyway: one line, nothing half written, and it goes on."""

import json
import shutil
import subprocess

import pytest

from conftest import ROOT, clean_environment, stages

FUSED = 450_000  # bytes of the tiny model's weights, about


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a file system of 3 MB; without the right to mount one, None."""
    disk = tmp_path / "disk"
    disk.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)]
    try:
        mounted = subprocess.run(words, capture_output=True).returncode == 0
    except OSError:
        mounted = False
    yield disk if mounted else None
    if mounted:
        subprocess.run(["umount", str(disk)], check=True)


def fill(disk, leave: int) -> None:
    """Fill a file system but for `leave` bytes, give or take a page."""
    free = int(subprocess.check_output(["df", "-Pk", str(disk)], text=True).split()[-3]) * 1024
    (disk / "filler").write_bytes(b"x" * (free - leave))


def copy_training(build, target) -> None:
    """A build folder in which training has just ended."""
    target.mkdir()
    for name in ("adapters", "made", "logs"):
        shutil.copytree(build / name, target / name)
    for name in ("preflight.json", "preflight.ok", ".phase40-build"):
        shutil.copy(build / name, target / name)


def test_a_full_disk_is_one_line_and_a_clean_state(built, make, small_disk):
    if small_disk is None:
        pytest.skip("no right to mount a file system; the next test stands in for this one")
    build = small_disk / "build"
    copy_training(built[1], build)
    words = [f"CONFIG={built[0]}", f"BUILD={build}"]
    fill(small_disk, FUSED * 2 // 3)
    refused = make("fuse", *words)
    assert refused.returncode == 2
    assert f"{build}/fused takes 0.4 MB, {build} has 0.3 MB free" in refused.stderr
    report = json.loads((build / "preflight.json").read_text())
    report["facts"]["model"]["fused_bytes"] = 0  # a prediction that is wrong
    (build / "preflight.json").write_text(json.dumps(report))
    failed = make("fuse", *words)
    assert failed.returncode == 2
    lines = [line for line in failed.stderr.splitlines() if not line.startswith("make: ***")]
    assert lines == ["fuse: the disk is full; free some, then make goes on from here"]
    assert "Traceback" not in failed.stdout
    assert not (build / "fused").exists() and not (build / "fused.tmp").exists()
    assert stages(make("-n", "train", *words).stdout) == []
    (small_disk / "filler").unlink()
    assert make("fuse", *words).returncode == 0 and (build / "fused/config.json").is_file()


def test_a_file_that_cannot_grow_is_one_line_and_a_clean_state(built, tmp_path, make):
    """The same without a mount: a limit on the size of files in the place of the disk's."""
    build = tmp_path / "build"
    copy_training(built[1], build)
    words = [f"CONFIG={built[0]}", f"BUILD={build}"]
    command = "ulimit -f 200; exec make fuse " + " ".join(words)
    failed = subprocess.run(
        ["bash", "-c", command], cwd=ROOT, env=clean_environment(), capture_output=True, text=True
    )
    assert failed.returncode == 2
    assert "Traceback" not in failed.stdout + failed.stderr
    assert f"{build}/logs/fuse.log has all that it said" in failed.stderr
    assert not (build / "fused").exists() and not (build / "fused.tmp").exists()
    assert make("fuse", *words).returncode == 0


def test_a_folder_that_cannot_be_written_is_one_line(tiny_config, make):
    refused = make("train", f"CONFIG={tiny_config}", "BUILD=/proc/build")
    assert refused.returncode == 2
    assert "/proc/build: cannot be written; name another folder with BUILD=" in refused.stderr
    assert refused.stderr.count("\n") == 1
