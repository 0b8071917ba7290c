"""Follow an `mlx_lm lora` command: write its metrics, stop it early, go on with an earlier one.

    python follow.py [--resume] [--patience N] [--min-delta D] -- mlx_lm lora --train ...

The command runs in this process exactly as `python -m mlx_lm lora` runs it, with one more of
mlx-lm's reporting callbacks (those of --report-to). A callback gets the numbers that the printed
table rounds, and its form has changed less often than that table.

metrics.jsonl in the adapter path gets a line for each report, while training runs. An iteration is
the number of batches that the weights have seen: mlx-lm validates before the update of iteration
N and prints that loss under N, here it stands under N - 1. training.json is written at the end.

Exit status: 0 trained or stopped early, 1 a loss of NaN or infinity, 2 an input that can't be used.
"""

import argparse
import json
import runpy
import signal
import sys
import tempfile
from argparse import Namespace
from pathlib import Path

import mlx.core as mx
from mlx.optimizers import schedulers
from mlx_lm.lora import CONFIG_DEFAULTS, build_parser
from mlx_lm.tuner.callbacks import SUPPORT_CALLBACK

from checkpoints import find_checkpoints, run_folders
from files import read_json, write_json
from metrics import Metrics, StopTraining
from resume import going_on, prepare, read_options, row_digests
from workers import check_workers_agree, end_with_launcher, share, share_files


def train(args, argv: list[str], typed: Namespace, staging: Path) -> int:
    """Run the command: `argv` is what follows "mlx_lm lora", `typed` the same parsed.

    Gives the exit status. Raises ValueError or OSError for an input that can't be used.
    """
    world = mx.distributed.init()
    writes = world.rank() == 0
    if world.size() > 1:
        end_with_launcher()
    rows = row_digests(typed.data)
    check_workers_agree(world, [argv, rows])
    plan = None
    try:
        if writes:
            plan = prepare(read_options(typed), rows, staging, args.resume)
    finally:  # refused or not, the others wait for a word
        plan = json.loads(share(world, json.dumps(plan).encode()))
    if not plan or plan["ended"]:
        return say_how_it_ended(staging) if writes else 0
    metrics = Metrics(staging if writes else None, plan, args.patience, args.min_delta)
    status, stopped = 0, None
    if plan["done"] < plan["iters"]:
        with tempfile.TemporaryDirectory() as scratch:  # for a worker's copies and its own output
            options = {"--config": typed.config} | plan["options"]
            options = share_files(world, options, Path(scratch))
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
    """`python -m mlx_lm lora` with `argv` and `options`, reporting to `metrics` and `services`."""
    SUPPORT_CALLBACK["metrics"] = lambda **_: metrics
    schedulers.going_on = going_on  # mlx-lm looks up there what lr_schedule names
    added = [word for key, value in options.items() if value for word in (key, value)]
    report_to = ",".join(filter(None, ["metrics", services]))
    sys.argv = ["mlx_lm", "lora", *argv, *added, "--report-to", report_to]
    runpy.run_module("mlx_lm", run_name="__main__")


def record(staging: Path, metrics: Metrics, status: int, stopped: str | None) -> None:
    """Write training.json: that training has ended, and how."""
    starts = [start for start, _ in run_folders(staging)]
    training = {
        "schema": 1,
        "stopped_early": stopped is not None,
        "stop_reason": stopped,
        "failed": status != 0,
        "iterations": metrics.iterations,
        "planned": metrics.iters,
        "seconds": metrics.seconds(),
        "resumed_from": starts[-1] or None,
        "resumed_at": starts[1:],
        "workers": mx.distributed.init().size(),
    }
    write_json(staging / "training.json", training)


def say_how_it_ended(staging: Path) -> int:
    """The exit status of the training that ended in `staging` before."""
    training = read_json(staging / "training.json")
    if training["failed"]:
        print(f"train: {training['stop_reason']}; train without RESUME=1", file=sys.stderr)
    else:
        print(f"Training in {staging} had come to its end.")
    return int(training["failed"])


def interrupted(_signum, _frame):
    """End training once: both the terminal and py/logged.py may send the same Ctrl-C."""
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
    typed = build_parser().parse_args(argv)
    staging = Path(typed.adapter_path or CONFIG_DEFAULTS["adapter_path"])
    for signum in (signal.SIGINT, signal.SIGTERM):  # mlx.launch's workers inherit INT ignored
        signal.signal(signum, interrupted)
    try:
        staging.mkdir(parents=True, exist_ok=True)
        return train(args, argv, typed, staging)
    except (ValueError, OSError) as error:
        print(f"train: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        if mx.distributed.init().rank() == 0:
            done = max(find_checkpoints(staging), default=0)
            how = f"the same command with RESUME=1 goes on after iteration {done}, without it"
            print(f"train: interrupted; {how} training starts over", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
