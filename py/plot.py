"""Draw the loss curves of a training as SVG and PNG.

    python plot.py ADAPTERS --out build/curves

The ground is clear, and lines have a contrast of 3 to 1 or more on white and on near-black, text of
4 to 1: one picture for light and dark pages.
"""

import argparse
import math
import sys
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from checkpoints import losses, read_metrics
from files import read_json

TRAIN, VALID, INK = "#4c8ed9", "#d9642b", "#7a7f87"
STYLE = {
    **{"font.size": 10, "svg.fonttype": "none", "font.family": "sans-serif"},
    **{"text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": INK},
    **{"xtick.color": INK, "ytick.color": INK, "axes.grid": True, "grid.color": INK},
    **{"grid.alpha": 0.25, "axes.spines.top": False, "axes.spines.right": False},
    **{"savefig.transparent": True, "svg.hashsalt": "phase40"},
}


def draw_losses(axes, metrics: list[dict]) -> None:
    """Training and validation loss over iterations; on a log scale when they fall far."""
    curves = (
        ("train_loss", TRAIN, "training, mean since the last report", None),
        ("val_loss", VALID, "validation", "o"),
    )
    seen = []
    for kind, colour, label, marker in curves:
        points = losses(metrics, kind)
        seen += [loss for loss in points.values() if math.isfinite(loss) and loss > 0]
        style = {"color": colour, "label": label, "marker": marker, "markersize": 4}
        axes.plot(list(points), list(points.values()), linewidth=1.6, **style)
    if seen and max(seen) > 20 * min(seen):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))


def draw_marks(axes, training: dict) -> None:
    """The kept checkpoint, and where training was resumed or stopped early."""
    best, loss = training["best_iteration"], training["best_val_loss"]
    style = {"marker": "*", "markersize": 13, "color": VALID, "linestyle": "none"}
    axes.plot([best], [loss], label=f"kept: iteration {best}, loss {loss:.3f}", **style)
    for iteration in training["resumed_at"]:
        axes.axvline(iteration, color=INK, linestyle=":", label=f"resumed at {iteration}")
    if training["stopped_early"]:
        end = training["iterations"]
        axes.axvline(end, color=INK, linestyle="--", label=f"stopped early at {end}")


def draw(metrics: list[dict], training: dict, out: Path) -> list[Path]:
    """Write `out` with the suffixes .png and .svg; gives their paths. Same curves, same bytes."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 3.8), layout="constrained")
        axes = figure.subplots()
        draw_losses(axes, metrics)
        draw_marks(axes, training)
        axes.set_xlabel("iteration")
        axes.set_ylabel("loss, nats per token")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(frameon=False, fontsize=9)
        files = [out.with_suffix(suffix) for suffix in (".png", ".svg")]
        for file in files:
            scratch = file.with_suffix(f".tmp{file.suffix}")
            figure.savefig(scratch, dpi=200, metadata={"Date": None} if ".svg" in file.name else {})
            scratch.replace(file)
    return files


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("adapters", type=Path, help="folder with metrics.jsonl and training.json")
    parser.add_argument("--out", type=Path, required=True, help="path without a suffix")
    args = parser.parse_args()
    try:
        metrics = read_metrics(args.adapters)
        if not metrics:
            raise ValueError(f"{args.adapters}: no metrics.jsonl to draw; make train writes it")
        for file in draw(metrics, read_json(args.adapters / "training.json"), args.out):
            print(f"plot: {file}")
    except (ValueError, OSError) as error:
        print(f"plot: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
