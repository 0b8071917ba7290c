"""The folder of a training that is not finished: its checkpoints and its metrics.

adapters.training/                the first run's adapter path, as mlx-lm fills it
    0000100_adapters.safetensors  the weights after 100 iterations
    adapters.safetensors          the last weights that were saved
    metrics.jsonl                 all runs; iterations are counted from the first run's start
    training.json                 written when training has ended
    resumed-0000100/              the adapter path of a run that was resumed after iteration 100:
                                  its file 0000050 is iteration 150 of the training
"""

import math
from pathlib import Path

from safetensors import SafetensorError, safe_open

from files import read_json_lines

METRICS = "metrics.jsonl"
FINAL = "adapters.safetensors"
RESUMED = "resumed-"


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
    """{iteration: checkpoint file} over all runs. A file that is not whole is left out."""
    found = {}
    for start, folder in run_folders(staging):
        for file in sorted(folder.glob("[0-9]*_adapters.safetensors")):
            if is_whole(file):
                found[start + int(file.name.partition("_")[0])] = file
    return found


def read_metrics(folder: Path) -> list[dict]:
    """The entries of metrics.jsonl; none without that file."""
    return read_json_lines(folder / METRICS)


def losses(metrics: list[dict], kind: str) -> dict[int, float]:
    """Iterations -> loss of the reports with `kind` (train_loss, val_loss); NaN for null."""
    reports = [entry for entry in metrics if kind in entry]
    return {r["iteration"]: math.nan if r[kind] is None else r[kind] for r in reports}
