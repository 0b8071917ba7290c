"""Several workers, one training: mlx.launch and mlx's ring, as HOSTS= and WORKERS= use them."""

import contextlib
import json
import os
import signal
import subprocess

import mlx.core as mx
import pytest

from chat_format import open_tokenizer
from checkpoints import find_checkpoints, losses, read_metrics
from conftest import ROOT, clean_environment, wait_for
from files import read_json
from training import FOLLOW, break_off, follow, run, write_data

THREE = json.dumps([{"ssh": name, "ips": ["10.0.0.1"]} for name in "abc"])
LAUNCH = ROOT / "bin/launch.sh"


@pytest.fixture
def hosts(tmp_path):
    """A hosts.json of two workers that both run here."""
    here = {"ssh": "127.0.0.1", "ips": ["127.0.0.1"]}
    (tmp_path / "hosts.json").write_text(json.dumps({"hosts": [here, here]}))
    return tmp_path / "hosts.json"


def even_rows(tiny_model, count: int) -> list[str]:
    """Answers of equally many tokens: workers average their losses, whatever those count."""
    tokenizer = open_tokenizer(tiny_model)
    words = ["read", "find", "call", "file", "tool", "name", "path", "line", "test", "list"]
    texts = [f"{a} the {b} now" for a in words for b in words]
    by_length: dict[int, list[str]] = {}
    for text in texts:
        by_length.setdefault(len(tokenizer.encode(text)), []).append(text)
    return max(by_length.values(), key=len)[:count]


def test_two_workers_train_what_one_does(lora, hosts, tiny_model, tmp_path):
    rows = even_rows(tiny_model, 32)
    assert len(rows) == 32
    write_data(tmp_path / "data", rows[:24], rows[24:])
    options = {"batch_size": 4, "iters": 40, "learning_rate": 1e-4}
    alone = follow(lora(tmp_path / "one", **options), "--patience", 9)
    assert alone.returncode == 0, alone.stderr
    words = [*FOLLOW, "--patience", 9, "--", *lora(tmp_path / "two", **options)]
    shared = run(LAUNCH, 1, hosts, 4, *words)
    assert (tmp_path / "two/training.json").is_file(), shared.stdout + shared.stderr
    one, two = (mx.load(str(tmp_path / n / "adapters.safetensors")) for n in ("one", "two"))
    for name, weight in one.items():
        assert mx.allclose(weight, two[name], rtol=1e-3, atol=1e-5), name
    metrics = [read_metrics(tmp_path / name) for name in ("one", "two")]
    for kind in ("train_loss", "val_loss"):
        first, second = (losses(entries, kind) for entries in metrics)
        assert first == pytest.approx(second, rel=1e-4)
    assert metrics[0][-1]["tokens"] == metrics[1][-1]["tokens"]
    # one worker wrote, once
    assert {p.name for p in (tmp_path / "one").iterdir()} == {
        p.name for p in (tmp_path / "two").iterdir()
    }
    assert len(metrics[0]) == len(metrics[1])


@pytest.mark.parametrize(
    ("workers", "content", "message"),
    [
        ("3", None, "BATCH_SIZE=4 cannot be shared by 3 workers; make it a multiple of 3"),
        ("0", None, "WORKERS=0: expected a number of processes"),
        ("two", None, "WORKERS=two: expected a number of processes"),
        ("1", "", "nowhere.json: no such file"),
        ("1", "not json", "not a hosts.json of mlx.launch"),
        ("1", '{"machines": []}', "not a hosts.json of mlx.launch"),
        ("1", "[]", "not a hosts.json of mlx.launch"),
        ("1", THREE, "cannot be shared by 3 workers"),
        ("1", '[{"ssh": "a"}, {"ssh": "b"}]', "the ring needs the address of each machine"),
        ("1", '[{"ssh": "a", "ips": ["1.2.3.4"]}]', "a hosts.json of one machine"),
    ],
)
def test_workers_that_cannot_share_are_refused(tmp_path, workers, content, message):
    hosts = "none"
    if content is not None:
        hosts = tmp_path / ("hosts.json" if content else "nowhere.json")
        if content:
            hosts.write_text(content)
    ended = run(LAUNCH, workers, hosts, 4, "true")
    assert ended.returncode == 2 and ended.stderr.count("\n") == 1
    assert ended.stderr.startswith("launch: ") and message in ended.stderr


def test_a_resumed_training_is_shared_and_stops_on_all(lora, hosts, tmp_path):
    """Worker 0 alone reads the folder: the other gets checkpoint, YAML and patience from it."""
    staging = tmp_path / "adapters.tmp"
    options = {"batch_size": 4, "iters": 2000, "steps_per_eval": 10, "save_every": 10}
    schedule = "lr_schedule: {name: cosine_decay, arguments: [1e-3, 2000]}\n"
    (tmp_path / "lora.yaml").write_text(schedule)
    command = lora(staging, config=tmp_path / "lora.yaml", **options)
    break_off(command, lambda: max(find_checkpoints(staging), default=0) >= 20)
    done = max(find_checkpoints(staging))
    words = [*FOLLOW, "--resume", "--patience", 4, "--min-delta", 100, "--", *command]
    ended = run(LAUNCH, 1, hosts, 4, *words)
    assert "Traceback" not in ended.stderr, ended.stderr
    training = read_json(staging / "training.json")
    assert training["stopped_early"] and training["resumed_from"] == done
    assert done < training["iterations"] <= done + 45
    assert "exited with code" not in ended.stderr


def test_workers_that_would_train_different_things_stop(hosts):
    code = (
        "import sys; sys.path.insert(0, 'py'); import mlx.core as mx, workers; "
        "world = mx.distributed.init(); workers.check_workers_agree(world, ['same']); "
        "workers.check_workers_agree(world, [world.rank()])"
    )
    ended = run(LAUNCH, 1, hosts, 4, ROOT / "bin/python", "-c", code)
    assert ended.stderr.count("ValueError: the workers differ in options or data") == 2


def workers_of(staging) -> list[int]:
    """Pids of the processes that train in `staging`."""
    listed = subprocess.run(
        ["ps", "-eww", "-o", "pid=,args="], capture_output=True, text=True
    ).stdout
    lines = [line.split(None, 1) for line in listed.splitlines()]
    return [int(pid) for pid, words in lines if "py/follow.py" in words and str(staging) in words]


@pytest.mark.parametrize("victim", ["launcher", "worker"])
def test_when_one_process_dies_all_end(lora, hosts, tmp_path, victim):
    staging = tmp_path / "adapters.tmp"
    words = [LAUNCH, 1, hosts, 4, *FOLLOW, "--", *lora(staging, batch_size=4, iters=100000)]
    launcher = subprocess.Popen(
        list(map(str, words)),
        cwd=ROOT,
        env=clean_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for(lambda: read_metrics(staging))
        python = [pid for pid in workers_of(staging) if pid != launcher.pid]
        assert len(python) == 2
        os.kill(launcher.pid if victim == "launcher" else python[1], signal.SIGKILL)
        wait_for(lambda: not workers_of(staging))
        launcher.wait(timeout=30)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(launcher.pid, signal.SIGKILL)
    assert not (staging / "training.json").exists()
