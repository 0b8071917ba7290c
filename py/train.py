"""Train: run an `mlx_lm lora` command, keep its metrics, stop it early, resume it.

    python train.py [--resume] [--patience N] [--min-delta D] [--rank 8 ...] mlx_lm lora --train ...

The command runs in this process as `python -m mlx_lm lora` runs it, with one more of mlx-lm's
reporting callbacks (those of --report-to). LoRA's parameters and the learning rate schedule have no
flags there, so they are options here and reach it in a YAML file.

In metrics.jsonl an iteration is the number of batches that the weights have seen. mlx-lm validates
before the update of iteration N and prints that loss under N; here it stands under N - 1. Under
mlx.launch every worker runs this program, and worker 0 alone writes.

Exit status: 0 trained or stopped early, 1 a loss of NaN or infinity, 2 an input that can't be used.
"""

import argparse
import json
import runpy
import shutil
import signal
import sys
import tempfile
import zlib
from argparse import Namespace
from pathlib import Path

import mlx.core as mx
import yaml
from mlx_lm.lora import CONFIG_DEFAULTS, build_parser
from mlx_lm.tuner.callbacks import SUPPORT_CALLBACK

from checkpoints import METRICS, RESUMED, find_checkpoints, read_metrics, run_folders
from files import read_json, sha256_of, write_json, write_text
from metrics import Metrics, StopTraining

INPUTS = "inputs.json"  # what the training in a folder is made of


def share(world, payload: bytes) -> bytes:
    """Worker 0's `payload`, on every worker: they need not see each other's disks."""
    if world.size() == 1:
        return payload
    mine = payload if world.rank() == 0 else b""
    size = mx.distributed.all_sum(mx.array([len(mine)]), group=world, stream=mx.cpu).item()
    data = mx.array(bytearray(mine or size), mx.uint8)
    return bytes(mx.distributed.all_sum(data, group=world, stream=mx.cpu))


def check_workers(world, batch_size: int, inputs: dict) -> None:
    """Raises ValueError, on every worker, when they cannot share a batch or differ in inputs."""
    if batch_size % world.size():
        raise ValueError(
            f"BATCH_SIZE={batch_size} must be a multiple of the number of workers, {world.size()}"
        )
    mine = mx.array([zlib.crc32(json.dumps(inputs).encode())], mx.uint32)
    everyone = mx.distributed.all_gather(mine, group=world, stream=mx.cpu)
    if len(set(everyone.tolist())) > 1:
        raise ValueError("the workers differ in options or rows; give every machine the same clone")


def describe_inputs(typed, options: dict) -> dict:
    """What a training is made of, but for where its folders are: it can go on in a moved folder."""
    places = ("adapter_path", "model", "data", "config", "report_to", "project_name")
    inputs = {key: value for key, value in vars(typed).items() if key not in places}
    rows = [Path(typed.data) / name for name in ("train.jsonl", "valid.jsonl")]
    return inputs | options | {"rows": [sha256_of(file) for file in rows if file.is_file()]}


def prepare(folder: Path, inputs: dict, resume: bool) -> tuple[int, list[dict]]:
    """(iterations done, their metrics) of the training in `folder`; without `resume` a new one.

    Raises ValueError when the training there has other inputs.
    """
    done = max(find_checkpoints(folder), default=0) if resume else 0
    if not done:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        write_json(folder / INPUTS, inputs)
        if resume:
            print("There is no checkpoint to go on from: training starts at iteration 1.")
        return 0, []
    before = read_json(folder / INPUTS)
    for key, value in inputs.items():
        if before.get(key) != value:
            raise ValueError(
                f"RESUME=1 cannot go on with {folder}: it had {key}={before.get(key)}, now it is"
                f" {value}; go back to that, or train without RESUME=1"
            )
    reported = [e for e in read_metrics(folder) if e["iteration"] < done + ("train_loss" in e)]
    write_text(folder / METRICS, "".join(json.dumps(entry) + "\n" for entry in reported))
    print(f"Going on after iteration {done}. Optimizer, schedule and data order start anew.")
    return done, reported


def yaml_options(args, typed, iterations: int) -> dict:
    """What mlx_lm lora takes from a YAML file only. The schedule ends with the last iteration."""
    rate, updates = typed.learning_rate, iterations // typed.grad_accumulation_steps
    lora = {"rank": args.rank, "scale": args.scale, "dropout": args.dropout}
    options = {"lora_parameters": lora}
    if args.lr_schedule == "cosine_decay":
        options["lr_schedule"] = {"name": "cosine_decay", "arguments": [rate, updates]}
    if args.lr_schedule == "linear_schedule":
        options["lr_schedule"] = {"name": "linear_schedule", "arguments": [rate, 0.0, updates]}
    if typed.optimizer == "adafactor":  # left to itself it would choose its own rate
        options["optimizer_config"] = {"adafactor": {"relative_step": False}}
    return options


def run_lora(words: list[str], options: dict, output: Path, metrics: Metrics, services: str):
    """Run `mlx_lm lora` with `words` and `options` into `output`; the StopTraining, if any."""
    output.mkdir(parents=True, exist_ok=True)
    config = output / "lora.yaml"
    config.write_text(yaml.safe_dump(options), encoding="utf-8")
    SUPPORT_CALLBACK["metrics"] = lambda **_: metrics
    words = [*words, "--adapter-path", str(output), "--config", str(config)]
    sys.argv = ["mlx_lm", "lora", *words, "--report-to", services]
    try:
        runpy.run_module("mlx_lm", run_name="__main__")
    except StopTraining as stop:
        return stop
    return None


def train(args, typed, words: list[str], scratch: Path) -> int:
    """Run `mlx_lm lora` with `words`, which parsed are `typed`; the exit status.

    Workers other than 0 write to `scratch`. Raises ValueError for an input that can't be used.
    """
    world, folder = mx.distributed.init(), Path(typed.adapter_path)
    writes = world.rank() == 0
    inputs = describe_inputs(typed, yaml_options(args, typed, typed.iters))
    check_workers(world, typed.batch_size, inputs)
    plan = None
    try:
        if writes and not (args.resume and (folder / "training.json").is_file()):
            plan = prepare(folder, inputs, args.resume)
    finally:  # refused or not, the other workers wait for a word
        plan = json.loads(share(world, json.dumps(plan).encode()))
    if plan is None:
        if writes:
            print(f"The training in {folder} had come to its end.")
        return 0
    done, reported = plan
    output = folder if writes else scratch
    if done:
        output = output / f"{RESUMED}{done:07d}"
        checkpoint = scratch / "checkpoint.safetensors"
        checkpoint.write_bytes(
            share(world, find_checkpoints(folder)[done].read_bytes() if writes else b"")
        )
        words = [*words, "--resume-adapter-file", str(checkpoint)]
        words += ["--iters", str(typed.iters - done), "--seed", str((typed.seed + done) % 2**32)]
    metrics = Metrics(folder if writes else None, done, reported, args, typed)
    services = f"metrics,{typed.report_to}" if writes and typed.report_to else "metrics"
    stopped = None
    if done < typed.iters:
        options = yaml_options(args, typed, typed.iters - done)
        stopped = run_lora(words, options, output, metrics, services)
    if writes:
        record(folder, metrics, stopped, world.size())
    return int(bool(stopped and stopped.failed))


def record(folder: Path, metrics: Metrics, stopped: StopTraining | None, workers: int) -> None:
    """Write training.json: training has come to its end, and how."""
    failed = bool(stopped and stopped.failed)
    if stopped:
        print(f"{'train' if failed else 'Stopped early'}: {stopped}", file=sys.stderr)
    resumed_at = [start for start, _ in run_folders(folder)][1:]
    training = {
        "schema": 1,
        "stopped_early": stopped is not None,
        "stop_reason": str(stopped) if stopped else None,
        "failed": failed,
        "iterations": metrics.iterations,
        "planned": metrics.planned,
        "seconds": metrics.seconds(),
        "resumed_from": resumed_at[-1] if resumed_at else None,
        "resumed_at": resumed_at,
        "workers": workers,
    }
    write_json(folder / "training.json", training)


def interrupted(_signum, _frame):
    """End training once, though the terminal and py/logged.py may both send the signal."""
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.SIG_IGN)
    raise KeyboardInterrupt


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    parser.add_argument("--patience", type=int, default=0, help="validations; 0 never stops early")
    parser.add_argument("--min-delta", type=float, default=0.0, help="what counts as lower")
    parser.add_argument("--rank", type=int, default=8, help="of LoRA; mlx-lm's defaults")
    parser.add_argument("--scale", type=float, default=20.0)
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--lr-schedule", default="constant")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="mlx_lm lora --train ...")
    args = parser.parse_args()
    if args.command[:2] != ["mlx_lm", "lora"]:
        parser.error("the command to run begins with: mlx_lm lora")
    return args


def main() -> int:
    args = parse_args()
    words = args.command[2:]
    typed = build_parser().parse_args(words, Namespace(**CONFIG_DEFAULTS))
    for signum in (signal.SIGINT, signal.SIGTERM):  # a worker of mlx.launch inherits INT ignored
        signal.signal(signum, interrupted)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            return train(args, typed, words, Path(scratch))
    except (ValueError, OSError) as error:
        print(f"train: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        if mx.distributed.init().rank() == 0:
            done = max(find_checkpoints(Path(typed.adapter_path)), default=0)
            how = f"RESUME=1 goes on after iteration {done}, without it training starts over"
            print(f"train: interrupted; {how}", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
