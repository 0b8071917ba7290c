"""The folder in which a training is under way: its checkpoints and its metrics.

adapters.training/                the first run's adapter path, as mlx-lm fills it
    0000100_adapters.safetensors  the weights after 100 iterations
    adapters.safetensors          the last weights that were saved
    metrics.jsonl                 all runs, iterations counted from the first one's start
    training.json                 written when training has ended
    resumed-0000100/              the adapter path of a run resumed at 100, whose 50 is 150
"""

import json
import math
from pathlib import Path

from safetensors import SafetensorError, safe_open

METRICS = "metrics.jsonl"
FINAL = "adapters.safetensors"
RESUMED = "resumed-"
BARS = "▁▂▃▄▅▆▇█"


def run_folders(staging: Path) -> list[tuple[int, Path]]:
    """(iterations done before it, adapter path) of each run in `staging`, oldest first."""
    resumed = [(int(path.name.removeprefix(RESUMED)), path) for path in staging.glob(f"{RESUMED}*")]
    return [(0, staging), *sorted(resumed)]


def is_whole(file: Path) -> bool:
    """Is `file` complete? mlx-lm writes in place, and a kill leaves half a safetensors file."""
    try:
        with safe_open(file, "np"):
            return True
    except (SafetensorError, OSError):
        return False


def find_checkpoints(staging: Path) -> dict[int, Path]:
    """Iterations -> the checkpoint saved after so many, over all runs; half ones are left out."""
    found = {}
    for start, folder in run_folders(staging):
        for file in sorted(folder.glob("[0-9]*_adapters.safetensors")):
            if is_whole(file):
                found[start + int(file.name.partition("_")[0])] = file
    return found


def read_metrics(folder: Path) -> list[dict]:
    """The entries of metrics.jsonl, none without that file; a line cut off is left out."""
    path = folder / METRICS
    if not path.is_file():
        return []
    entries = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entries.append(json.loads(line))
        except ValueError:  # the last line of a run that was killed
            continue
    return entries


def losses(metrics: list[dict], kind: str) -> dict[int, float]:
    """Iterations -> loss of the reports with `kind` (train_loss, val_loss); NaN for null."""
    reports = [entry for entry in metrics if kind in entry]
    return {r["iteration"]: math.nan if r[kind] is None else r[kind] for r in reports}


def sparkline(values: list[float], width: int = 40) -> str:
    """The last `width` of `values` as a line of bars, the lowest at the bottom; × for NaN."""
    values = values[-width:]
    finite = [value for value in values if math.isfinite(value)]
    low, high = min(finite, default=0), max(finite, default=0)
    step = (high - low) / (len(BARS) - 1) or 1
    return "".join(
        BARS[round((value - low) / step)] if math.isfinite(value) else "×" for value in values
    )
