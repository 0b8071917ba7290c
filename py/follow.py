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
from types import SimpleNamespace

import mlx.core as mx
import yaml
from mlx.optimizers import schedulers
from mlx_lm.lora import CONFIG_DEFAULTS, build_parser, yaml_loader
from mlx_lm.tuner.callbacks import SUPPORT_CALLBACK, TrainingCallback

from checkpoints import METRICS, RESUMED, find_checkpoints, losses, read_metrics, run_folders
from files import read_json, sha256_of, write_json
from sparkline import sparkline

INPUTS = "inputs.json"  # what the training in a folder is of
# Options of mlx_lm lora that must be the same for a run to go on.
SAME = (
    *("model", "data", "mask_prompt", "max_seq_length", "batch_size", "grad_accumulation_steps"),
    *("fine_tune_type", "num_layers", "lora_parameters", "optimizer", "optimizer_config"),
    *("learning_rate", "lr_schedule"),
)


class StopTraining(Exception):
    """Raised out of mlx-lm's loop. `failed` when what was trained is of no use."""

    def __init__(self, reason: str, failed: bool):
        super().__init__(reason)
        self.failed = failed


class Metrics(TrainingCallback):
    """Writes each report to metrics.jsonl and stops a training that no longer gets anywhere.

    `staging` is the training's folder, `None` on workers that write nothing; `lora` the options of
    the command, `start` the iterations of earlier runs; `patience` validations without a
    loss lower by `min_delta` end training, 0 never does.
    """

    def __init__(self, staging: Path | None, lora, start: int, patience: int, min_delta: float):
        self.staging, self.lora, self.start = staging, lora, start
        self.patience, self.min_delta = patience, min_delta
        kept = read_metrics(staging) if staging else []
        last = kept[-1] if kept else {"seconds": 0, "tokens": 0}
        self.tokens_before, self.tokens = last["tokens"], last["tokens"]
        self.began = time.monotonic() - last["seconds"]
        self.iterations = start
        self.curve: list[float] = []
        self.lowest, self.stale = math.inf, 0  # validations since the loss fell by min_delta
        for loss in losses(kept, "val_loss").values():
            self.judge(loss)
        self.ends_after = None  # the iteration after which an early stop takes place
        self.reason = None

    def judge(self, loss: float) -> None:
        """Count a validation for the early stop."""
        self.curve.append(loss)
        if loss < self.lowest - self.min_delta:
            self.lowest, self.stale = loss, 0
        else:
            self.stale += 1

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
        # A checkpoint is saved after its iteration's report; the last iteration ends by itself.
        if self.ends_after is not None and self.ends_after < self.iterations < self.lora.iters:
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
        if not self.start or iteration > self.start:
            self.judge(loss)
        else:  # a resumed run begins with one that it has had
            self.curve.append(loss)
        if self.staging:
            print(f"          {sparkline(self.curve)}  lowest {min(self.curve):.3f}")
        if self.patience and self.ends_after is None and self.stale >= self.patience:
            done = val_info["iteration"] + 1
            self.ends_after = self.start + done + -done % (self.lora.save_every or 100)
            self.reason = (
                f"{self.patience} validations without a loss lower by {self.min_delta:g}"
                f" than {self.lowest:.4f}, the last after {iteration} iterations"
            )

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


def read_options(argv: list[str]) -> SimpleNamespace:
    """All options of the command, with its YAML and mlx-lm's defaults, as mlx-lm reads them."""
    options, written = vars(build_parser().parse_args(argv)), {}
    if options["config"]:
        written = yaml.load(Path(options["config"]).read_text(encoding="utf-8"), yaml_loader) or {}
    for key, default in {**CONFIG_DEFAULTS, **written}.items():
        if options.get(key) is None:
            options[key] = default
    return SimpleNamespace(**options)


def row_digests(data: str) -> dict[str, str]:
    """sha256 of the rows that are trained and validated on."""
    files = [Path(data) / name for name in ("train.jsonl", "valid.jsonl")]
    return {file.name: sha256_of(file) for file in files if file.is_file()}


def inputs_of(lora) -> dict:
    """What makes a training this training: options, rows, iterations."""
    options = {key: getattr(lora, key) for key in SAME}
    return {"schema": 1, "options": options, "rows": row_digests(lora.data), "iters": lora.iters}


def check_same(staging: Path, inputs: dict, done: int, ended: bool) -> None:
    """Raises ValueError when the training in `staging` can't go on as the one of `inputs`."""
    before, what = (
        read_json(staging / INPUTS),
        f"{staging}: RESUME=1 cannot go on with this training",
    )
    for key, new in inputs["options"].items():
        if before["options"].get(key) != new:
            if before["iters"] != inputs["iters"]:  # a schedule is as long as its training
                raise ValueError(f"{what}: it had ITERS={before['iters']}, not {inputs['iters']}")
            raise ValueError(f"{what}: it had {key}={before['options'].get(key)}, now it is {new}")
    if before["rows"] != inputs["rows"]:
        raise ValueError(f"{what}: it was of other rows")
    if done > inputs["iters"] or (ended and before["iters"] != inputs["iters"]):
        raise ValueError(f"{what}: it has {done} iterations, and ended at ITERS={before['iters']}")


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


def go_on(lora, done: int, checkpoint: Path, folder: Path) -> dict[str, str]:
    """Options that make the command do only what is left, in the adapter path `folder`.

    Seed and data order can't go on where they were; another seed at least draws another order.
    """
    folder.mkdir(exist_ok=True)
    config = {key: getattr(lora, key) for key in ("lora_parameters", "optimizer_config")}
    if schedule := lora.lr_schedule:
        arguments = [done // lora.grad_accumulation_steps, schedule["name"], schedule["arguments"]]
        config["lr_schedule"] = {"name": "going_on", "arguments": arguments}
    (folder / "lora.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return {
        "--iters": str(lora.iters - done),
        "--resume-adapter-file": str(checkpoint),
        "--seed": str((lora.seed + done) % 2**32),
        "--adapter-path": str(folder),
        "--config": str(folder / "lora.yaml"),
    }


def prepare(lora, staging: Path, resumes: bool) -> tuple[int, bool, dict[str, str]]:
    """(iterations done, has training ended?, options to add) for a training in `staging`.

    Raises ValueError when it can't go on.
    """
    checkpoints = find_checkpoints(staging) if resumes else {}
    done, checkpoint = max(checkpoints.items(), default=(0, None))
    ended = resumes and (staging / "training.json").is_file()
    inputs = inputs_of(lora)
    if done or ended:
        check_same(staging, inputs, done, ended)
    if ended or done == lora.iters:
        return done, ended, {}
    keep_metrics(staging, done)
    write_json(staging / INPUTS, inputs)
    if done:
        print(f"Going on after iteration {done}. Optimizer state and data order start anew.")
        return done, False, go_on(lora, done, checkpoint, staging / f"{RESUMED}{done:07d}")
    if resumes:
        print(f"Nothing to resume in {staging}: training starts at iteration 1.")
    return 0, False, {}


def share(world, payload: bytes) -> bytes:
    """What worker 0 has in `payload`, on every worker: they need not see each other's disks."""
    if world.size() == 1:
        return payload
    mine = payload if world.rank() == 0 else b""
    size = mx.distributed.all_sum(mx.array([len(mine)]), group=world, stream=mx.cpu).item()
    data = mx.array(bytearray(mine or size), mx.uint8)
    return bytes(mx.distributed.all_sum(data, group=world, stream=mx.cpu))


def share_files(world, options: dict[str, str], scratch: Path) -> dict[str, str]:
    """`options`, on workers other than 0 with the files that they name copied to `scratch`."""
    for key in ("--config", "--resume-adapter-file"):
        if not (path := options.get(key)):
            continue
        content = share(world, Path(path).read_bytes() if world.rank() == 0 else b"")
        if world.rank():
            copy = scratch / Path(path).name
            copy.write_bytes(content)
            options[key] = str(copy)
    return options if world.rank() == 0 else options | {"--adapter-path": str(scratch)}


def check_workers_agree(world, plan: list) -> None:
    """Raises ValueError, on every worker, when they are about to train different things."""
    mine = zlib.crc32(json.dumps(plan).encode())
    theirs = mx.distributed.all_gather(
        mx.array([mine], mx.uint32), group=world, stream=mx.cpu
    ).tolist()
    if set(theirs) != {mine}:
        raise ValueError("the workers differ in options or data; give every host the same clone")


def end_with_launcher() -> None:
    """End when standard input closes: mlx.launch holds it open for as long as it lives."""

    def wait():
        while os.read(0, 4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


def train(args, argv: list[str], staging: Path, scratch: Path) -> int:
    """Run the command `argv`, without "mlx_lm lora"; `scratch` is for a worker's own files."""
    world = mx.distributed.init()
    writes = world.rank() == 0
    typed = build_parser().parse_args(argv)
    if world.size() > 1:
        end_with_launcher()
    check_workers_agree(world, [argv, row_digests(typed.data)])
    plan, refused, metrics = {}, None, None
    if writes:
        try:
            lora = read_options(argv)
            done, ended, options = prepare(lora, staging, args.resume)
            metrics = Metrics(staging, lora, done, args.patience, args.min_delta)
            options = {"--config": typed.config} | options
            plan = {"done": done, "ended": ended, "options": options, "iters": lora.iters}
            plan |= {"save_every": lora.save_every, "state": [metrics.lowest, metrics.stale]}
        except (ValueError, OSError) as error:
            refused = error
    plan = json.loads(share(world, json.dumps(plan).encode()))
    if refused:
        raise refused
    if not plan or plan["ended"]:
        return say_how_it_ended(staging) if writes else 0
    options = share_files(world, plan["options"], scratch)
    if not writes:
        lora = SimpleNamespace(iters=plan["iters"], save_every=plan["save_every"])
        metrics = Metrics(None, lora, plan["done"], args.patience, args.min_delta)
        metrics.lowest, metrics.stale = plan["state"]
    status, stopped = 0, None
    if plan["done"] < plan["iters"]:
        try:
            run_lora(argv, options, metrics, typed.report_to if writes else None)
        except StopTraining as stop:
            status, stopped = int(stop.failed), str(stop)
    if not writes:
        return 0  # worker 0 says how it ended
    if stopped:
        print(f"{'train' if status else 'Stopped early'}: {stopped}", file=sys.stderr)
    record(staging, metrics, status, stopped)
    return status


def run_lora(argv: list[str], options: dict, metrics: Metrics, services: str | None) -> None:
    """`python -m mlx_lm lora` with `argv`, `options` and one more reporting callback."""
    SUPPORT_CALLBACK["metrics"] = lambda **_: metrics
    schedulers.going_on = going_on
    added = [word for option in options.items() if option[1] for word in option]
    report_to = ",".join(filter(None, ["metrics", services]))
    sys.argv = ["mlx_lm", "lora", *argv, *added, "--report-to", report_to]
    runpy.run_module("mlx_lm", run_name="__main__")


def record(staging: Path, metrics: Metrics, status: int, stopped: str | None) -> None:
    """Write training.json: training has ended, and how."""
    starts = [start for start, _ in run_folders(staging)]
    training = {
        "schema": 1,
        "stopped_early": stopped is not None,
        "stop_reason": stopped,
        "failed": status != 0,
        "iterations": metrics.iterations,
        "planned": metrics.lora.iters,
        "seconds": metrics.seconds(),
        "resumed_from": starts[-1] or None,
        "resumed_at": starts[1:],
        "workers": mx.distributed.init().size(),
    }
    write_json(staging / "training.json", training)


def say_how_it_ended(staging: Path) -> int:
    """The exit status of the training that has ended in `staging`."""
    training = read_json(staging / "training.json")
    if training["failed"]:
        print(f"train: {training['stop_reason']}; train without RESUME=1", file=sys.stderr)
    else:
        print(f"Training in {staging} had come to its end.")
    return int(training["failed"])


def interrupted(_signum, _frame):
    """Ends training once: the terminal and py/logged.py may both pass the same Ctrl-C on."""
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.SIG_IGN)
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
            return train(args, argv, staging, Path(scratch))
    except (ValueError, OSError) as error:
        print(f"train: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        if mx.distributed.init().rank() == 0:
            done = max(find_checkpoints(staging), default=0)
            print(
                f"train: interrupted; the same command with RESUME=1 goes on after iteration {done},"
                " without it training starts over",
                file=sys.stderr,
            )
        return 130


if __name__ == "__main__":
    sys.exit(main())
