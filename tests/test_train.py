"""The companion of mlx_lm lora: it changes no bit, tells all, stops in time, and goes on."""

import json
import re
import signal
import subprocess
from argparse import Namespace

import pytest

from checkpoints import find_checkpoints, is_whole, losses, read_metrics, sparkline
from conftest import ROOT
from files import read_json, sha256_of
from metrics import Metrics, StopTraining
from training import SENTENCES, TRAIN, best, break_off, run, run_training, write_data


def weights(folder) -> dict[str, str]:
    return {file.name: sha256_of(file) for file in folder.glob("*.safetensors")}


def test_the_weights_are_those_of_the_bare_command(lora, tmp_path):
    """Bit for bit, each checkpoint and the last; and the metrics are what mlx-lm printed."""
    bare = run(ROOT / "bin/python", "-m", *lora(tmp_path / "bare"))
    assert bare.returncode == 0, bare.stderr
    trained = run_training(lora(tmp_path / "trained"), "--patience", 9)
    assert trained.returncode == 0, trained.stderr
    assert len(weights(tmp_path / "bare")) == 4
    assert weights(tmp_path / "bare") == weights(tmp_path / "trained")
    printed = re.findall(r"(?m)^ +(\d+) +([\d.]+) [▼▲]", re.sub(r"\x1b\[[\d;]*m", "", bare.stdout))
    metrics = read_metrics(tmp_path / "trained")
    train = losses(metrics, "train_loss")
    assert printed == [(str(n), f"{loss:.3f}") for n, loss in train.items()]
    assert list(train) == list(range(5, 61, 5))
    assert list(losses(metrics, "val_loss")) == [0, 19, 39, 59]
    for entry in metrics:
        assert {"iteration", "tokens", "seconds"} <= set(entry)
        assert ("train_loss" in entry) != ("val_loss" in entry)


def test_metrics_are_there_while_training_runs(lora, tmp_path):
    staging = tmp_path / "adapters.tmp"
    break_off(lora(staging, iters=100000), lambda: len(read_metrics(staging)) > 3)
    assert len(read_metrics(staging)) > 3
    assert not (staging / "training.json").exists()


@pytest.fixture
def overfit(lora, tmp_path):
    """A training of four rows that say nothing about the ones it is validated on."""
    write_data(tmp_path / "data", list(SENTENCES) + ["Read on."], ["zyx wvu " * 4, "7 7 7 7"] * 2)
    staging = tmp_path / "adapters.tmp"
    command = lora(staging, iters=4000, learning_rate=1e-2, steps_per_eval=10, save_every=10)
    return staging, run_training(command, "--patience", 3, "--min-delta", 0.001)


def test_overfitting_stops_early_and_the_best_is_kept(overfit, tmp_path):
    staging, ended = overfit
    assert ended.returncode == 0, ended.stderr
    assert "Stopped early: 3 validations without a loss lower by 0.001" in ended.stderr
    reported = losses(read_metrics(staging), "val_loss")
    stopped = max(reported)
    assert stopped < 300 and min(reported, key=reported.get) < stopped - 20
    # the checkpoint of the last validation is there, and training ended with the next report
    assert max(find_checkpoints(staging)) == stopped + 1
    assert read_json(staging / "training.json")["iterations"] == stopped + 6
    kept = best(staging, tmp_path / "out")
    assert kept.returncode == 0, kept.stderr
    training = read_json(tmp_path / "out/training.json")
    assert training["stopped_early"] is True and "3 validations" in training["stop_reason"]
    assert training["best_val_loss"] == min(c["val_loss"] for c in training["candidates"])
    assert training["gain_over_last"] > 0
    n = training["best_iteration"]
    assert n < training["last_iteration"] == stopped + 1
    assert weights(tmp_path / "out") == {
        "adapters.safetensors": sha256_of(staging / f"{n:07d}_adapters.safetensors")
    }


def test_the_recorded_loss_is_that_of_the_kept_weights(overfit, lora, tmp_path):
    """Recomputed by the real mlx_lm lora --test, from the folder that was kept."""
    best(overfit[0], tmp_path / "out")
    (tmp_path / "data/valid.jsonl").rename(tmp_path / "data/test.jsonl")
    command = lora(tmp_path / "out", test_batches=-1, batch_size=1)
    command[command.index("--train")] = "--test"
    tested = run(ROOT / "bin/python", "-m", *command)
    recorded = read_json(tmp_path / "out/training.json")["best_val_loss"]
    assert f"Test loss {recorded:.3f}," in tested.stdout


def test_a_loss_that_is_no_number_ends_training_at_once(lora, tmp_path):
    staging = tmp_path / "adapters.tmp"
    ended = run_training(lora(staging, learning_rate=1e30, iters=100000))
    assert ended.returncode == 1
    assert re.search(r"train: the \w+_loss is (nan|inf) after \d+ iterations: lower", ended.stderr)
    assert "Traceback" not in ended.stderr
    training = read_json(staging / "training.json")
    assert training["stopped_early"] is True and training["failed"] is True
    refused = best(staging, tmp_path / "out")
    assert refused.returncode == 1 and "loss is" in refused.stderr
    assert not (tmp_path / "out").exists()
    assert json.loads((staging / "metrics.jsonl").read_text().splitlines()[-1])


@pytest.mark.parametrize("reports", [1, 8])
def test_a_killed_training_goes_on(lora, tmp_path, reports):
    staging = tmp_path / "adapters.tmp"
    command = lora(staging, iters=80)
    break_off(command, lambda: len(read_metrics(staging)) >= reports)
    done = max(find_checkpoints(staging), default=0)
    ended = run_training(command, "--resume")
    assert ended.returncode == 0, ended.stderr
    said = f"Going on after iteration {done}. Optimizer, schedule and data order start anew."
    assert (said if done else "There is no checkpoint to go on from") in ended.stdout
    train = [e["iteration"] for e in read_metrics(staging) if "train_loss" in e]
    assert train == list(range(5, 81, 5))
    assert sorted(find_checkpoints(staging)) == [20, 40, 60, 80]
    metrics = read_metrics(staging)
    assert [e["seconds"] for e in metrics] == sorted(e["seconds"] for e in metrics)
    assert [e["tokens"] for e in metrics] == sorted(e["tokens"] for e in metrics)
    kept = best(staging, tmp_path / "out")
    assert kept.returncode == 0, kept.stderr
    training = read_json(tmp_path / "out/training.json")
    assert training["resumed_from"] == (done or None)
    assert (training["iterations"], training["last_iteration"]) == (80, 80)


def test_a_training_resumed_twice_counts_on(lora, tmp_path):
    staging = tmp_path / "adapters.tmp"
    command = lora(staging, iters=200)
    break_off(command, lambda: find_checkpoints(staging))
    first = max(find_checkpoints(staging))
    break_off(command, lambda: max(find_checkpoints(staging)) > first, "--resume")
    second = max(find_checkpoints(staging))
    assert run_training(command, "--resume").returncode == 0
    assert sorted(find_checkpoints(staging)) == list(range(20, 201, 20))
    assert read_json(staging / "training.json")["resumed_at"] == [first, second]


def test_a_checkpoint_cut_off_is_not_resumed_from(lora, tmp_path):
    staging = tmp_path / "adapters.tmp"
    run_training(lora(staging))
    (staging / "training.json").unlink()
    cut = staging / "0000060_adapters.safetensors"
    cut.write_bytes(cut.read_bytes()[:-10])
    assert not is_whole(cut)
    ended = run_training(lora(staging), "--resume")
    assert "Going on after iteration 40." in ended.stdout
    assert find_checkpoints(staging)[60].parent.name == "resumed-0000040"


def test_another_training_is_not_gone_on_with(lora, tmp_path):
    staging = tmp_path / "adapters.tmp"
    break_off(lora(staging, iters=5000), lambda: find_checkpoints(staging))
    before = read_metrics(staging)
    refused = run_training(lora(staging, iters=5000, learning_rate=1e-5), "--resume")
    assert refused.returncode == 2 and refused.stderr.count("\n") == 1
    assert "it had learning_rate=0.001, now it is 1e-05" in refused.stderr
    refused = run_training(lora(staging, iters=10), "--resume")
    assert refused.returncode == 2 and "it had iters=5000, now it is 10" in refused.stderr
    assert read_metrics(staging) == before and not list(staging.glob("resumed-*"))
    write_data(tmp_path / "data", ["Another."] * 24, ["And another."] * 9)
    refused = run_training(lora(staging, iters=5000), "--resume")
    assert refused.returncode == 2 and "it had rows=" in refused.stderr


def test_the_learning_rate_falls_to_its_end_again(lora, tmp_path):
    """A resumed schedule begins anew, and ends with the last iteration."""
    staging = tmp_path / "adapters.tmp"
    break_off(lora(staging), lambda: find_checkpoints(staging), "--lr-schedule", "cosine_decay")
    ended = run_training(lora(staging), "--lr-schedule", "cosine_decay", "--resume")
    assert ended.returncode == 0, ended.stderr
    rates = [entry["learning_rate"] for entry in read_metrics(staging) if "learning_rate" in entry]
    assert rates[0] > 9e-4 and rates[-1] < 1e-5


def test_a_training_that_has_ended_is_not_trained_again(lora, tmp_path):
    staging = tmp_path / "adapters.tmp"
    run_training(lora(staging, iters=20))
    again = run_training(lora(staging, iters=20), "--resume")
    assert again.returncode == 0 and "had come to its end" in again.stdout


def test_all_weights_of_the_layers_are_trained_and_resumed(lora, tmp_path):
    """FINE_TUNE_TYPE=full; and the last weights half written, as a kill may leave them."""
    staging = tmp_path / "adapters.tmp"
    command = lora(staging, fine_tune_type="full")
    break_off(command, lambda: find_checkpoints(staging))
    last = staging / "adapters.safetensors"
    last.write_bytes(last.read_bytes()[:5000])
    ended = run_training(command, "--resume")
    assert ended.returncode == 0, ended.stderr
    kept = best(staging, tmp_path / "out")
    assert kept.returncode == 0, kept.stderr
    assert read_json(tmp_path / "out/adapter_config.json")["report_to"] is None


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_interrupting_says_how_to_go_on(lora, tmp_path, signum):
    staging = tmp_path / "adapters.tmp"
    command = lora(staging, iters=100000)
    status, error = break_off(command, lambda: find_checkpoints(staging), signum=signum)
    how = r"RESUME=1 goes on after iteration \d+, without it training starts over"
    assert re.fullmatch(rf"train: interrupted; {how}\n", error)
    assert status == 130


def metrics_of(staging, patience=0, done=0, iters=999, save_every=10) -> Metrics:
    args = Namespace(patience=patience, min_delta=0.05)
    typed = Namespace(iters=iters, save_every=save_every)
    return Metrics(staging, done, read_metrics(staging), args, typed)


def validate(metrics: Metrics, values: list[float]) -> int:
    """Report validation losses every 10 iterations until it stops; iterations trained by then."""
    train = {"train_loss": 1.0, "trained_tokens": 1, "tokens_per_second": 1, "peak_memory": 1}
    for n, loss in enumerate(values):
        metrics.on_val_loss_report(
            {"iteration": 10 * n - 1 if n else 0, "val_loss": loss, "val_time": 1}
        )
        for iteration in (10 * n, 10 * n + 5):
            try:
                metrics.on_train_loss_report(train | {"iteration": iteration, "learning_rate": 1})
            except StopTraining:
                return iteration
    return -1


@pytest.mark.parametrize(
    ("patience", "values", "stops"),
    [
        (2, [5, 4, 3, 2, 1], -1),
        (2, [5, 4, 4, 4, 4], 35),
        (2, [5, 4, 4.5, 3, 3.5, 3.6], 55),
        (2, [5, 4, 3.99, 3.98, 3], 35),  # lower, but by less than min_delta
        (0, [5, 6, 7, 8, 9], -1),
        (1, [5, 6, 7], 15),
    ],
)
def test_patience_counts_validations_without_gain(tmp_path, patience, values, stops):
    assert validate(metrics_of(tmp_path, patience=patience), values) == stops


def test_patience_remembers_what_was_before_a_resumption(tmp_path):
    validate(metrics_of(tmp_path), [5, 4, 4.5])
    resumed = metrics_of(tmp_path, done=20, patience=2)
    assert (resumed.lowest, resumed.stale) == (4, 1)
    # the first is of the weights that the last one was of, and does not count
    assert validate(resumed, [4.6, 4.7]) == 15


def test_the_last_iteration_ends_by_itself(tmp_path):
    """Stopped there, it would lose its update and call itself early."""
    assert validate(metrics_of(tmp_path, patience=1, iters=15), [5, 6]) == -1


def test_training_stops_only_where_there_is_a_checkpoint(tmp_path):
    assert validate(metrics_of(tmp_path, patience=1, save_every=30), [5, 6, 7, 8, 9]) == 35


@pytest.mark.parametrize(
    ("values", "curve"),
    [([1, 2, 3], "▁▅█"), ([5], "▁"), ([2, 2], "▁▁"), ([1, float("nan"), 2], "▁×█"), ([], "")],
)
def test_a_curve_in_a_line(values, curve):
    assert sparkline(values) == curve


def test_only_mlx_lm_lora_is_run():
    refused = run(*TRAIN, "ls")
    assert refused.returncode == 2 and "begins with: mlx_lm lora" in refused.stderr


def test_a_report_for_another_service_is_kept_too(lora, tmp_path):
    """REPORT_TO: mlx-lm's own WandBCallback, with the wandb of the Python path, beside ours."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site/wandb.py").write_text(
        "def init(**options): print('init', options['project'])\n"
        "def log(entry, step): print('log', step, sorted(entry)[0])\n"
    )
    command = lora(tmp_path / "adapters.tmp", report_to="wandb", project_name="mine")
    ended = subprocess.run(
        list(map(str, [*TRAIN, *command])),
        env={"PYTHONPATH": str(tmp_path / "site"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
    assert "init mine" in ended.stdout and ended.stdout.count("log ") == 16
    assert len(read_metrics(tmp_path / "adapters.tmp")) == 16
