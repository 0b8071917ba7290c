"""Follow an `mlx_lm lora` command: metrics while it trains, an early stop, a run that goes on.

    python follow.py [--resume] [--patience N] [--min-delta D] -- mlx_lm lora --train ...

The command runs in this process exactly as `python -m mlx_lm lora` runs it, with one more entry in
mlx-lm's own list of reporting callbacks (the one of --report-to wandb). Callbacks carry what
the printed table rounds, and they have kept their form while that table has changed its own.

metrics.jsonl in the adapter path gets a line for each report, while training runs; an iteration is
the number of batches that the weights have seen. mlx-lm validates before the update of iteration
N and prints that loss under N: here it stands under N - 1. training.json is written at the end.

Exit status: 0 trained or stopped early, 1 a loss that is no number, 2 what can't be used.
"""

import argparse
import json
import math
import os
import runpy
import signal
import sys
import tempfile
import threading
import time
import zlib
from pathlib import Path

import mlx.core as mx
import yaml
from mlx.optimizers import schedulers
from mlx_lm.lora import build_parser
from mlx_lm.tuner.callbacks import SUPPORT_CALLBACK, TrainingCallback

from checkpoints import METRICS, RESUMED, find_checkpoints, losses, read_metrics, run_folders
from files import read_json, sha256_of, write_json
from sparkline import sparkline

# What must be the same for a run to go on: keys of the adapter_config.json that mlx-lm writes.
SAME = (
    *("model", "data", "mask_prompt", "max_seq_length", "batch_size", "grad_accumulation_steps"),
    *("fine_tune_type", "num_layers", "lora_parameters", "optimizer", "learning_rate"),
)


class StopTraining(Exception):
    """Raised out of mlx-lm's loop. `failed` when what was trained is of no use."""

    def __init__(self, reason: str, failed: bool):
        super().__init__(reason)
        self.failed = failed


class Metrics(TrainingCallback):
    """Writes each report to metrics.jsonl and stops a training that no longer gets anywhere.

    `staging` is the training's folder, `None` on workers that write nothing; `start` the iterations
    of earlier runs; `patience` validations without a loss lower by `min_delta` end training, 0
    never does.
    """

    def __init__(self, staging: Path | None, start: int, patience: int, min_delta: float):
        self.staging, self.start = staging, start
        self.patience, self.min_delta = patience, min_delta
        kept = read_metrics(staging) if staging else []
        last = kept[-1] if kept else {"seconds": 0, "tokens": 0}
        self.tokens_before, self.tokens = last["tokens"], last["tokens"]
        self.began = time.monotonic() - last["seconds"]
        self.iterations = start
        self.val_losses = losses(kept, "val_loss")
        self.ends_after = None  # the iteration after which an early stop takes place
        self.reason = None

    def seconds(self) -> float:
        """Of training so far, over all runs."""
        return round(time.monotonic() - self.began, 2)

    def write(self, entry: dict) -> None:
        """Add a line to metrics.jsonl; null for what is no number."""
        if self.staging:
            entry = {k: v if math.isfinite(v) else None for k, v in entry.items()}
            with (self.staging / METRICS).open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(entry) + "\n")

    def on_train_loss_report(self, train_info: dict) -> None:
        """mlx-lm calls it every steps_per_report iterations, and after the last."""
        self.iterations = self.start + train_info["iteration"]
        self.tokens = self.tokens_before + train_info["trained_tokens"]
        self.write(
            {
                "iteration": self.iterations,
                "train_loss": train_info["train_loss"],
                "tokens": self.tokens,
                "seconds": self.seconds(),
                "tokens_per_second": round(train_info["tokens_per_second"], 1),
                "learning_rate": train_info["learning_rate"],
                "peak_memory_gb": round(train_info["peak_memory"], 3),
            }
        )
        self.refuse_nan("training", train_info["train_loss"])
        # The checkpoint that belongs to the last validation is saved after that iteration's report.
        if self.ends_after is not None and self.iterations > self.ends_after:
            raise StopTraining(self.reason, failed=False)

    def on_val_loss_report(self, val_info: dict) -> None:
        """mlx-lm calls it after each validation, before the update of that iteration."""
        iteration = self.start + val_info["iteration"]
        loss = val_info["val_loss"]
        self.write(
            {
                "iteration": iteration,
                "val_loss": loss,
                "tokens": self.tokens,
                "seconds": self.seconds(),
                "val_seconds": round(val_info["val_time"], 2),
            }
        )
        self.refuse_nan("validation", loss)
        self.val_losses[iteration] = loss
        best = min(self.val_losses, key=self.val_losses.get)
        curve = sparkline(list(self.val_losses.values()))
        if self.staging:
            print(f"          {curve}  lowest {self.val_losses[best]:.3f}")
        if self.patience and self.ends_after is None and self.stale() >= self.patience:
            self.ends_after = iteration + 1
            self.reason = (
                f"{self.patience} validations without a loss lower by {self.min_delta:g}"
                f" than the {self.val_losses[best]:.4f} after {best} iterations"
            )

    def stale(self) -> int:
        """How many of the last validations have not lowered the loss by min_delta."""
        lowest, count = math.inf, 0
        for loss in self.val_losses.values():
            if loss < lowest - self.min_delta:
                lowest, count = loss, 0
            else:
                count += 1
        return count

    def refuse_nan(self, what: str, loss: float) -> None:
        """Raises StopTraining when `loss` is NaN or infinite: nothing good comes after that."""
        if not math.isfinite(loss):
            raise StopTraining(
                f"the {what} loss is {loss} after {self.iterations} iterations:"
                " lower LEARNING_RATE, and see that MAX_SEQ_LENGTH leaves an answer in every row",
                failed=True,
            )


def going_on(done: int, name: str, arguments: list):
    """A learning rate schedule of mlx that begins after `done` updates."""
    schedule = getattr(schedulers, name)(*arguments)
    return lambda step: schedule(step + done)


def check_same(staging: Path, config: dict) -> None:
    """Raises ValueError when the training in `staging` was another one than `config` describes."""
    before = read_json(staging / "adapter_config.json")
    for key in SAME:
        if before.get(key) != config.get(key):
            raise ValueError(
                f"{staging} was trained with {key}={before.get(key)}, now it is {config.get(key)};"
                " RESUME=1 needs the same, without it training starts over"
            )


def data_digests(data: str) -> dict:
    """sha256 of the rows that are trained and validated on."""
    files = [Path(data) / name for name in ("train.jsonl", "valid.jsonl")]
    return {file.name: sha256_of(file) for file in files if file.is_file()}


def keep_metrics(staging: Path, iterations: int) -> None:
    """Drop from metrics.jsonl what will be reported again when training goes on there."""
    kept = [
        entry
        for entry in read_metrics(staging)
        if entry["iteration"] < iterations + ("train_loss" in entry)
    ]
    scratch = staging / f"{METRICS}.tmp"
    scratch.write_text("".join(json.dumps(entry) + "\n" for entry in kept), encoding="utf-8")
    scratch.replace(staging / METRICS)


def options_to_resume(staging: Path, lora, writes: bool) -> tuple[int, list[str]]:
    """(iterations done, options that make the command in `lora` do only what is left).

    Seed and data order can't go on where they were; another seed at least draws another order.
    """
    checkpoints = find_checkpoints(staging)
    if not checkpoints:
        return 0, []
    done, checkpoint = max(checkpoints.items())
    folder = staging / f"{RESUMED}{done:07d}"
    options = ["--iters", str(lora.iters - done), "--resume-adapter-file", str(checkpoint)]
    options += ["--seed", str(((lora.seed or 0) + done) % 2**32), "--adapter-path", str(folder)]
    if writes:
        folder.mkdir(exist_ok=True)
    config = yaml.safe_load(Path(lora.config).read_text(encoding="utf-8")) if lora.config else {}
    if schedule := config.get("lr_schedule"):
        updates = done // (lora.grad_accumulation_steps or 1)
        arguments = [updates, schedule["name"], schedule["arguments"]]
        config["lr_schedule"] = {"name": "going_on", "arguments": arguments}
        if writes:
            (folder / "lora.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        options += ["--config", str(folder / "lora.yaml")]
    return done, options


def check_workers_agree(world, plan: list) -> None:
    """Raises ValueError, on every worker, when they are about to train different things."""
    mine = zlib.crc32(json.dumps(plan).encode())
    theirs = mx.distributed.all_gather(
        mx.array([mine], mx.uint32), group=world, stream=mx.cpu
    ).tolist()
    if set(theirs) != {mine}:
        raise ValueError(
            "the workers differ in options, data or checkpoints; give every host the same clone,"
            " data and checkpoints"
        )


def end_with_launcher() -> None:
    """End when standard input closes: mlx.launch holds it open for as long as it lives."""

    def wait():
        while os.read(0, 4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


def train(args, argv: list[str], staging: Path, scratch: str) -> int:
    """Run the command `argv`, without "mlx_lm lora"; `scratch` is for a worker's own writing."""
    world = mx.distributed.init()
    writes = world.rank() == 0
    lora = build_parser().parse_known_args(argv)[0]
    done, options = options_to_resume(staging, lora, writes) if args.resume else (0, [])
    ended = args.resume and (staging / "training.json").is_file()
    digests = data_digests(lora.data)
    check_workers_agree(world, [argv, done, ended, digests])
    if ended:
        return int(read_json(staging / "training.json")["failed"])
    if world.size() > 1:
        end_with_launcher()
    if writes:
        begin(staging, done, digests, args.resume)
    else:
        options += ["--adapter-path", scratch]
    metrics = Metrics(staging if writes else None, done, args.patience, args.min_delta)

    def register(config, **_):
        if done:
            check_same(staging, config)
        return metrics

    SUPPORT_CALLBACK["metrics"] = register
    schedulers.going_on = going_on
    services = f"metrics,{lora.report_to}" if writes and lora.report_to else "metrics"
    status, stopped = 0, None
    if done < lora.iters:
        sys.argv = ["mlx_lm", "lora", *argv, *options, "--report-to", services]
        try:
            runpy.run_module("mlx_lm", run_name="__main__")
        except StopTraining as stop:
            status, stopped = int(stop.failed), str(stop)
            if writes:
                print(f"{'train' if status else 'Stopped early'}: {stop}", file=sys.stderr)
    if writes:
        record(staging, metrics, status, stopped)
    return status


def begin(staging: Path, done: int, digests: dict, resumes: bool) -> None:
    """Say where training begins, and ready `staging` for it. Raises ValueError on other rows."""
    if done:
        if read_json(staging / "inputs.json") != digests:
            raise ValueError(f"{staging}: trained on other rows; train without RESUME=1")
        print(f"Going on after iteration {done}. Optimizer state and data order start anew.")
    elif resumes:
        print(f"Nothing to resume in {staging}: training starts at iteration 1.")
    write_json(staging / "inputs.json", digests)
    keep_metrics(staging, done)


def record(staging: Path, metrics: Metrics, status: int, stopped: str | None) -> None:
    """Write training.json: training has ended, and how."""
    starts = [start for start, _ in run_folders(staging)]
    training = {
        "schema": 1,
        "stopped_early": stopped is not None,
        "stop_reason": stopped,
        "failed": status != 0,
        "iterations": metrics.iterations,
        "seconds": metrics.seconds(),
        "resumed_from": starts[-1] or None,
        "resumed_at": starts[1:],
    }
    write_json(staging / "training.json", training)


def interrupted(_signum, _frame):
    raise KeyboardInterrupt


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    parser.add_argument("--patience", type=int, default=0, help="validations; 0 never stops early")
    parser.add_argument("--min-delta", type=float, default=0.0, help="what counts as lower")
    parser.add_argument("command", nargs="+", help="mlx_lm lora --train ...")
    args = parser.parse_args()
    if args.command[:2] != ["mlx_lm", "lora"]:
        parser.error("the command to follow begins with: mlx_lm lora")
    argv = args.command[2:]
    staging = Path(build_parser().parse_known_args(argv)[0].adapter_path or "adapters")
    for signum in (signal.SIGINT, signal.SIGTERM):  # mlx.launch's workers inherit INT ignored
        signal.signal(signum, interrupted)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            staging.mkdir(parents=True, exist_ok=True)
            return train(args, argv, staging, scratch)
    except (ValueError, OSError) as error:
        print(f"train: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        if mx.distributed.init().rank() == 0:
            done = max(find_checkpoints(staging), default=0)
            print(f"train: interrupted; RESUME=1 goes on after iteration {done}", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
