"""Where does a training begin: at iteration 1, or after the last checkpoint of one broken off?"""

import json
from pathlib import Path
from types import SimpleNamespace

import yaml
from mlx.optimizers import schedulers
from mlx_lm.lora import CONFIG_DEFAULTS, build_parser, yaml_loader

from checkpoints import METRICS, RESUMED, find_checkpoints, read_metrics
from files import read_json, sha256_of, write_json

INPUTS = "inputs.json"  # what the training in a folder is of
# Options of mlx_lm lora that must be the same for a run to go on.
SAME = (
    *("model", "data", "mask_prompt", "max_seq_length", "batch_size", "grad_accumulation_steps"),
    *("fine_tune_type", "num_layers", "lora_parameters", "optimizer", "optimizer_config"),
    *("learning_rate", "lr_schedule"),
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


def inputs_of(lora, rows: dict[str, str]) -> dict:
    """What makes a training this training: options, rows, iterations."""
    options = {key: getattr(lora, key) for key in SAME}
    return {"schema": 1, "options": options, "rows": rows, "iters": lora.iters}


def check_same(staging: Path, inputs: dict, done: int, ended: bool) -> None:
    """Raises ValueError when the training in `staging` can't go on as the one of `inputs`."""
    before = read_json(staging / INPUTS)
    what = f"{staging}: RESUME=1 cannot go on with this training"
    for key, new in inputs["options"].items():
        if before["options"].get(key) != new:
            if key == "lr_schedule" and before["iters"] != inputs["iters"]:
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


def prepare(
    lora, rows: dict[str, str], staging: Path, resumes: bool
) -> tuple[int, bool, dict[str, str]]:
    """(iterations done, has training ended?, options to add) for a training in `staging`.

    `rows` are the row_digests of its data. Raises ValueError when it can't go on.
    """
    checkpoints = find_checkpoints(staging) if resumes else {}
    done, checkpoint = max(checkpoints.items(), default=(0, None))
    ended = resumes and (staging / "training.json").is_file()
    inputs = inputs_of(lora, rows)
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
