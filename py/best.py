"""Which checkpoint is the best? Ends a training: keeps the one with the lowest validation loss.

    python best.py STAGING OUT

mlx-lm keeps the last weights, and reports under a checkpoint's number the loss of the weights one
update before it. So the best few by that number, and the last, are loaded from their files and
validated again, over every row (mlx-lm leaves out those that fill no batch). OUT gets the adapter,
its config, the metrics and training.json; STAGING stays as it is. Exit status 1: there is no best.
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
SERVICES = ("wandb", "swanlog")  # what REPORT_TO leaves in the adapter path


def trained_weights(staging: Path, ended: dict) -> dict[int, Path]:
    """Iterations -> weights, the last ones too where they are not at a multiple of SAVE_EVERY."""
    found = find_checkpoints(staging)
    last, iterations = run_folders(staging)[-1][1] / FINAL, ended["iterations"]
    if iterations == ended["planned"] and iterations not in found and is_whole(last):
        found[iterations] = last
    return found


def reported_loss(iteration: int, val_losses: dict[int, float]) -> float:
    """The loss reported for the checkpoint of `iteration`: mostly that of one update before."""
    return val_losses.get(max((n for n in val_losses if n <= iteration), default=0), math.nan)


def pick_candidates(checkpoints: dict[int, Path], val_losses: dict[int, float]) -> list[int]:
    """Iterations of the TRIED best reported checkpoints, and of the last."""
    reported = {n: reported_loss(n, val_losses) for n in checkpoints}
    finite = [n for n, loss in reported.items() if math.isfinite(loss)]
    return sorted({*sorted(finite, key=reported.get)[:TRIED], max(checkpoints)})


def recompute(config: dict, checkpoints: dict[int, Path], tried: list[int]) -> dict[int, float]:
    """Iterations -> validation loss over all rows, of the weights in the files."""
    model, tokenizer = load(config["model"])
    kind = config["fine_tune_type"]
    if kind != "full":
        layers, lora = config["num_layers"], config["lora_parameters"]
        linear_to_lora_layers(model, layers, lora, use_dora=kind == "dora")
    rows = valid_rows(config, tokenizer)
    found = {}
    for iteration in tried:
        model.load_weights(str(checkpoints[iteration]), strict=False)
        found[iteration], _ = validation_loss(model, rows, config)
    return found


def or_none(loss: float) -> float | None:
    """`loss` for JSON, which has no NaN."""
    return loss if math.isfinite(loss) else None


def summarize(
    ended: dict, config: dict, found: dict[int, float], reported: dict[int, float]
) -> dict:
    """training.json, from that of the staging folder; of the losses found one is a number."""
    best = min((n for n, loss in found.items() if math.isfinite(loss)), key=found.get)
    last = max(found)
    with Path(config["data"], "train.jsonl").open("rb") as stream:
        rows = sum(1 for line in stream if line.strip())
    return {
        "schema": 1,
        "best_iteration": best,
        "best_val_loss": found[best],
        "last_iteration": last,
        "last_val_loss": or_none(found[last]),
        "gain_over_last": or_none(found[last] - found[best]),
        "base_val_loss": or_none(reported.get(0, math.nan)),
        "stopped_early": ended["stopped_early"],
        "stop_reason": ended["stop_reason"],
        "iterations": ended["iterations"],
        "epochs": round(ended["iterations"] * config["batch_size"] / rows, 4),
        "seconds": ended["seconds"],
        "resumed_from": ended["resumed_from"],
        "resumed_at": ended["resumed_at"],
        "workers": ended["workers"],
        "candidates": [
            {
                "iteration": n,
                "reported": or_none(reported_loss(n, reported)),
                "val_loss": or_none(loss),
            }
            for n, loss in found.items()
        ],
    }


def keep(staging: Path, config: dict, out: Path) -> None:
    """Fill `out` with what outlives the staging folder, but for weights and training.json."""
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


def say(training: dict) -> None:
    """Print the candidates as a table, and the choice."""
    print("  iteration   while training   from its file")
    best, candidates = training["best_iteration"], training["candidates"]
    for entry in candidates:
        shown = [entry["reported"], entry["val_loss"]]
        one, two = ("NaN" if loss is None else f"{loss:.4f}" for loss in shown)
        mark = "  best" if entry["iteration"] == best else ""
        print(f"  {entry['iteration']:>9}   {one:>14}   {two:>13}{mark}")
    gain = training["gain_over_last"]
    lower = f", {gain:.4f} lower than the last" if gain else ""
    print(f"Keeping iteration {best}: validation loss {training['best_val_loss']:.4f}{lower}.")
    base = training["base_val_loss"]
    reported = next(entry["reported"] for entry in candidates if entry["iteration"] == best)
    if None not in (base, reported) and reported >= base:  # both over the rows mlx-lm took
        print(f"best: WARNING: no better than the untuned base ({base:.4f})", file=sys.stderr)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("staging", type=Path, help="the adapter path that was trained in")
    parser.add_argument("out", type=Path, help="folder to make")
    parser.add_argument("--keep-checkpoints", action="store_true")
    args = parser.parse_args()
    staging, out = args.staging, args.out
    try:
        if not (staging / "training.json").is_file():
            raise ValueError(f"{staging}: training has not come to its end; its log says why")
        ended = read_json(staging / "training.json")
        if ended["failed"]:
            raise ValueError(ended["stop_reason"])
        config = read_json(staging / "adapter_config.json")
        checkpoints = trained_weights(staging, ended)
        if not checkpoints:
            raise ValueError(f"{staging}: no checkpoint to keep; SAVE_EVERY is more than ITERS?")
        reported = losses(read_metrics(staging), "val_loss")
        found = recompute(config, checkpoints, pick_candidates(checkpoints, reported))
        if not any(map(math.isfinite, found.values())):
            raise ValueError(f"{staging}: the validation loss of every checkpoint is NaN")
        training = summarize(ended, config, found, reported)
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        keep(staging, config, out)
        shutil.copy(checkpoints[training["best_iteration"]], out / FINAL)
        for iteration, file in checkpoints.items() if args.keep_checkpoints else ():
            shutil.copy(file, out / f"{iteration:07d}_adapters.safetensors")
        write_json(out / "training.json", training)
        say(training)
    except (ValueError, OSError) as error:
        print(f"best: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
