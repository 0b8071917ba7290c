"""Keep the best checkpoint: the one with the lowest validation loss, or with the most right calls.

mlx-lm keeps the last weights, and the loss that it reports for a checkpoint is of the weights one
update earlier. So this program loads the best few checkpoints by that loss, and the last one, from
their files, and validates them again. It uses every row; mlx-lm leaves out those that fill no
batch. With --select-rows they also answer validation rows, and the loss decides only between
equals.
"""

import argparse
import math
import shutil
import sys
from pathlib import Path

from mlx_lm import load
from mlx_lm.tuner.utils import linear_to_lora_layers

from checkpoints import FINAL, METRICS, find_checkpoints, losses, read_metrics, run_folders
from files import read_json, write_json
from loss import valid_rows, validation_loss
from models import hub_name
from program import Failed, run
from right_calls import count_right, rows_of
from rows import read_rows
from tools import read_schemas

TRIED = 3  # of the best reported losses
SERVICES = ("wandb", "swanlog")  # folders that REPORT_TO makes in the adapter path


def recompute(
    config: dict, weights: dict[int, Path], asked: list, schemas: dict
) -> dict[int, dict]:
    """Iterations -> {val_loss}, over all rows, of the weights in the files. NaN is left out.

    With rows in `asked`, also how many of these get the right_calls.
    """
    model, tokenizer = load(config["model"])
    kind = config["fine_tune_type"]
    if kind != "full":
        layers, lora = config["num_layers"], config["lora_parameters"]
        linear_to_lora_layers(model, layers, lora, use_dora=kind == "dora")
    rows = valid_rows(config, tokenizer)
    found = {}
    for iteration, file in weights.items():
        model.load_weights(str(file), strict=False)
        loss, _ = validation_loss(model, rows, config)
        if not math.isfinite(loss):
            print(f"best: WARNING: the loss of iteration {iteration} is {loss}", file=sys.stderr)
            continue
        found[iteration] = {"val_loss": loss}
        if asked:
            found[iteration]["right_calls"] = count_right(model, tokenizer, asked, schemas)
    if not found:
        raise Failed("no checkpoint has a validation loss that is a number")
    return found


def copy_records(staging: Path, config: dict, out: Path) -> None:
    """Fill `out` with the metrics, the config, and what REPORT_TO's services have kept."""
    shutil.copy(staging / METRICS, out / METRICS)
    base = Path(config["model"])
    if base.is_symlink():  # a link in the build folder says nothing elsewhere
        base = base.resolve()
    services = config["report_to"].removeprefix("metrics").removeprefix(",")
    names = {"report_to": services or None, "model": hub_name(base) or str(base)}
    write_json(out / "adapter_config.json", config | names)
    for _, folder in run_folders(staging):
        for service in SERVICES:
            if (folder / service).is_dir():
                shutil.copytree(folder / service, out / service, dirs_exist_ok=True)


def numbers(entry: dict, rows: int) -> str:
    """What is known of a candidate that was asked so many rows."""
    calls = f"right calls in {entry['right_calls']} of {rows} rows, " if rows else ""
    return f"{calls}validation loss {entry['val_loss']:.4f}"


def say(training: dict) -> None:
    """Print the candidates, and the choice."""
    best, gain = training["best_iteration"], training["gain_over_last"]
    rows, candidates = training.get("select_rows", 0), training["candidates"]
    for entry in candidates:
        loss = f"{numbers(entry, rows)} ({entry['reported']:.4f} while training)"
        print(f"  iteration {entry['iteration']}: {loss}")
    kept = next(entry for entry in candidates if entry["iteration"] == best)
    lower = f", {gain:.4f} lower than the last" if gain and gain > 0 else ""
    print(f"Keeping iteration {best}: {numbers(kept, rows)}{lower}.")
    lowest = min(candidates, key=lambda entry: entry["val_loss"])
    if lowest["iteration"] != best:
        print(f"The loss would keep iteration {lowest['iteration']}: {numbers(lowest, rows)}.")


def keep_best(args) -> None:
    """Make the folder args.out. Raises Failed when there is no checkpoint to keep."""
    staging, out = args.staging, args.out
    if not (staging / "training.json").is_file():  # mlx.launch ends well though a worker has failed
        raise Failed(f"{staging}: the training has not come to its end; it says above why")
    ended = read_json(staging / "training.json")
    config = read_json(staging / "adapter_config.json")
    checkpoints = find_checkpoints(staging)
    asked, schemas = [], {}
    if args.select_rows is not None:
        schemas = read_schemas(args.tools)
        asked = rows_of(args.data, args.select_rows, schemas)
    rows = sum(1 for _ in read_rows(Path(config["data"]) / "train.jsonl"))
    validations = losses(read_metrics(staging), "val_loss")
    reported = {}
    for n in checkpoints:  # the last validation that training made up to this iteration
        reported[n] = validations[max(seen for seen in validations if seen <= n)]
    tried = {*sorted(checkpoints, key=reported.get)[:TRIED], max(checkpoints)}
    found = recompute(config, {n: checkpoints[n] for n in sorted(tried)}, asked, schemas)
    best = min(found, key=lambda n: (-found[n].get("right_calls", 0), found[n]["val_loss"]))
    loss, last = found[best]["val_loss"], found.get(max(checkpoints), {}).get("val_loss")
    training = ended | {
        "best_iteration": best,
        "best_val_loss": loss,
        "last_val_loss": last,
        "gain_over_last": None if last is None else last - loss,
        "base_val_loss": validations[0],
        "epochs": round(ended["iterations"] * config["batch_size"] / rows, 4),
        "select": "loss" if args.select_rows is None else "calls",
        **({"select_rows": len(asked)} if asked else {}),
        "candidates": [
            {"iteration": n, "reported": reported[n], **entry} for n, entry in found.items()
        ],
    }
    out.mkdir()
    copy_records(staging, config, out)
    shutil.copy(checkpoints[best], out / FINAL)
    for iteration, file in checkpoints.items() if args.keep_checkpoints else ():
        shutil.copy(file, out / f"{iteration:07d}_{FINAL}")
    write_json(out / "training.json", training)
    say(training)
    if reported[best] >= validations[0]:  # both over the rows that mlx-lm took
        print("best: WARNING: it is no better than the untuned base", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("staging", type=Path, help="the adapter path that was trained in")
    parser.add_argument("out", type=Path, help="folder to make")
    parser.add_argument("--keep-checkpoints", action="store_true")
    parser.add_argument("--select-rows", type=int, help="ask so many validation rows; 0: all")
    parser.add_argument("--tools", type=Path, default=Path("none"), help="for these rows")
    parser.add_argument("--data", type=Path, default=Path("."), help="folder of these rows")
    keep_best(parser.parse_args())


if __name__ == "__main__":
    run(main)
