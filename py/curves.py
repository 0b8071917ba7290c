"""Where everything stands in the report's picture of the losses.

A place is in per mille of the picture's width, from the left, and of its height, from the top.
"""

import math

from checkpoints import losses

STEPS = (1, 2, 5)  # the first digits of ticks


def linear_ticks(high: float, most: int) -> list[float]:
    """Round numbers from 0 to `high`: 0 and at most `most` more."""
    power = 10.0 ** math.floor(math.log10(high / most))
    step = next(first * power for first in (*STEPS, 10) if high / (first * power) <= most)
    return [n * step for n in range(int(high / step + 1e-9) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Round numbers from `low` to `high`; only powers of ten where there would be many."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    firsts = STEPS if len(powers) <= 4 else STEPS[:1]
    ticks = [first * 10.0**power for power in powers for first in firsts]
    return [tick for tick in ticks if low <= tick <= high]


def path(points: list[dict]) -> str:
    """An SVG path through `points`, with a gap where one is NaN."""
    words, command = [], "M"
    for point in points:
        finite = math.isfinite(point["y"])
        if finite:
            words.append(f"{command}{point['x']:.1f} {point['y']:.1f}")
        command = "L" if finite else "M"
    return " ".join(words)


def draw_curves(metrics: list[dict], training: dict) -> dict | None:
    """Paths, points, ticks and marks of a training; None when there is no loss to draw.

    On a log scale when the losses fall far. `training` is training.json, or empty.
    """
    train, valid, best = losses(metrics, "train_loss"), losses(metrics, "val_loss"), {}
    if "best_val_loss" in training:
        best = {training["best_iteration"]: training["best_val_loss"]}
    finite = [loss for curve in (train, valid, best) for loss in curve.values()]
    finite = [loss for loss in finite if math.isfinite(loss)]
    if not finite:
        return None
    end = max(1, *train, *valid, *best, training.get("iterations", 0))
    log = min(finite) > 0 and max(finite) > 20 * min(finite)
    low, high = (min(finite) / 1.2, max(finite) * 1.2) if log else (0.0, max(finite) * 1.05 or 1.0)

    def across(iteration: float) -> float:
        return round(1000 * iteration / end, 1)

    def down(loss: float) -> float:
        share = math.log(loss / low) / math.log(high / low) if log else loss / high
        return round(1000 * (1 - share), 1)

    def place(curve: dict) -> list[dict]:
        return [
            {"x": across(iteration), "y": down(loss), "iteration": iteration, "loss": loss}
            for iteration, loss in curve.items()
        ]

    ticks = log_ticks(low, high) if log else linear_ticks(high, 5)
    return {
        "log": log,
        "train": path(place(train)),
        "valid": path(place(valid)),
        "points": [point for point in place(valid) if math.isfinite(point["y"])],
        "x_ticks": [(across(tick), f"{tick:g}") for tick in linear_ticks(end, 5)],
        "y_ticks": [(down(tick), f"{tick:g}") for tick in ticks],
        "best": next(iter(place(best)), None),
        "resumed": [across(iteration) for iteration in training.get("resumed_at", [])],
        "stopped": across(training["iterations"]) if training.get("stopped_early") else None,
    }
