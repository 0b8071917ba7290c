"""Bad input gets one line and exit status 2, and nothing that was there is lost."""

import shutil
import socket
import subprocess

import pytest

from conftest import ROOT, write_config


def evaluate(folder, model, *arguments):
    words = [ROOT / "bin/python", ROOT / "py/evaluate.py", "--model", model, *arguments]
    words += ["--suite", ROOT / "data/suite.json", "--targets", ROOT / "data/baseline.json"]
    words += ["--tools", ROOT / "data/tools.json", "--server-log", folder / "server.log"]
    words += ["--out", folder / "eval.json"]
    return subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=120)


def assert_one_line(run, *parts):
    assert run.returncode == 2 and len(run.stderr.splitlines()) == 1, run.stderr
    for part in parts:
        assert part in run.stderr


def test_a_missing_model_is_named_and_leaves_the_last_result_alone(tmp_path):
    (tmp_path / "eval.json").write_text("the last result")
    assert_one_line(evaluate(tmp_path, tmp_path / "nowhere"), "nowhere")
    assert (tmp_path / "eval.json").read_text() == "the last result"


def test_a_port_in_use(tiny_model, tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        run = evaluate(tmp_path, tiny_model, "--port", port)
    assert_one_line(run, f"EVAL_PORT={port}", "0 for any free port")


def test_an_unwritable_build_folder(tmp_path, make):
    (tmp_path / "file").write_text("not a folder")
    config = write_config(tmp_path / "x.env", BUILD=tmp_path / "file/build")
    run = make("preflight", f"CONFIG={config}")
    assert run.returncode == 2
    assert f"{tmp_path}/file/build: cannot be written; name another folder" in run.stderr


@pytest.mark.parametrize("place", ["/", "../home", ".", "..", "link", "link/"])
def test_clean_refuses_what_is_no_build_folder(tmp_path, place):
    repository, home = tmp_path / "repository", tmp_path / "home"
    shutil.copytree(ROOT / "bin", repository / "bin")
    for folder in (tmp_path, home, repository, repository / "real"):
        (folder / "logs").mkdir(parents=True)
        (folder / "logs/mine").write_text("mine")
        (folder / ".phase40-build").touch()
    (repository / "link").symlink_to(repository / "real")
    env = {"PATH": "/usr/bin:/bin", "HOME": str(home)}
    words = [repository / "bin/clean.sh", place, "all"]
    run = subprocess.run(words, env=env, capture_output=True, text=True)
    assert_one_line(run, "is a symbolic link" if "link" in place else "refusing")
    assert len(list(tmp_path.rglob("mine"))) == 4


def test_clean_of_nothing_is_no_mistake_and_leaves_nothing(tmp_path, make):
    config = write_config(tmp_path / "x.env", BUILD=tmp_path / "build")
    run = make("clean", f"CONFIG={config}")
    assert run.returncode == 0 and "nothing to free" in run.stdout, run.stderr
    assert not (tmp_path / "build").exists()
    (tmp_path / "build").mkdir()
    (tmp_path / "build/mine").write_text("mine")
    run = make("clean", f"CONFIG={config}")
    assert run.returncode == 0 and "nothing to free" in run.stdout, run.stderr
    assert [path.name for path in (tmp_path / "build").iterdir()] == ["mine"]
