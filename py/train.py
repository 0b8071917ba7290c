"""Train: run an `mlx_lm lora` command, keep its metrics, stop it early, resume it.

mlx-lm trains as the command would, and reports to one more of its callbacks (py/metrics.py). The
parameters of LoRA and the learning rate schedule have no flags there, so they are options here.
Under mlx.launch every worker runs this program, and worker 0 alone writes.
"""

import argparse
import json
import shutil
import signal
import sys
import tempfile
import zlib
from argparse import Namespace
from pathlib import Path

import mlx.core as mx
from mlx_lm import lora
from mlx_lm.tuner.callbacks import SUPPORT_CALLBACK

from checkpoints import FINAL, METRICS, RESUMED, find_checkpoints, read_metrics, run_folders
from files import read_json, sha256_of, write_json, write_text
from metrics import Metrics, StopTraining
from program import run
from resume import last_checkpoint, optimizer_file, train_after
from tracking import TrackioCallback

INPUTS = "inputs.json"  # what the training in a folder is made of


def share(world, payload: bytes) -> bytes:
    """Worker 0's `payload`, on every worker: they may not see each other's disks."""
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


def describe_inputs(options: Namespace) -> dict:
    """What a training is made of. Its folders are left out, so that they can be moved."""
    places = ("adapter_path", "model", "data", "report_to", "project_name")
    inputs = {key: value for key, value in vars(options).items() if key not in places}
    rows = [Path(options.data) / name for name in ("train.jsonl", "valid.jsonl")]
    return inputs | {"rows": [sha256_of(file) for file in rows]}


def prepare(folder: Path, inputs: dict, resume: bool) -> tuple[int, list[dict]] | None:
    """(iterations done, their metrics) of the training in `folder`; without `resume` a new one.

    None if it has ended. Raises ValueError when the training there has other inputs.
    """
    if resume and (folder / "training.json").is_file():
        print(f"The training in {folder} had come to its end.")
        return None
    done = last_checkpoint(folder) if resume else 0
    if resume and not done and find_checkpoints(folder):
        raise ValueError(
            f"{folder}: no checkpoint has its optimizer's state; train without RESUME=1"
        )
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
    print(f"Going on after iteration {done}.")
    return done, reported


def schedule(name: str, options: Namespace) -> dict | None:
    """mlx-lm's lr_schedule, which ends with the last iteration; None for a constant rate."""
    rate, updates = options.learning_rate, options.iters // options.grad_accumulation_steps
    arguments = {"cosine_decay": [rate, updates], "linear_schedule": [rate, 0.0, updates]}
    return {"name": name, "arguments": arguments[name]} if name in arguments else None


def lora_options(args: Namespace) -> Namespace:
    """All options of mlx_lm lora: those of its command, and those that have no flag."""
    options = lora.build_parser().parse_args(args.command[2:], Namespace(**lora.CONFIG_DEFAULTS))
    options.lora_parameters = {"rank": args.rank, "scale": args.scale, "dropout": args.dropout}
    options.lr_schedule = schedule(args.lr_schedule, options)
    if options.optimizer == "adafactor":  # by default it ignores the learning rate
        options.optimizer_config = {"adafactor": {"relative_step": False}}
    return options


def run_lora(options: Namespace, metrics: Metrics) -> StopTraining | None:
    """Run mlx_lm lora, which reports to `metrics`; how it was stopped, if it was."""
    SUPPORT_CALLBACK.update(metrics=lambda **_: metrics, trackio=TrackioCallback)
    services = [options.report_to] if options.report_to and metrics.folder else []
    options.report_to = ",".join(["metrics", *services])
    try:
        lora.run(options)
    except StopTraining as stop:
        return stop
    return None


def train(args: Namespace, options: Namespace, scratch: Path) -> None:
    """Train, or go on with a training. Workers other than 0 write to `scratch`.

    Raises Failed for a loss of NaN or infinity, ValueError for an input that can't be used.
    """
    world, folder = mx.distributed.init(), Path(options.adapter_path)
    writes = world.rank() == 0
    inputs = describe_inputs(options)
    check_workers(world, options.batch_size, inputs)
    plan = None
    try:
        if writes:
            plan = prepare(folder, inputs, args.resume)
    finally:  # the other workers wait for the plan, also after an error
        plan = json.loads(share(world, json.dumps(plan).encode()))
    if plan is None:
        return
    (done, reported), state = plan, None
    metrics = Metrics(folder if writes else None, done, reported, args, options)
    output = folder if writes else scratch
    if done:
        output = output / f"{RESUMED}{done:07d}"
        output.mkdir(exist_ok=True)
        checkpoint, state = scratch / "checkpoint.safetensors", scratch / "state.safetensors"
        last = find_checkpoints(folder)[done] if writes else None
        checkpoint.write_bytes(share(world, last.read_bytes() if writes else b""))
        state.write_bytes(share(world, optimizer_file(last).read_bytes() if writes else b""))
        options.resume_adapter_file = str(checkpoint)
        options.iters -= done
    options.adapter_path = str(output)
    lora.train = train_after(done, state, options)
    stopped = run_lora(options, metrics) if options.iters else None
    if writes:
        if options.iters and not stopped:  # mlx-lm numbers the weights of each SAVE_EVERY only
            shutil.copy(output / FINAL, output / f"{options.iters:07d}_{FINAL}")
        record(folder, metrics, stopped, world.size())


def record(folder: Path, metrics: Metrics, stopped: StopTraining | None, workers: int) -> None:
    """Write training.json, which says that training has ended, and how."""
    if stopped:
        print(f"Stopped early: {stopped}", file=sys.stderr)
    resumed_at = [start for start, _ in run_folders(folder)][1:]
    training = {
        "schema": 1,
        "stopped_early": stopped is not None,
        "stop_reason": str(stopped) if stopped else None,
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


def main() -> None:
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
    options = lora_options(args)
    folder = Path(options.adapter_path)
    for signum in (signal.SIGINT, signal.SIGTERM):  # mlx.launch starts workers with INT ignored
        signal.signal(signum, interrupted)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            train(args, options, Path(scratch))
    except KeyboardInterrupt:
        if mx.distributed.init().rank() == 0:
            done = last_checkpoint(folder)
            how = f"RESUME=1 goes on after iteration {done}, without it training starts over"
            print(f"train: interrupted; {how}", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    run(main)
