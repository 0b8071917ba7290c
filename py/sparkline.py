"""A curve in one line of text."""

import math

BARS = "▁▂▃▄▅▆▇█"


def sparkline(values: list[float], width: int = 40) -> str:
    """The last `width` of `values` as bars, the lowest at the bottom; × where one is no number."""
    values = values[-width:]
    finite = [value for value in values if math.isfinite(value)]
    low, high = min(finite, default=0), max(finite, default=0)
    step = (high - low) / (len(BARS) - 1) or 1
    return "".join(
        BARS[round((value - low) / step)] if math.isfinite(value) else "×" for value in values
    )
