"""py/train.py: the weights of mlx_lm lora, with metrics, an early stop, and resuming."""

import re
import signal
from argparse import Namespace

import mlx.core as mx
import pytest

from checkpoints import find_checkpoints, is_whole, losses, read_metrics
from conftest import ROOT
from files import read_json, sha256_of
from metrics import Metrics, StopTraining
from training import SENTENCES, best, break_off, run, run_training, write_data


def weights(folder) -> dict[str, str]:
    return {file.name: sha256_of(file) for file in folder.glob("*adapters.safetensors")}


def test_weights_are_those_of_the_bare_command(lora, tmp_path):
    """Each checkpoint is the same bit for bit, and the metrics are what mlx-lm printed."""
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


@pytest.fixture
def overfit(lora, tmp_path):
    """A training of four rows that have nothing in common with the validation rows."""
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
    # The last validation's checkpoint is there. The next report ended training.
    assert max(find_checkpoints(staging)) == stopped + 1
    assert read_json(staging / "training.json")["iterations"] == stopped + 6
    kept = best(staging, tmp_path / "out")
    assert kept.returncode == 0, kept.stderr
    training = read_json(tmp_path / "out/training.json")
    assert training["stopped_early"] is True and "3 validations" in training["stop_reason"]
    assert training["best_val_loss"] == min(c["val_loss"] for c in training["candidates"])
    assert training["gain_over_last"] > 0
    n = training["best_iteration"]
    assert n < training["candidates"][-1]["iteration"] == stopped + 1
    assert weights(tmp_path / "out") == {
        "adapters.safetensors": sha256_of(staging / f"{n:07d}_adapters.safetensors")
    }


def test_the_recorded_loss_is_that_of_the_kept_weights(overfit, lora, tmp_path):
    """mlx_lm lora --test computes it from the folder that was kept."""
    best(overfit[0], tmp_path / "out")
    (tmp_path / "data/valid.jsonl").rename(tmp_path / "data/test.jsonl")
    command = lora(tmp_path / "out", test_batches=-1, batch_size=1)
    command[command.index("--train")] = "--test"
    tested = run(ROOT / "bin/python", "-m", *command)
    recorded = read_json(tmp_path / "out/training.json")["best_val_loss"]
    assert f"Test loss {recorded:.3f}," in tested.stdout


def test_a_loss_of_nan_ends_training_at_once(lora, tmp_path):
    staging = tmp_path / "adapters.tmp"
    ended = run_training(lora(staging, learning_rate=1e30, iters=100000))
    assert ended.returncode == 1
    assert re.search(r"train: the \w+_loss is (nan|inf) after \d+ iterations: lower", ended.stderr)
    assert "Traceback" not in ended.stderr
    refused = best(staging, tmp_path / "out")  # under mlx.launch make would go on to it
    assert refused.returncode == 1 and "has not come to its end" in refused.stderr
    assert not (tmp_path / "out").exists()
    assert read_metrics(staging)


def test_a_checkpoint_whose_loss_is_nan_is_not_kept(lora, tmp_path):
    staging = tmp_path / "adapters.tmp"
    run_training(lora(staging, iters=40))
    last = str(staging / "0000040_adapters.safetensors")
    mx.save_safetensors(last, {name: w * float("nan") for name, w in mx.load(last).items()})
    kept = best(staging, tmp_path / "out")
    assert kept.returncode == 0 and "the loss of iteration 40 is nan" in kept.stderr
    training = read_json(tmp_path / "out/training.json")
    assert (training["best_iteration"], training["last_val_loss"]) == (20, None)


@pytest.mark.parametrize("reports", [1, 8])
def test_a_killed_training_goes_on(lora, tmp_path, reports):
    staging = tmp_path / "adapters.tmp"
    command = lora(staging, iters=80)
    break_off(command, lambda: len(read_metrics(staging)) >= reports)
    done = max(find_checkpoints(staging), default=0)
    ended = run_training(command, "--resume")
    assert ended.returncode == 0, ended.stderr
    said = f"Going on after iteration {done}."
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
    assert training["iterations"] == training["candidates"][-1]["iteration"] == 80


def test_a_training_can_be_resumed_twice(lora, tmp_path):
    staging = tmp_path / "adapters.tmp"
    command = lora(staging, iters=200)
    break_off(command, lambda: find_checkpoints(staging))
    first = max(find_checkpoints(staging))
    break_off(command, lambda: max(find_checkpoints(staging)) > first, "--resume")
    second = max(find_checkpoints(staging))
    assert run_training(command, "--resume").returncode == 0
    assert sorted(find_checkpoints(staging)) == list(range(20, 201, 20))
    assert read_json(staging / "training.json")["resumed_at"] == [first, second]


@pytest.mark.parametrize("options", [(), ("--lr-schedule", "cosine_decay")])
def test_a_resumed_training_ends_where_an_unbroken_one_does(lora, tmp_path, options):
    broken, whole = lora(tmp_path / "a"), lora(tmp_path / "b")
    break_off(broken, lambda: find_checkpoints(tmp_path / "a"), *options)
    assert run_training(broken, *options, "--resume").returncode == 0
    assert run_training(whole, *options).returncode == 0
    last = find_checkpoints(tmp_path / "a")[60]
    assert sha256_of(last) == sha256_of(tmp_path / "b/adapters.safetensors")


def test_checkpoints_without_the_optimizer_are_not_thrown_away(lora, tmp_path):
    staging = tmp_path / "adapters.tmp"
    break_off(lora(staging, iters=5000), lambda: find_checkpoints(staging))
    for file in staging.glob("*_optimizer.safetensors"):
        file.unlink()
    refused = run_training(lora(staging, iters=5000), "--resume")
    assert refused.returncode == 2 and "no checkpoint has its optimizer's state" in refused.stderr
    assert find_checkpoints(staging)


def test_half_a_checkpoint_is_not_resumed_from(lora, tmp_path):
    staging = tmp_path / "adapters.tmp"
    run_training(lora(staging))
    (staging / "training.json").unlink()
    cut = staging / "0000060_adapters.safetensors"
    cut.write_bytes(cut.read_bytes()[:-10])
    assert not is_whole(cut)
    ended = run_training(lora(staging), "--resume")
    assert "Going on after iteration 40." in ended.stdout
    assert find_checkpoints(staging)[60].parent.name == "resumed-0000040"


def test_resume_refuses_another_training(lora, tmp_path):
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


def test_the_schedule_of_a_resumed_training_ends_with_it(lora, tmp_path):
    staging = tmp_path / "adapters.tmp"
    break_off(lora(staging), lambda: find_checkpoints(staging), "--lr-schedule", "cosine_decay")
    ended = run_training(lora(staging), "--lr-schedule", "cosine_decay", "--resume")
    assert ended.returncode == 0, ended.stderr
    rates = [entry["learning_rate"] for entry in read_metrics(staging) if "learning_rate" in entry]
    assert rates[0] > 9e-4 and rates[-1] < 1e-5


def test_resume_leaves_a_finished_training_alone(lora, tmp_path):
    staging = tmp_path / "adapters.tmp"
    run_training(lora(staging, iters=20))
    again = run_training(lora(staging, iters=20), "--resume")
    assert again.returncode == 0 and "had come to its end" in again.stdout


def test_full_fine_tuning_is_resumed(lora, tmp_path):
    """Also when a kill has left half a file of the last weights."""
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


def test_patience_counts_on_after_resuming(tmp_path):
    validate(metrics_of(tmp_path), [5, 4, 4.5])
    resumed = metrics_of(tmp_path, done=20, patience=2)
    assert (resumed.lowest, resumed.stale) == (4, 1)
    # The first validation is of the same weights as the last one before, and does not count.
    assert validate(resumed, [4.6, 4.7]) == 15


def test_training_does_not_stop_early_at_its_last_iteration(tmp_path):
    assert validate(metrics_of(tmp_path, patience=1, iters=15), [5, 6]) == -1


def test_training_stops_only_where_there_is_a_checkpoint(tmp_path):
    assert validate(metrics_of(tmp_path, patience=1, save_every=30), [5, 6, 7, 8, 9]) == 35


def test_report_to_sends_the_metrics_to_another_service_too(lora, tmp_path, monkeypatch):
    """With mlx-lm's own WandBCallback, and a wandb that prints and keeps a folder."""
    (tmp_path / "wandb.py").write_text(
        "import pathlib\n"
        "def init(project, dir, **_): print('init', project); pathlib.Path(dir, 'wandb').mkdir()\n"
        "def log(entry, step): print('log', step)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    staging = tmp_path / "adapters.tmp"
    ended = run_training(lora(staging, report_to="wandb", project_name="mine"))
    assert ended.returncode == 0, ended.stderr
    assert "init mine" in ended.stdout and ended.stdout.count("log ") == 16
    assert len(read_metrics(staging)) == 16
    assert best(staging, tmp_path / "out").returncode == 0
    assert (tmp_path / "out/wandb").is_dir()
    assert read_json(tmp_path / "out/adapter_config.json")["report_to"] == "wandb"
