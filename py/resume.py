"""Where does a training begin: at iteration 1, or after the last checkpoint of one broken off?"""

import json
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace

import yaml
from mlx.optimizers import schedulers
from mlx_lm.lora import CONFIG_DEFAULTS, yaml_loader

from checkpoints import METRICS, RESUMED, find_checkpoints, read_metrics
from files import read_json, sha256_of, write_json, write_text

INPUTS = "inputs.json"  # what the training in a folder is made of
# Options of mlx_lm lora that must be the same for a training to go on.
SAME = (
    *("model", "data", "mask_prompt", "max_seq_length", "batch_size", "grad_accumulation_steps"),
    *("fine_tune_type", "num_layers", "lora_parameters", "optimizer", "optimizer_config"),
    *("learning_rate", "lr_schedule"),
)


def going_on(done: int, name: str, arguments: list):
    """mlx's learning rate schedule `name`, beginning after `done` updates."""
    schedule = getattr(schedulers, name)(*arguments)
    return lambda step: schedule(step + done)


def read_options(typed: Namespace) -> SimpleNamespace:
    """What was typed, completed as mlx_lm.lora.main does: from the YAML, then with its defaults."""
    options, written = dict(vars(typed)), {}
    if options["config"]:
        written = yaml.load(Path(options["config"]).read_text(encoding="utf-8"), yaml_loader) or {}
    for key, default in {**CONFIG_DEFAULTS, **written}.items():
        if options.get(key) is None:
            options[key] = default
    return SimpleNamespace(**options)


def row_digests(data: str) -> dict[str, str]:
    """File name -> sha256 of the rows to train and to validate on."""
    files = [Path(data) / name for name in ("train.jsonl", "valid.jsonl")]
    return {file.name: sha256_of(file) for file in files if file.is_file()}


def check_same(staging: Path, inputs: dict, done: int, ended: bool) -> None:
    """Raises ValueError when the training in `staging` is not the one that `inputs` describe."""
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


def keep_metrics(staging: Path, iterations: int) -> list[dict]:
    """Drop from metrics.jsonl what training will report again from there on; gives the rest."""
    kept = [
        entry
        for entry in read_metrics(staging)
        if entry["iteration"] < iterations + ("train_loss" in entry)
    ]
    write_text(staging / METRICS, "".join(json.dumps(entry) + "\n" for entry in kept))
    return kept


def go_on(lora, done: int, checkpoint: Path, folder: Path) -> dict[str, str]:
    """Options that make the command do only what is left, in the adapter path `folder`.

    The order of the data cannot go on where it was; another seed at least draws another one.
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


def prepare(lora, rows: dict[str, str], staging: Path, resumes: bool) -> dict:
    """What every worker has to know of a training in `staging`.

    {done: iterations of earlier runs, ended: has it come to its end?, options: to add to the
    command, reported: the metrics so far, iters, save_every}. `rows` are the row_digests of its
    data. Raises ValueError when it can't go on.
    """
    checkpoints = find_checkpoints(staging) if resumes else {}
    done, checkpoint = max(checkpoints.items(), default=(0, None))
    ended = resumes and (staging / "training.json").is_file()
    plan = {"done": done, "ended": ended, "iters": lora.iters, "save_every": lora.save_every}
    chosen = {key: getattr(lora, key) for key in SAME}
    inputs = {"schema": 1, "options": chosen, "rows": rows, "iters": lora.iters}
    if done or ended:
        check_same(staging, inputs, done, ended)
    if ended or done == lora.iters:
        return plan | {"options": {}, "reported": read_metrics(staging)}
    reported, options = keep_metrics(staging, done), {}
    write_json(staging / INPUTS, inputs)
    if done:
        print(f"Going on after iteration {done}. Optimizer state and data order start anew.")
        options = go_on(lora, done, checkpoint, staging / f"{RESUMED}{done:07d}")
    elif resumes:
        print(f"Nothing to resume in {staging}: training starts at iteration 1.")
    return plan | {"options": options, "reported": reported}
