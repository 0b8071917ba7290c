"""What scored prompts add up to: categories, totals, intervals, the registered verdict."""

import math

import numpy as np

BOOTSTRAP_SAMPLES = 10_000
BOOTSTRAP_SEED = 40


def mean(values: list[float]) -> float:
    """The mean to four digits; None of nothing."""
    return round(sum(values) / len(values), 4) if values else None


def exact(values: list[float]) -> float:
    """The mean, with no more error than floating point has."""
    return math.fsum(values) / len(values)


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


def summarize(scored: list[dict], targets: dict) -> dict:
    """Categories, totals, interval and verdict of prompts with category, score, strict_score.

    A prompt without an answer has the score None: it counts nowhere but in `n` and `errors`. The
    verdict is "fail" when the total or a category is below its registered target, "incomplete"
    while a prompt has no answer or a registered category no prompt, else "pass".
    """
    answered = [prompt for prompt in scored if prompt["score"] is not None]
    members = {}
    for prompt in scored:
        members.setdefault(prompt["category"], []).append(prompt)
    categories = {}
    for name, prompts in members.items():
        got = [prompt for prompt in prompts if prompt["score"] is not None]
        categories[name] = {
            "n": len(prompts),
            "score": mean([prompt["score"] for prompt in got]),
            "strict_score": mean([prompt["strict_score"] for prompt in got]),
        }
    scores = [prompt["score"] for prompt in answered]
    parts = {"overall": scores} | {
        name: [prompt["score"] for prompt in prompts if prompt["score"] is not None]
        for name, prompts in members.items()
    }
    wanted = {"overall": targets["overall"], **targets["categories"]}
    # Held to the exact mean: 0.79995 is not 0.8.
    missed = [
        name for name, target in wanted.items() if parts.get(name) and exact(parts[name]) < target
    ]
    complete = len(answered) == len(scored)
    judged = complete and all(parts.get(name) for name in wanted)
    return {
        "categories": categories,
        "overall": mean(scores),
        "strict_overall": mean([prompt["strict_score"] for prompt in answered]),
        "ci95": bootstrap_interval(scores),
        "verdict": "fail" if missed and complete else "pass" if judged else "incomplete",
        **({} if complete else {"errors": len(scored) - len(answered)}),
    }
