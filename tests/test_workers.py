"""Several workers, one training: mlx.launch and mlx's ring, as HOSTS= and WORKERS= use them."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import mlx.core as mx
import pytest

from chat_format import open_tokenizer
from checkpoints import find_checkpoints, losses, read_metrics
from conftest import ROOT, clean_environment, made, wait_for
from files import read_json
from server import choose_port
from training import TRAIN, break_off, run_training, write_data


def hosts_file(folder: Path, *names: str) -> Path:
    """A hosts.json of workers that all run here, under these names for ssh."""
    hosts = [{"ssh": name, "ips": ["127.0.0.1"]} for name in names]
    (folder / "hosts.json").write_text(json.dumps(hosts))
    return folder / "hosts.json"


def launch(hosts: Path, output: Path, *words) -> subprocess.CompletedProcess:
    """py/train.py with `words` on two workers, as the Makefile starts it for `output`."""
    launcher = [ROOT / "bin/python", ".venv/bin/mlx.launch", "--env", "TTY_INTERACTIVE=0"]
    launcher += ["--hostfile", hosts, "--", "bin/python", "py/train.py"]
    return subprocess.run(
        list(map(str, [*launcher, *words])),
        cwd=ROOT,
        env=clean_environment() | {"MAKING": str(output)},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def hosts(tmp_path):
    return hosts_file(tmp_path, "127.0.0.1", "127.0.0.1")


def even_rows(tiny_model, count: int) -> list[str]:
    """Answers of equally many tokens: workers average their losses, whatever those count."""
    tokenizer = open_tokenizer(tiny_model)
    words = ["read", "find", "call", "file", "tool", "name", "path", "line", "test", "list"]
    by_length: dict[int, list[str]] = {}
    for text in [f"{a} the {b} now" for a in words for b in words]:
        by_length.setdefault(len(tokenizer.encode(text)), []).append(text)
    return max(by_length.values(), key=len)[:count]


def test_two_workers_train_what_one_does(lora, hosts, tiny_model, tmp_path):
    rows = even_rows(tiny_model, 32)
    assert len(rows) == 32
    write_data(tmp_path / "data", rows[:24], rows[24:])
    options = {"batch_size": 4, "iters": 40, "learning_rate": 1e-4}
    alone = run_training(lora(tmp_path / "one", **options))
    assert alone.returncode == 0, alone.stderr
    shared = launch(hosts, tmp_path / "adapters", *lora(tmp_path / "two", **options))
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


def test_a_resumed_training_is_shared_and_stops_on_all(lora, hosts, tmp_path):
    """Worker 0 alone reads the folder: the other gets the checkpoint and the losses from it."""
    staging = tmp_path / "adapters.training"
    options = {"batch_size": 4, "iters": 2000, "steps_per_eval": 10, "save_every": 10}
    command = lora(staging, **options)
    break_off(command, lambda: max(find_checkpoints(staging), default=0) >= 20)
    done = max(find_checkpoints(staging))
    words = ["--resume", "--patience", 4, "--min-delta", 100, *command]
    ended = launch(hosts, tmp_path / "adapters", *words)
    assert "Traceback" not in ended.stdout, ended.stdout
    training = read_json(staging / "training.json")
    assert training["stopped_early"] and training["resumed_from"] == done
    assert done < training["iterations"] <= done + 45


def test_workers_that_cannot_share_a_batch_say_so_in_a_line(lora, hosts, tmp_path):
    ended = launch(hosts, tmp_path / "adapters", *lora(tmp_path / "x", batch_size=3))
    lines = [line for line in ended.stdout.splitlines() if line.startswith("train: ")]
    assert set(lines) == {"train: BATCH_SIZE=3 must be a multiple of the number of workers, 2"}
    assert not (tmp_path / "x").exists()


def test_workers_that_would_train_on_different_rows_stop(hosts, tmp_path):
    program = tmp_path / "differ.py"
    program.write_text(
        "import sys; sys.path.insert(0, 'py'); import mlx.core as mx, train\n"
        "world = mx.distributed.init()\n"
        "train.check_workers(world, 4, {'rows': 'same'})\n"
        "train.check_workers(world, 4, {'rows': world.rank()})\n"
    )
    words = [ROOT / "bin/python", ".venv/bin/mlx.launch", "--hostfile", hosts, "--"]
    ended = subprocess.run(
        list(map(str, [*words, "bin/python", program])),
        cwd=ROOT,
        env=clean_environment() | {"MAKING": str(tmp_path / "adapters")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.stdout.count("ValueError: the workers differ in options or rows") == 2


@pytest.fixture
def over_ssh(tmp_path):
    """PATH with an ssh that knows two logins to this machine, "one" and "two", on the loopback."""
    sshd = shutil.which("sshd", path=os.environ["PATH"] + ":/usr/sbin")
    if not sshd or not shutil.which("ssh-keygen"):
        pytest.skip("no sshd on this machine; apt-get install openssh-server brings one")
    folder, port = tmp_path / "ssh", choose_port(0)
    folder.mkdir(mode=0o700)
    for key in ("host", "user"):
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key]
        subprocess.run(words, check=True)
    server = f"""
ListenAddress 127.0.0.1:{port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
"""
    client = f"""
Host one two
  HostName 127.0.0.1
  Port {port}
  IdentityFile {folder}/user
  IdentitiesOnly yes
  StrictHostKeyChecking no
  UserKnownHostsFile /dev/null
"""
    (folder / "sshd_config").write_text(server)
    (folder / "config").write_text(client)
    (folder / "bin").mkdir()
    wrapper = folder / "bin/ssh"
    wrapper.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {folder}/config "$@"\n')
    wrapper.chmod(0o755)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    log = (folder / "log").open("wb")
    daemon = subprocess.Popen([sshd, "-D", "-e", "-f", folder / "sshd_config"], stderr=log)
    try:
        wait_for(lambda: b"Server listening" in (folder / "log").read_bytes() or daemon.poll())
        if daemon.poll() is not None:
            pytest.skip(f"sshd does not start here: {(folder / 'log').read_text()[-200:]}")
        probe = subprocess.run([wrapper, "one", "true"], capture_output=True, text=True)
        if probe.returncode:
            pytest.skip(f"no login over ssh here: {probe.stderr[-200:]}")
        yield f"{folder}/bin:{os.environ['PATH']}"
    finally:
        daemon.kill()
        daemon.wait()


def test_two_machines_train_over_ssh_without_flooding_the_log(
    tiny_config, tmp_path, make, over_ssh
):
    hosts = hosts_file(tmp_path, "one", "two")
    words = [f"CONFIG={tiny_config}", f"BUILD={tmp_path}/build", f"HOSTS={hosts}"]
    run = make("train", *words, PATH=over_ssh)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "adapters" in made(run.stdout)
    training = read_json(tmp_path / "build/adapters/training.json")
    assert (training["workers"], training["iterations"]) == (2, 8)
    log = (tmp_path / "build/adapters/train.log").read_text()
    assert len(log.splitlines()) < 60 and "\x1b" not in log
    assert log.count("train ███") == 1  # the bar in its last state


def test_a_killed_launcher_ends_its_workers(lora, hosts, tmp_path):
    staging = tmp_path / "adapters.training"
    words = [ROOT / "bin/python", ".venv/bin/mlx.launch", "--hostfile", hosts, "--", *TRAIN]
    words += lora(staging, batch_size=4, iters=100000)
    with subprocess.Popen(
        list(map(str, words)),
        cwd=ROOT,
        env=clean_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as launcher:
        wait_for(lambda: read_metrics(staging))
        launcher.kill()
    wait_for(lambda: not processes_of(staging))
    assert not (staging / "training.json").exists()


def processes_of(folder: Path) -> list[str]:
    words = ["ps", "-eww", "-o", "args="]
    listed = subprocess.run(words, capture_output=True, text=True).stdout
    return [line for line in listed.splitlines() if str(folder) in line]
