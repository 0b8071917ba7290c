"""What scored prompts add up to: categories, totals, intervals, the registered verdict."""

from statistics import fmean

import numpy as np

BOOTSTRAP_SAMPLES = 10_000
BOOTSTRAP_SEED = 40


def mean(values: list[float]) -> float | None:
    """The mean to four digits; None of nothing."""
    return round(fmean(values), 4) if values else None


def bootstrap_interval(values: list[float]) -> list[float] | None:
    """95% percentile bootstrap interval of the mean of `values`, with a fixed seed.

    For a difference between two evaluations give the difference of each prompt: paired, it is
    narrower than two intervals side by side.
    """
    if not values:
        return None
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    array = np.array(values)
    # One sample at a time: the memory is that of one, however long the suite.
    means = [rng.choice(array, len(array)).mean() for _ in range(BOOTSTRAP_SAMPLES)]
    low, high = np.percentile(means, [2.5, 97.5])
    return [round(float(low), 4), round(float(high), 4)]


def score_interval(scores: list[float], lowest: float = 0) -> list[float] | None:
    """95% interval of the mean of scores from `lowest` to 1: the bootstrap's.

    Where all are equal a bootstrap sees no spread at all, and would call 0 of 27 certain. Then it
    is the exact (Clopper-Pearson) bound on the share of prompts that would score otherwise.
    """
    if len(set(scores)) != 1:
        return bootstrap_interval(scores)
    score, otherwise = scores[0], 1 - 0.025 ** (1 / len(scores))
    low, high = score + (lowest - score) * otherwise, score + (1 - score) * otherwise
    return [round(low, 4), round(high, 4)]


def answered(prompts: list[dict], scale: str) -> list[float]:
    """The scores of the prompts that have an answer; `scale` is "score" or "strict_score"."""
    return [prompt[scale] for prompt in prompts if prompt["score"] is not None]


def summarize(scored: list[dict], targets: dict) -> dict:
    """Categories, totals, interval and verdict of prompts with category, score, strict_score.

    A prompt without an answer has the score None: it counts nowhere but in `n` and `errors`. The
    verdict is "fail" when the total or a category is below its registered target, "incomplete"
    while a prompt has no answer or a registered category no prompt, else "pass".
    """
    members = {}
    for prompt in scored:
        members.setdefault(prompt["category"], []).append(prompt)
    scores = {name: answered(prompts, "score") for name, prompts in members.items()}
    overall = answered(scored, "score")
    errors = len(scored) - len(overall)
    judged = [(scores.get(name), target) for name, target in targets["categories"].items()] + [
        (overall, targets["overall"])
    ]
    if errors:
        verdict = "incomplete"
    elif any(values and fmean(values) < target for values, target in judged):
        verdict = "fail"  # held to the exact mean: 0.79995 is not 0.8
    else:
        verdict = "pass" if all(values for values, _ in judged) else "incomplete"
    return {
        "categories": {
            name: {
                "n": len(prompts),
                "score": mean(scores[name]),
                "strict_score": mean(answered(prompts, "strict_score")),
            }
            for name, prompts in members.items()
        },
        "overall": mean(overall),
        "strict_overall": mean(answered(scored, "strict_score")),
        "ci95": score_interval(overall),
        "verdict": verdict,
        **({"errors": errors} if errors else {}),
    }
