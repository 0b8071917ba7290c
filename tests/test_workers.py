"""Several workers share a training: HOSTS= and WORKERS= start them with mlx.launch."""

import json
import os
import signal
import subprocess
from pathlib import Path

import mlx.core as mx
import pytest

from chat_format import open_tokenizer
from checkpoints import find_checkpoints, losses, read_metrics
from conftest import ROOT, clean_environment, wait_for
from files import read_json
from training import TRAIN, break_off, run_training, write_data


@pytest.fixture
def launch(tmp_path):
    """launch(*words) runs a Python program on two workers, as the Makefile starts it."""
    host = {"ssh": "127.0.0.1", "ips": ["127.0.0.1"]}
    (tmp_path / "hosts.json").write_text(json.dumps([host, host]))
    launcher = [ROOT / "bin/python", "py/launch.py", "--env", "TTY_INTERACTIVE=0"]
    launcher += ["--hostfile", tmp_path / "hosts.json", "--", "bin/python"]

    def launched(*words) -> subprocess.CompletedProcess:
        return subprocess.run(
            list(map(str, [*launcher, *words])),
            cwd=ROOT,
            env=clean_environment() | {"MAKING": str(tmp_path / "adapters")},
            capture_output=True,
            text=True,
            timeout=120,
        )

    return launched


def even_rows(tiny_model, count: int) -> list[str]:
    """Answers of equally many tokens: workers average their losses, whatever those count."""
    tokenizer = open_tokenizer(tiny_model)
    words = ["read", "find", "call", "file", "tool", "name", "path", "line", "test", "list"]
    by_length: dict[int, list[str]] = {}
    for text in [f"{a} the {b} now" for a in words for b in words]:
        by_length.setdefault(len(tokenizer.encode(text)), []).append(text)
    return max(by_length.values(), key=len)[:count]


def test_two_workers_train_what_one_does(lora, launch, tiny_model, tmp_path):
    rows = even_rows(tiny_model, 32)
    assert len(rows) == 32
    write_data(tmp_path / "data", rows[:24], rows[24:])
    options = {"batch_size": 4, "iters": 40, "learning_rate": 1e-4}
    alone = run_training(lora(tmp_path / "one", **options))
    assert alone.returncode == 0, alone.stderr
    shared = launch("py/train.py", *lora(tmp_path / "two", **options))
    assert (tmp_path / "two/training.json").is_file(), shared.stdout + shared.stderr
    one, two = (mx.load(str(tmp_path / n / "adapters.safetensors")) for n in ("one", "two"))
    for name, weight in one.items():
        assert mx.allclose(weight, two[name], rtol=1e-3, atol=1e-5), name
    metrics = [read_metrics(tmp_path / name) for name in ("one", "two")]
    for kind in ("train_loss", "val_loss"):
        first, second = (losses(entries, kind) for entries in metrics)
        assert first == pytest.approx(second, rel=1e-4)
    assert metrics[0][-1]["tokens"] == metrics[1][-1]["tokens"]
    files = [{path.name for path in (tmp_path / name).iterdir()} for name in ("one", "two")]
    assert files[0] == files[1] and len(metrics[0]) == len(metrics[1])  # one worker wrote, once


def test_a_resumed_training_is_shared_and_stops_on_all_workers(lora, launch, tmp_path):
    """Only worker 0 reads the folder. The other gets the checkpoint and the losses from it."""
    staging = tmp_path / "adapters.training"
    options = {"batch_size": 4, "iters": 2000, "steps_per_eval": 10, "save_every": 10}
    command = lora(staging, **options)
    break_off(command, lambda: max(find_checkpoints(staging), default=0) >= 20)
    done = max(find_checkpoints(staging))
    ended = launch("py/train.py", "--resume", "--patience", 4, "--min-delta", 100, *command)
    assert "Traceback" not in ended.stdout, ended.stdout
    training = read_json(staging / "training.json")
    assert training["stopped_early"] and training["resumed_from"] == done
    assert done < training["iterations"] <= done + 45


def test_workers_that_cannot_share_a_batch_say_so_in_a_line(lora, launch, tmp_path):
    ended = launch("py/train.py", *lora(tmp_path / "x", batch_size=3))
    lines = [line for line in ended.stdout.splitlines() if line.startswith("train: ")]
    assert set(lines) == {"train: BATCH_SIZE=3 must be a multiple of the number of workers, 2"}
    assert not (tmp_path / "x").exists()


def test_workers_with_different_rows_stop(launch, tmp_path):
    program = tmp_path / "differ.py"
    program.write_text(
        "import sys; sys.path.insert(0, 'py'); import mlx.core as mx, train\n"
        "world = mx.distributed.init()\n"
        "train.check_workers(world, 4, {'rows': 'same'})\n"
        "train.check_workers(world, 4, {'rows': world.rank()})\n"
    )
    said = launch(program).stdout
    assert said.count("ValueError: the workers differ in options or rows") == 2


def test_make_trains_with_two_workers_and_keeps_a_plain_log(tiny_config, tmp_path, make):
    build = tmp_path / "build"
    run = make("train", f"CONFIG={tiny_config}", f"BUILD={build}", "WORKERS=2")
    assert run.returncode == 0, run.stdout + run.stderr
    training = read_json(build / "adapters/training.json")
    assert (training["workers"], training["iterations"]) == (2, 8)
    log = (build / "adapters/train.log").read_text()
    assert len(log.splitlines()) < 60 and "\x1b" not in log
    assert log.count("train ███") == 1  # the bar in its last state


def test_the_launcher_sleeps_while_nothing_is_printed():
    """Standard input at its end and a pipe with room would make a plain select() return at once."""
    code = (
        "import os, sys; sys.path.insert(0, 'py'); import launch\n"
        "silent, room = os.pipe()\n"
        "print(launch.wait_for_output([0, silent], [room], [], 0.01))\n"
        "os.write(room, b'x')\n"
        "print(launch.wait_for_output([0, silent], [room], [], 60)[0] == [silent])\n"
    )
    words = [ROOT / "bin/python", "-c", code]
    options = {"cwd": ROOT, "stdin": subprocess.DEVNULL, "capture_output": True, "text": True}
    assert subprocess.run(words, **options).stdout == "([], [], [])\nTrue\n"


def processes_of(folder: Path) -> list[str]:
    words = ["ps", "-eww", "-o", "args="]
    listed = subprocess.run(words, capture_output=True, text=True).stdout
    return [line for line in listed.splitlines() if str(folder) in line]


def start_launcher(lora, staging: Path, **pipes) -> subprocess.Popen:
    """Two workers under mlx.launch, with more iterations than a test waits for."""
    words = [ROOT / "bin/python", "py/launch.py", "-n", 2, "--", *TRAIN]
    words += lora(staging, batch_size=4, iters=100000)
    options = {"cwd": ROOT, "env": clean_environment(), "stdin": subprocess.PIPE}
    return subprocess.Popen(list(map(str, words)), **options, **pipes)


def test_ctrl_c_ends_all_workers_and_says_how_to_go_on(lora, tmp_path):
    staging = tmp_path / "adapters.training"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    launcher = start_launcher(lora, staging, **pipes, start_new_session=True)
    wait_for(lambda: find_checkpoints(staging))
    os.killpg(launcher.pid, signal.SIGINT)
    said = launcher.stdout.read()
    launcher.wait(timeout=60)
    assert "train: interrupted; RESUME=1 goes on after iteration" in said
    assert "Traceback" not in said and not processes_of(staging)


def test_a_killed_launcher_ends_its_workers(lora, tmp_path):
    staging = tmp_path / "adapters.training"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with start_launcher(lora, staging, **quiet) as launcher:
        wait_for(lambda: read_metrics(staging))
        launcher.kill()
    wait_for(lambda: not processes_of(staging))
    assert not (staging / "training.json").exists()
