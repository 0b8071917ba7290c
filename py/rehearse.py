"""Rehearse a run: its sizes and its machine, but random weights and a handful of rows.

    python rehearse.py prepare --config CONFIG --tokenizer MODEL --out FOLDER
    python rehearse.py table FOLDER

`prepare` writes FOLDER/rehearsal.env, the config of the rehearsal, and what that reads: the shape
of the model, rows, a suite of one prompt, and, where no training is possible, adapters of random
weights. `table` says what each stage took, against what was predicted. bin/rehearse.mk runs them,
with the recipe's own stages in between. Exit status 1: the disk was predicted wrongly.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

import mlx.core as mx

from check_plan import BIG, TWIN, on_gpu, output_bytes
from checkpoints import read_metrics
from files import read_json, weights_bytes, write_json, write_text
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


def rehearsal_rows(folder: Path, batch: int) -> dict[str, list[str]]:
    """Lines of train.jsonl, a batch of the first and one of the longest, and of valid.jsonl, one.

    The longest decide how much memory training takes.
    """
    train, valid = (
        (folder / f"{name}.jsonl").read_text(encoding="utf-8").rstrip("\n").split("\n")
        for name in ("train", "valid")
    )
    return {"train": train[:batch] + sorted(train, key=len)[-batch:], "valid": valid[:batch]}


def rehearsal_suite(gpu: bool) -> dict:
    """One prompt; without a GPU a short one, since each token takes seconds."""
    suite = read_json(DEMO_SUITE)
    prompt = suite["prompts"][0] | {"max_tokens": 32}
    if not gpu:
        prompt |= {"prompt": "Hi", "max_tokens": 2}
        suite["system"] = "Answer."
    return suite | {"name": "rehearsal", "prompts": [prompt]}


def random_adapters(config: dict, settings: dict, out: Path) -> None:
    """Write adapters as training would leave them, but of random numbers."""
    out.mkdir()
    parameters = trainable(config, settings)
    weights = {name: 0.01 * mx.random.normal(array.shape) for name, array in parameters}
    mx.save_safetensors(str(out / "adapters.safetensors"), weights)
    described = {
        "fine_tune_type": settings["FINE_TUNE_TYPE"],
        "num_layers": number(settings, "NUM_LAYERS"),
        "lora_parameters": lora_parameters(settings),
    }
    write_json(out / "adapter_config.json", described)


def prepare(settings: dict, tokenizer: Path, out: Path) -> None:
    """Fill `out`. Raises ValueError where the shape of BASE_MODEL is not known."""
    config, _ = shape(settings)
    parameters = model_facts(config, settings)["parameters"]
    gpu = on_gpu()
    train = gpu or parameters < BIG
    # The demo's tokenizer stands in for one that is not here, and then the demo's rows fit it.
    own = tokenizer.resolve() != (ROOT / "build/demo/base").resolve()
    here = own and (Path(settings["DATA"]) / "train.jsonl").is_file()
    folder = Path(settings["DATA"]) if here else DEMO_ROWS
    batch = number(settings, "BATCH_SIZE")
    rows = rehearsal_rows(folder, batch)
    shutil.rmtree(out, ignore_errors=True)
    (out / "rows").mkdir(parents=True)
    for name, lines in rows.items():
        write_text(out / f"rows/{name}.jsonl", "\n".join(lines) + "\n")
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
        "TRAIN_ROWS": len(rows["train"]),
        "VALID_ROWS": len(rows["valid"]),
        "EXPAND_TURNS": 0,
        "ITERS": 2,
        "EPOCHS": 2 * batch / len(rows["train"]),
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
    lines = [f"{key}={value}\n" for key, value in (settings | changed).items()]
    write_text(out / "rehearsal.env", "".join(lines))
    print(f"{parameters / 1e9:.1f}B parameters; rows of {folder}, tokenizer of")
    print(f"{hub_name(tokenizer) or tokenizer}.")
    if not train:
        print("No training: on a CPU an iteration at this size takes hours.", end=" ")
        print("Random adapters stand in.")


def table(folder: Path) -> tuple[str, bool]:
    """(what each stage took, was the disk predicted?)."""
    settings = load_settings(folder / "rehearsal.env")
    build = folder / "build"
    facts = read_json(build / "preflight.json")["facts"]["model"]
    times = (build / "logs/times.jsonl").read_text(encoding="utf-8").splitlines()
    took = {entry["stage"]: entry for entry in map(json.loads, times)}
    if reports := read_metrics(build / "adapters"):  # what a GPU held is no process's memory
        held = [entry.get("peak_memory_gb", 0) * 1e9 for entry in reports]
        took["train"]["peak_bytes"] = max(took["train"]["peak_bytes"], *held)
    predicted = {"model": facts["base_bytes"]}
    outputs = output_bytes(settings, facts)
    predicted |= {stage: outputs[name] for stage, name in OUTPUTS.items() if name in outputs}
    lines = [f"  {'stage':<10} {'time':>8} {'peak memory':>12} {'disk':>9} {'predicted':>10}"]
    measured = {}
    for stage in STAGES:
        if stage not in took:
            continue
        disk = said = "-"
        if stage in predicted:
            measured[stage] = weights_bytes(build / OUTPUTS[stage])
            disk, said = size(measured[stage]), size(predicted[stage])
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
