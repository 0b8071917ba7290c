"""Where everything goes in the report's picture of the losses.

Places are per mille of the picture's width, from the left, and of its height, from the top.
"""

import math

from checkpoints import losses

STEPS = (1, 2, 5)  # the first digits of ticks


def linear_ticks(high: float, most: int) -> list[float]:
    """Round numbers from 0 to `high`: 0 and at most `most` more."""
    steps = (first * 10.0**power for power in range(-9, 12) for first in STEPS)
    step = next((step for step in steps if high / step <= most), high)
    return [n * step for n in range(int(high / step + 1e-9) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Round numbers from `low` to `high`; only powers of ten where there would be many."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    firsts = STEPS if len(powers) <= 4 else STEPS[:1]
    ticks = [first * 10.0**power for power in powers for first in firsts]
    return [tick for tick in ticks if low <= tick <= high]


def path(points: list[tuple[float, float]]) -> str:
    """An SVG path through `points`, with a gap where one is NaN."""
    words, joined = [], False
    for x, y in points:
        if math.isfinite(y):
            words.append(f"{'L' if joined else 'M'}{x:.1f} {y:.1f}")
        joined = math.isfinite(y)
    return " ".join(words)


def draw_curves(metrics: list[dict], training: dict) -> dict | None:
    """Paths, points, ticks and marks of a training; None when there is no loss to draw.

    On a log scale when the losses fall far. `training` is training.json, or empty.
    """
    curves = {kind: losses(metrics, kind) for kind in ("train_loss", "val_loss")}
    best = training.get("best_iteration"), training.get("best_val_loss")
    drawn = [pair for curve in curves.values() for pair in curve.items()]
    drawn += [best] if None not in best else []
    finite = [loss for _, loss in drawn if math.isfinite(loss)]
    if not finite:
        return None
    end = max(1, *(iteration for iteration, _ in drawn), training.get("iterations", 0))
    log = min(finite) > 0 and max(finite) > 20 * min(finite)
    low, high = (min(finite) / 1.2, max(finite) * 1.2) if log else (0.0, max(finite) * 1.05 or 1.0)

    def across(iteration: float) -> float:
        return round(1000 * iteration / end, 1)

    def down(loss: float) -> float:
        if not math.isfinite(loss):
            return math.nan
        share = math.log(loss / low) / math.log(high / low) if log else (loss - low) / (high - low)
        return round(1000 * (1 - share), 1)

    def place(curve: dict) -> list[tuple[float, float]]:
        return [(across(iteration), down(loss)) for iteration, loss in curve.items()]

    ticks = log_ticks(low, high) if log else linear_ticks(high, 5)
    return {
        "log": log,
        "train": path(place(curves["train_loss"])),
        "valid": path(place(curves["val_loss"])),
        "points": [
            {"x": across(iteration), "y": down(loss), "iteration": iteration, "loss": loss}
            for iteration, loss in curves["val_loss"].items()
            if math.isfinite(loss)
        ],
        "x_ticks": [(across(tick), f"{tick:g}") for tick in linear_ticks(end, 5)],
        "y_ticks": [(down(tick), f"{tick:g}") for tick in ticks],
        "best": {"x": across(best[0]), "y": down(best[1])} if None not in best else None,
        "resumed": [across(iteration) for iteration in training.get("resumed_at", [])],
        "stopped": across(training["iterations"]) if training.get("stopped_early") else None,
    }
