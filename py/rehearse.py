"""Rehearse a run: its sizes and its machine, but random weights and a handful of rows.

    python rehearse.py prepare --config CONFIG --tokenizer MODEL --out FOLDER
    python rehearse.py table FOLDER

`prepare` writes FOLDER/rehearsal.env, the config of the rehearsal, and what that reads: the shape
of the model, rows, a suite of one prompt, and, where no training is possible, adapters of random
weights. `table` says what each stage took, against what was predicted. bin/rehearse.mk runs them,
with the recipe's own stages in between. Exit status 1: the disk was predicted wrongly.
"""

import argparse
import itertools
import json
import shutil
import sys
from pathlib import Path

import mlx.core as mx

from check_plan import BIG, TWIN, on_gpu, output_bytes
from files import read_json, weights_bytes, write_json
from finding import size
from models import hub_name
from plan import duration, shape
from settings import load_settings, number
from shapes import lora_parameters, model_facts, trainable

ROOT = Path(__file__).resolve().parent.parent
DEMO_ROWS, DEMO_SUITE = ROOT / "data/demo", ROOT / "data/suite.json"
ALLOWED = 0.05  # of the disk, between prediction and measurement
STAGES = ("model", "preflight", "train", "best", "fuse", "quantize", "twin", "ladder", "eval")
OUTPUTS = {"model": "../model", "fuse": "fused", "quantize": "q5", "twin": TWIN}


def rehearsal_rows(folder: Path, batch: int) -> tuple[list[str], list[str]]:
    """(training rows, validation rows): two batches, the first rows and the longest; and one.

    The longest decide how much memory training takes.
    """
    lines = (folder / "train.jsonl").read_text(encoding="utf-8").splitlines()
    longest = sorted(lines, key=len)[-batch:]
    with (folder / "valid.jsonl").open(encoding="utf-8") as valid:
        checked = list(itertools.islice(valid, batch))
    return lines[:batch] + longest, [line.rstrip("\n") for line in checked]


def rehearsal_suite(gpu: bool) -> dict:
    """One prompt; without a GPU a short one, since each token takes seconds."""
    suite = read_json(DEMO_SUITE)
    prompt = suite["prompts"][0] | {"max_tokens": 32}
    if not gpu:
        prompt |= {"prompt": "Hi", "max_tokens": 2}
        suite["system"] = "Answer."
    return suite | {"name": "rehearsal", "prompts": [prompt]}


def random_adapters(config: dict, settings: dict, out: Path) -> None:
    """Adapters as training would leave them, but of random numbers."""
    out.mkdir()
    weights = {
        name: 0.01 * mx.random.normal(array.shape) for name, array in trainable(config, settings)
    }
    mx.save_safetensors(str(out / "adapters.safetensors"), weights)
    described = {
        "fine_tune_type": settings["FINE_TUNE_TYPE"],
        "num_layers": number(settings, "NUM_LAYERS"),
        "lora_parameters": lora_parameters(settings),
    }
    write_json(out / "adapter_config.json", described)


def prepare(settings: dict, tokenizer: Path, out: Path) -> None:
    """Fill `out`; raises ValueError where the shape of BASE_MODEL is not known."""
    config, _ = shape(settings)
    model = model_facts(config, settings)
    gpu = on_gpu()
    train = gpu or model["parameters"] < BIG
    own = tokenizer.resolve() != (ROOT / "build/demo/base").resolve()
    rows = Path(settings["DATA"]) if own else DEMO_ROWS
    if not (rows / "train.jsonl").is_file():
        rows = DEMO_ROWS
    batch = number(settings, "BATCH_SIZE")
    training, validation = rehearsal_rows(rows, batch)
    shutil.rmtree(out, ignore_errors=True)
    (out / "rows").mkdir(parents=True)
    for name, lines in (("train", training), ("valid", validation)):
        (out / f"rows/{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    write_json(out / "shape.json", config)
    write_json(out / "suite.json", rehearsal_suite(gpu))
    if not train:
        random_adapters(config, settings, out / "adapters")
    changed = {
        "EXPERIMENT": "rehearsal",
        "BUILD": out / "build",
        "BASE_MODEL": out / "model",
        "REFERENCE_MODEL": out / "model",
        "DATA": out / "rows",
        "SUITE": out / "suite.json",
        "CHECKSUMS": "none",
        "DATA_URL": "none",
        "TRAIN_ROWS": len(training),
        "VALID_ROWS": len(validation),
        "EXPAND_TURNS": 0,
        "ITERS": 2,
        "EPOCHS": 2 * batch / len(training),
        "GRAD_ACCUMULATION": 1,
        "STEPS_PER_EVAL": 2,
        "SAVE_EVERY": 2,
        "STEPS_PER_REPORT": 1,
        "REPORT_TO": "none",
        "STRICT": 0,
        "LADDER_ROWS": batch if train else -1,
        "BASELINE": "data/baseline.json",
        "EVAL_URL": "none",
        "EVAL_CONCURRENCY": 1,
        "EVAL_MAX_TOKENS": 0,
        "EVAL_TIMEOUT": 7200,
    }
    if not own:
        changed["SPECIAL_TOKENS"] = "data/special_tokens_smollm2.json"
    lines = [f"{key}={value}" for key, value in (settings | changed).items()]
    (out / "rehearsal.env").write_text("\n".join(lines) + "\n")
    print(f"{model['parameters'] / 1e9:.1f}B parameters; rows of {rows}, tokenizer of")
    print(f"{hub_name(tokenizer) or tokenizer}.")
    if not train:
        print(
            "No training: on a CPU an iteration at this size takes hours. Random adapters stand in."
        )


def table(folder: Path) -> tuple[str, bool]:
    """(what each stage took, was the disk predicted?)."""
    settings = load_settings(folder / "rehearsal.env")
    build = folder / "build"
    facts = read_json(build / "preflight.json")["facts"]["model"]
    took = {}
    for line in (build / "logs/times.jsonl").read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        took[entry["stage"]] = entry
    if (build / "adapters/metrics.jsonl").is_file():  # what a GPU held is no process's memory
        reports = (build / "adapters/metrics.jsonl").read_text(encoding="utf-8").splitlines()
        held = [json.loads(line).get("peak_memory_gb", 0) * 1e9 for line in reports]
        took["train"]["peak_bytes"] = max(took["train"]["peak_bytes"], *held)
    predicted = {"model": facts["base_bytes"]}
    outputs = output_bytes(settings, facts)
    predicted |= {stage: outputs[name] for stage, name in OUTPUTS.items() if name in outputs}
    lines = [f"  {'stage':<10} {'time':>8} {'peak memory':>12} {'disk':>9} {'predicted':>10}"]
    measured = {}
    for stage in STAGES:
        if stage not in took:
            continue
        disk = "-"
        if stage in predicted:
            measured[stage] = weights_bytes(build / OUTPUTS[stage])
            disk = size(measured[stage])
        said = size(predicted[stage]) if stage in predicted else "-"
        time, peak = f"{took[stage]['seconds']:.0f} s", size(took[stage]["peak_bytes"])
        lines.append(f"  {stage:<10} {time:>8} {peak:>12} {disk:>9} {said:>10}")
    all_measured, all_predicted = sum(measured.values()), sum(predicted.values())
    apart = abs(all_measured - all_predicted) / all_predicted
    seconds = sum(entry["seconds"] for entry in took.values())
    answered = read_json(build / "eval.json")["prompts"][0]
    lines += [
        "",
        f"{duration(seconds)} in all. Disk: {size(all_measured)} taken, {size(all_predicted)}"
        f" predicted, {apart:.1%} apart.",
        f"One prompt of {answered['prompt_tokens']} tokens was answered with"
        f" {answered['completion_tokens']}, in {duration(answered['seconds'])}.",
    ]
    return "\n".join(lines), apart <= ALLOWED


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("prepare")
    command.add_argument("--config", type=Path, required=True)
    command.add_argument("--tokenizer", type=Path, required=True, help="folder to take it from")
    command.add_argument("--out", type=Path, required=True)
    commands.add_parser("table").add_argument("folder", type=Path)
    args = parser.parse_args()
    try:
        if args.command == "prepare":
            prepare(load_settings(args.config), args.tokenizer, args.out)
            return 0
        text, good = table(args.folder)
        print(text)
        if not good:
            print(f"rehearse: the disk is more than {ALLOWED:.0%} off", file=sys.stderr)
        return 0 if good else 1
    except (ValueError, OSError) as error:
        print(f"rehearse: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
