"""A disk that is too small or fills anyway: one line, nothing half written, and it goes on."""

import shutil
import subprocess

import pytest

from conftest import made

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
    for name in ("adapters", "made", "logs", "base"):
        shutil.copytree(build / name, target / name, symlinks=True)
    for name in ("preflight.json", "preflight.ok", ".phase40-build"):
        shutil.copy2(build / name, target / name)


def test_a_full_disk_is_one_line_and_a_clean_state(built, make, small_disk):
    if small_disk is None:
        pytest.skip("no right to mount a file system")
    build = small_disk / "build"
    copy_training(built[1], build)
    words = [f"CONFIG={built[0]}", f"BUILD={build}"]
    fill(small_disk, FUSED * 2 // 3)
    failed = make("fuse", *words)
    assert failed.returncode == 2
    assert "fused: not made: the disk is full; free some" in failed.stderr
    assert not (build / "fused").exists() and not (build / "fused.tmp").exists()
    assert made(make("-n", "train", *words).stdout) == []
    (small_disk / "filler").unlink()
    assert make("fuse", *words).returncode == 0 and (build / "fused/config.json").is_file()


def test_a_folder_that_cannot_be_written_is_one_line(tiny_config, make):
    refused = make("train", f"CONFIG={tiny_config}", "BUILD=/proc/build")
    assert refused.returncode == 2
    assert "/proc/build" in refused.stderr.splitlines()[0]
