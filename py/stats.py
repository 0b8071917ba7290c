"""Means of scores, their 95% intervals, the verdict, and how a score is written."""

import math
from statistics import fmean

import numpy as np

PASS_SCORE = 0.5  # of one prompt
BOOTSTRAP_SAMPLES = 10_000
BOOTSTRAP_SEED = 40


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


def bootstrap_interval(values: list[float]) -> list[float]:
    """95% percentile bootstrap interval of the mean of `values`, with a fixed seed."""
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    array = np.array(values)
    means = [rng.choice(array, len(array)).mean() for _ in range(BOOTSTRAP_SAMPLES)]
    low, high = np.percentile(means, [2.5, 97.5])
    return [round(float(low), 4), round(float(high), 4)]


def score_interval(scores: list[float], lowest: float = 0) -> list[float] | None:
    """95% interval of the mean of scores from `lowest` to 1; None without scores.

    If all scores are equal, a bootstrap sees no spread and would call 0 of 27 certain. Then the
    interval is the exact (Clopper-Pearson) bound on the share of prompts with another score.
    """
    if not scores:
        return None
    if len(set(scores)) > 1:
        return bootstrap_interval(scores)
    score, otherwise = scores[0], 1 - 0.025 ** (1 / len(scores))
    low, high = score + (lowest - score) * otherwise, score + (1 - score) * otherwise
    return [round(low, 4), round(high, 4)]


def judge(score: float | None, target: float | None) -> str:
    """The verdict on one score: "pass" or "FAIL"; "-" without a score or a target."""
    if score is None or target is None:
        return "-"
    return "pass" if score >= target else "FAIL"


def means(prompts: list[dict]) -> dict:
    """The mean of each score, over the prompts that have an answer."""
    answered = [prompt for prompt in prompts if prompt["score"] is not None]
    return {key: mean([prompt[key] for prompt in answered]) for key in ("score", "strict_score")}


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
        categories[name] = {"n": len(members), **means(members)}
    overall = means(prompts)
    scores = [prompt["score"] for prompt in prompts if prompt["score"] is not None]
    errors = len(prompts) - len(scores)
    totals = {
        "categories": categories,
        "overall": overall["score"],
        "strict_overall": overall["strict_score"],
        "ci95": score_interval(scores),
        "verdict": verdict(categories, overall["score"], errors, targets),
        "invented_calls": sum(len(prompt["invented"]) for prompt in prompts),
    }
    if errors:
        totals["errors"] = errors
    return totals
