"""Keep the checkpoint with the lowest validation loss. Runs when a training has ended.

    python best.py STAGING OUT

mlx-lm keeps the last weights, and the loss that it reports for a checkpoint is of the weights one
update earlier. So this program loads the best few checkpoints by that loss, and the last one, from
their files, and validates them again. It uses every row; mlx-lm leaves out those that fill no
batch. OUT gets the adapter, its config, the metrics and training.json. STAGING is not changed.
Exit status 1: no checkpoint can be kept.
"""

import argparse
import math
import shutil
import sys
from pathlib import Path

from mlx_lm import load
from mlx_lm.tuner.utils import linear_to_lora_layers

from checkpoints import FINAL, METRICS, losses, read_metrics, run_folders, trained_weights
from files import read_json, write_json
from loss import valid_rows, validation_loss
from models import hub_name
from program import Failed, run

TRIED = 3  # of the best reported losses
SERVICES = ("wandb", "swanlog")  # folders that REPORT_TO makes in the adapter path


def last_reported(validations: dict[int, float], iteration: int) -> float:
    """The loss of the last validation that training made up to this iteration."""
    return validations[max(seen for seen in validations if seen <= iteration)]


def recompute(config: dict, weights: dict[int, Path]) -> dict[int, float]:
    """Iterations -> validation loss over all rows, of the weights in the files. NaN is left out."""
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
        if math.isfinite(loss):
            found[iteration] = loss
        else:
            print(f"best: WARNING: the loss of iteration {iteration} is {loss}", file=sys.stderr)
    if not found:
        raise Failed("no checkpoint has a validation loss that is a number")
    return found


def epochs(config: dict, iterations: int) -> float:
    """How often the training saw each row."""
    with Path(config["data"], "train.jsonl").open("rb") as stream:
        rows = sum(1 for line in stream if line.strip())
    return round(iterations * config["batch_size"] / rows, 4)


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


def say(training: dict) -> None:
    """Print the candidates as a table, and the choice."""
    best, gain = training["best_iteration"], training["gain_over_last"]
    print("  iteration   while training   from its file")
    for entry in training["candidates"]:
        line = "  {iteration:>9}   {reported:>14.4f}   {val_loss:>13.4f}".format(**entry)
        print(line + ("  best" if entry["iteration"] == best else ""))
    lower = f", {gain:.4f} lower than the last" if gain else ""
    print(f"Keeping iteration {best}: validation loss {training['best_val_loss']:.4f}{lower}.")


def keep_best(staging: Path, out: Path, keep_checkpoints: bool) -> None:
    """Fill OUT. Raises Failed when there is no checkpoint to keep."""
    ended = read_json(staging / "training.json")
    if ended["failed"]:
        raise Failed(ended["stop_reason"])
    config = read_json(staging / "adapter_config.json")
    checkpoints = trained_weights(staging, ended)
    if not checkpoints:
        raise Failed(f"{staging}: no checkpoint to keep; SAVE_EVERY is more than ITERS?")
    validations = losses(read_metrics(staging), "val_loss")
    reported = {n: last_reported(validations, n) for n in checkpoints}
    tried = {*sorted(checkpoints, key=reported.get)[:TRIED], max(checkpoints)}
    found = recompute(config, {n: checkpoints[n] for n in sorted(tried)})
    best, last = min(found, key=found.get), found.get(max(checkpoints))
    training = ended | {
        "best_iteration": best,
        "best_val_loss": found[best],
        "last_val_loss": last,
        "gain_over_last": None if last is None else last - found[best],
        "base_val_loss": validations[0],
        "epochs": epochs(config, ended["iterations"]),
        "candidates": [
            {"iteration": n, "reported": reported[n], "val_loss": loss} for n, loss in found.items()
        ],
    }
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    copy_records(staging, config, out)
    shutil.copy(checkpoints[best], out / FINAL)
    for iteration, file in checkpoints.items() if keep_checkpoints else ():
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
    args = parser.parse_args()
    keep_best(args.staging, args.out, args.keep_checkpoints)


if __name__ == "__main__":
    run(main)
