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
import runpy
import signal
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import mlx.core as mx
from mlx.optimizers import schedulers
from mlx_lm.lora import build_parser
from mlx_lm.tuner.callbacks import SUPPORT_CALLBACK

from checkpoints import find_checkpoints, run_folders
from files import read_json, write_json
from metrics import Metrics, StopTraining
from resume import going_on, prepare, read_options, row_digests
from workers import check_workers_agree, end_with_launcher, share, share_files


def train(args, argv: list[str], staging: Path, scratch: Path) -> int:
    """Run the command `argv`, without "mlx_lm lora"; `scratch` is for a worker's own files."""
    world = mx.distributed.init()
    writes = world.rank() == 0
    typed = build_parser().parse_args(argv)
    if world.size() > 1:
        end_with_launcher()
    rows = row_digests(typed.data)
    check_workers_agree(world, [argv, rows])
    plan, refused, metrics = {}, None, None
    if writes:
        try:
            lora = read_options(argv)
            done, ended, options = prepare(lora, rows, staging, args.resume)
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
            how = f"the same command with RESUME=1 goes on after iteration {done}, without it"
            print(f"train: interrupted; {how} training starts over", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
