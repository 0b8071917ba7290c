"""A training that takes a second, for tests to watch, break off and resume: fixture `lora`."""

import json
import os
import signal
import subprocess
import time

import pytest

from conftest import ROOT, clean_environment

TRAIN = (ROOT / "bin/python", ROOT / "py/train.py")
SENTENCES = ("Look at it first.", "Nothing to be done here.", "Ask for the file, then read on.")


def row(n: int, answer: str) -> str:
    turns = [{"role": "user", "content": f"request {n}"}, {"role": "assistant", "content": answer}]
    return json.dumps({"messages": turns})


def write_data(folder, train: list[str], valid: list[str]) -> None:
    """train.jsonl and valid.jsonl with these answers to numbered requests."""
    folder.mkdir(exist_ok=True)
    for split, answers in (("train", train), ("valid", valid)):
        lines = [row(n, answer) + "\n" for n, answer in enumerate(answers)]
        (folder / f"{split}.jsonl").write_text("".join(lines))


@pytest.fixture
def lora(tiny_model, tmp_path):
    """lora(staging, iters=.., **options) -> the mlx_lm lora command, as the Makefile has it."""
    write_data(tmp_path / "data", [SENTENCES[n % 3] for n in range(24)], list(SENTENCES) * 3)

    def command(staging, **options) -> list[str]:
        defaults = {
            "model": tiny_model,
            "data": tmp_path / "data",
            "num_layers": 2,
            "learning_rate": 1e-3,
            "iters": 60,
            "batch_size": 2,
            "steps_per_eval": 20,
            "save_every": 20,
            "steps_per_report": 5,
            "val_batches": -1,
            "seed": 0,
            "adapter_path": staging,
        }
        words = ["mlx_lm", "lora", "--train", "--mask-prompt"]
        for key, value in (defaults | options).items():
            words += ["--" + key.replace("_", "-"), str(value)]
        return words

    return command


def run(*words) -> subprocess.CompletedProcess:
    """Run a command of the recipe to its end."""
    return subprocess.run(
        list(map(str, words)),
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )


def run_training(command: list[str], *options) -> subprocess.CompletedProcess:
    """The command under py/train.py."""
    return run(*TRAIN, *options, *command)


def best(staging, out, *options) -> subprocess.CompletedProcess:
    """The end of a training, py/best.py."""
    return run(ROOT / "bin/python", ROOT / "py/best.py", staging, out, *options)


def break_off(command: list[str], fact, *options, signum=signal.SIGKILL) -> tuple[int, str]:
    """Start the training, send it `signum` as soon as fact() is true.

    Gives its exit status and what it said on stderr.
    """
    process = subprocess.Popen(
        list(map(str, [*TRAIN, *options, *command])),
        cwd=ROOT,
        env=clean_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not fact() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    if process.poll() is None:
        os.killpg(process.pid, signum)
    _, error = process.communicate(timeout=60)
    assert process.returncode != 0, "it ended before it could be broken off"
    assert "Traceback" not in error, error
    return process.returncode, error
