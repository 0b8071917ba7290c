"""Means of scores, their 95% intervals, the verdict, and what can be concluded from so many."""

import math
from statistics import fmean

PASS_SCORE = 0.5  # of one prompt
Z95 = 1.96  # standard errors on each side of a 95% interval
POWER80 = 0.8416  # standard errors more, so that 80 of 100 experiments find a difference
FEW = 10  # prompts: a category with fewer is a description, not evidence
FLIPPED = 0.15  # share of prompts that two models answer differently, until it is measured


def percent(share: float | None) -> str:
    """0.8236 as 82.4%; "-" for no score."""
    return "-" if share is None else f"{math.floor(share * 1000 + 0.5) / 10:g}%"


def points(share: float | None) -> str:
    """A difference in percentage points, with its sign."""
    if share is None:
        return "-"
    rounded = math.copysign(math.floor(abs(share) * 1000 + 0.5) / 10, share)
    return f"{rounded:+g}" if rounded else "0"


def mean(values: list[float]) -> float | None:
    """The mean, rounded to four digits; None without values."""
    return round(fmean(values), 4) if values else None


def interval(values: list[float], lowest: float = 0) -> list[float] | None:
    """95% interval of the mean of scores; with `lowest` -1 of differences. None without values."""
    if not values:
        return None
    squares = fmean(value**2 for value in values)
    return [round(end, 4) for end in interval_of(len(values), fmean(values), squares, lowest)]


def interval_of(n: int, mean: float, squares: float, lowest: float = 0) -> tuple[float, float]:
    """The same for n values with this mean and this mean of their squares.

    It is the normal interval of these values and a few more, as many at `lowest` as at 1. For
    scores of 0 and 1 that is the interval of Agresti and Coull (1998). At 27 prompts it holds the
    truth in 94% of experiments or more. A bootstrap's does in 75 to 94% (make bench-intervals).
    """
    more = Z95**2 / 2 if lowest == 0 else 1
    count = n + 2 * more
    center = (n * mean + more * (lowest + 1)) / count
    variance = (n * squares + more * (lowest**2 + 1)) / count - center**2
    half = Z95 * math.sqrt(variance / count)
    return max(lowest, center - half), min(1, center + half)


def wilson(right: int, n: int) -> list[float] | None:
    """95% interval of Wilson (1927) of the share right / n; None without any."""
    if not n:
        return None
    share, square = right / n, Z95**2 / n
    center = (share + square / 2) / (1 + square)
    half = math.sqrt(square * (share * (1 - share) + square / 4)) / (1 + square)
    return [round(max(0.0, center - half), 4), round(min(1.0, center + half), 4)]


def smallest_difference(prompts: int, flipped: float = FLIPPED) -> float:
    """The smallest difference of two scores that so many paired prompts can show, with 80% power.

    `flipped` is the share of prompts that the two answer differently (Miller, arXiv 2411.00640).
    """
    return round((Z95 + POWER80) * math.sqrt(flipped / prompts), 4)


def certainty(ci95: list[float] | None, target: float | None) -> str | None:
    """Does the interval of the score exclude the target? None without one."""
    if target is None:
        return None
    if ci95 and not ci95[0] <= target <= ci95[1]:
        return "clear"
    return "too close to call"


def prompts_needed(scores: list[float], target: float) -> int | None:
    """How many prompts that score like these would exclude the target; None for over 100,000."""
    average, squares = fmean(scores), fmean(score**2 for score in scores)
    for n in range(len(scores), 100_000):
        low, high = interval_of(n, average, squares)
        if not low <= target <= high:
            return n
    return None


def judge(score: float | None, target: float | None) -> str:
    """The verdict on one score: "pass" or "FAIL"; "-" without a score or a target."""
    if score is None or target is None:
        return "-"
    return "pass" if score >= target else "FAIL"


def means(prompts: list[dict]) -> dict:
    """The mean of each score, over the prompts that have an answer."""
    answered = [prompt for prompt in prompts if prompt["score"] is not None]
    means = {key: mean([prompt[key] for prompt in answered]) for key in ("score", "strict_score")}
    exact = [prompt["exact_score"] for prompt in answered if "exact_score" in prompt]
    whole = exact and len(exact) == len(answered)  # else it would be a mean over other prompts
    return means | ({"exact_score": mean(exact)} if whole else {})


def verdict(categories: dict, overall: float | None, errors: int, targets: dict) -> str:
    """The verdict on the evaluation: "pass", "fail" or "incomplete".

    It judges the rounded means that eval.json has, so that everybody can repeat it. Incomplete
    means that a prompt has no answer, or that a registered category has no prompt.
    """
    judged = [judge(overall, targets["overall"])]
    for name, target in targets["categories"].items():
        judged.append(judge(categories.get(name, {}).get("score"), target))
    if errors:
        return "incomplete"
    if "FAIL" in judged:
        return "fail"
    return "incomplete" if "-" in judged else "pass"


def summarize(prompts: list[dict], targets: dict) -> dict:
    """The totals of eval.json.

    A prompt without an answer has the score None. It counts in `n` and `errors` only.
    """
    categories = {}
    for name in dict.fromkeys(prompt["category"] for prompt in prompts):
        members = [prompt for prompt in prompts if prompt["category"] == name]
        evidence = len(members) >= FEW
        categories[name] = {"n": len(members), **means(members), "evidence": evidence}
    overall = means(prompts)
    scores = [prompt["score"] for prompt in prompts if prompt["score"] is not None]
    errors, ci95 = len(prompts) - len(scores), interval(scores)
    totals = {
        "categories": categories,
        "overall": overall["score"],
        "strict_overall": overall["strict_score"],
        **({"exact_overall": overall["exact_score"]} if "exact_score" in overall else {}),
        "ci95": ci95,
        "verdict": verdict(categories, overall["score"], errors, targets),
        "certainty": certainty(ci95, targets["overall"]),
        "smallest_difference": smallest_difference(len(prompts)),
        "invented_calls": sum(len(prompt["invented"]) for prompt in prompts),
    }
    if errors:
        totals["errors"] = errors
    return totals
