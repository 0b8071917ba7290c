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

from checkpoints import (
    FINAL,
    METRICS,
    find_checkpoints,
    is_whole,
    losses,
    read_metrics,
    run_folders,
)
from files import read_json, write_json
from loss import valid_rows, validation_loss
from models import hub_name

TRIED = 3  # of the best reported losses
SERVICES = ("wandb", "swanlog")  # folders that REPORT_TO makes in the adapter path


def trained_weights(staging: Path, ended: dict) -> dict[int, Path]:
    """Iterations -> weights; the last ones too, if ITERS is no multiple of SAVE_EVERY."""
    found = find_checkpoints(staging)
    last, iterations = run_folders(staging)[-1][1] / FINAL, ended["iterations"]
    if iterations == ended["planned"] and iterations not in found and is_whole(last):
        found[iterations] = last
    if not found:
        raise ValueError(f"{staging}: no checkpoint to keep; SAVE_EVERY is more than ITERS?")
    return found


def reported_losses(staging: Path, checkpoints: dict[int, Path]) -> dict[int, float]:
    """Iteration -> the loss reported for its checkpoint while training; 0 is the untuned base."""
    losses_seen = losses(read_metrics(staging), "val_loss")
    return {
        n: losses_seen.get(max((seen for seen in losses_seen if seen <= n), default=0), math.nan)
        for n in (0, *checkpoints)
    }


def recompute(config: dict, weights: dict[int, Path]) -> dict[int, float]:
    """Iterations -> validation loss over all rows, of the weights in the files."""
    model, tokenizer = load(config["model"])
    kind = config["fine_tune_type"]
    if kind != "full":
        layers, lora = config["num_layers"], config["lora_parameters"]
        linear_to_lora_layers(model, layers, lora, use_dora=kind == "dora")
    rows = valid_rows(config, tokenizer)
    found = {}
    for iteration, file in weights.items():
        model.load_weights(str(file), strict=False)
        found[iteration], _ = validation_loss(model, rows, config)
    return found


def or_none(loss: float) -> float | None:
    """`loss` for JSON, which has no NaN."""
    return loss if math.isfinite(loss) else None


def summarize(
    ended: dict, config: dict, found: dict[int, float], reported: dict[int, float]
) -> dict:
    """OUT's training.json; `ended` is that of the staging folder."""
    finite = [n for n, loss in found.items() if math.isfinite(loss)]
    if not finite:
        raise ValueError("the validation loss of every checkpoint is NaN")
    best, last = min(finite, key=found.get), max(found)
    with Path(config["data"], "train.jsonl").open("rb") as stream:
        rows = sum(1 for line in stream if line.strip())
    return {
        "schema": 1,
        "best_iteration": best,
        "best_val_loss": found[best],
        "last_iteration": last,
        "last_val_loss": or_none(found[last]),
        "gain_over_last": or_none(found[last] - found[best]),
        "base_val_loss": or_none(reported[0]),
        "stopped_early": ended["stopped_early"],
        "stop_reason": ended["stop_reason"],
        "iterations": ended["iterations"],
        "epochs": round(ended["iterations"] * config["batch_size"] / rows, 4),
        "seconds": ended["seconds"],
        "resumed_from": ended["resumed_from"],
        "resumed_at": ended["resumed_at"],
        "workers": ended["workers"],
        "candidates": [
            {"iteration": n, "reported": or_none(reported[n]), "val_loss": or_none(loss)}
            for n, loss in found.items()
        ],
    }


def copy_records(staging: Path, config: dict, out: Path) -> None:
    """Fill `out` with the metrics, the config, and what REPORT_TO's services have kept."""
    shutil.copy(staging / METRICS, out / METRICS)
    services = [name for name in config["report_to"].split(",") if name != "metrics"]
    base = Path(config["model"])
    if base.is_symlink():  # a link in the build folder says nothing elsewhere
        base = base.resolve()
    kept = {"report_to": ",".join(services) or None, "model": hub_name(base) or str(base)}
    write_json(out / "adapter_config.json", config | kept)
    for _, folder in run_folders(staging):
        for service in SERVICES:
            if (folder / service).is_dir():
                shutil.copytree(folder / service, out / service, dirs_exist_ok=True)


def say(training: dict, reported: dict[int, float]) -> None:
    """Print the candidates as a table, and the choice."""
    print("  iteration   while training   from its file")
    best = training["best_iteration"]
    for entry in training["candidates"]:
        shown = (entry["reported"], entry["val_loss"])
        one, two = ("NaN" if loss is None else f"{loss:.4f}" for loss in shown)
        mark = "  best" if entry["iteration"] == best else ""
        print(f"  {entry['iteration']:>9}   {one:>14}   {two:>13}{mark}")
    gain = training["gain_over_last"]
    lower = f", {gain:.4f} lower than the last" if gain else ""
    print(f"Keeping iteration {best}: validation loss {training['best_val_loss']:.4f}{lower}.")
    if reported[best] >= reported[0]:  # both over the rows that mlx-lm took
        print(
            f"best: WARNING: no better than the untuned base ({reported[0]:.4f})", file=sys.stderr
        )


def keep_best(staging: Path, out: Path, keep_checkpoints: bool) -> None:
    """Fill OUT. Raises ValueError when there is no checkpoint to keep."""
    ended = read_json(staging / "training.json")
    if ended["failed"]:
        raise ValueError(ended["stop_reason"])
    config = read_json(staging / "adapter_config.json")
    checkpoints = trained_weights(staging, ended)
    reported = reported_losses(staging, checkpoints)
    finite = [n for n in checkpoints if math.isfinite(reported[n])]
    tried = {*sorted(finite, key=reported.get)[:TRIED], max(checkpoints)}
    found = recompute(config, {n: checkpoints[n] for n in sorted(tried)})
    training = summarize(ended, config, found, reported)
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    copy_records(staging, config, out)
    shutil.copy(checkpoints[training["best_iteration"]], out / FINAL)
    for iteration, file in checkpoints.items() if keep_checkpoints else ():
        shutil.copy(file, out / f"{iteration:07d}_adapters.safetensors")
    write_json(out / "training.json", training)
    say(training, reported)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("staging", type=Path, help="the adapter path that was trained in")
    parser.add_argument("out", type=Path, help="folder to make")
    parser.add_argument("--keep-checkpoints", action="store_true")
    args = parser.parse_args()
    try:
        keep_best(args.staging, args.out, args.keep_checkpoints)
    except (ValueError, OSError) as error:
        print(f"best: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
