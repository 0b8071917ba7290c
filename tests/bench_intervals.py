"""How often does a 95% interval hold the true score? Prints the coverage of three methods.

    make bench-intervals

Each line simulates evaluations of 27 prompts by a model whose true score is known. Scores are 0 and
1, or 0, 0.1, 0.5 and 1, as the registered rule gives them.
"""

import numpy as np

import conftest  # noqa: F401 - makes py/ importable
from stats import interval

PROMPTS, EXPERIMENTS, SAMPLES = 27, 2000, 1000
TRUE_SCORES = (0.70, 0.75, 0.80, 0.85, 0.90, 0.95)


def chances(score: float, graded: bool) -> dict[float, float]:
    """Score of a prompt -> its chance. Graded: half of what is missed gets a part of the point."""
    missed = 1 - score
    if not graded:
        return {1.0: score, 0.0: missed}
    part = missed / 2
    return {1.0: score - 0.6 * part, 0.5: part, 0.1: part, 0.0: missed - 1.4 * part}


def wilson(scores: np.ndarray) -> tuple[float, float]:
    """Wilson's interval of a share."""
    n, share, z = len(scores), scores.mean(), 1.96
    center = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    return center - half, center + half


def bootstrap(scores: np.ndarray) -> tuple[float, float]:
    """The percentile bootstrap."""
    picked = np.random.default_rng(0).integers(0, len(scores), (SAMPLES, len(scores)))
    return tuple(np.percentile(scores[picked].mean(axis=1), [2.5, 97.5]))


def main() -> None:
    rng = np.random.default_rng(40)
    methods = {"ours": lambda scores: interval(list(scores)), "Wilson": wilson}
    methods["bootstrap"] = bootstrap
    print("scores  true score  " + "".join(f"{name:>10} width" for name in methods))
    for graded in (False, True):
        for score in TRUE_SCORES:
            values = chances(score, graded)
            drawn = rng.choice(list(values), (EXPERIMENTS, PROMPTS), p=list(values.values()))
            line = f"{'graded' if graded else '0 or 1':<8}{score:>10.0%}  "
            for method in methods.values():
                ends = np.array([method(scores) for scores in drawn])
                held = (ends[:, 0] <= score + 1e-9) & (score - 1e-9 <= ends[:, 1])
                width = (ends[:, 1] - ends[:, 0]).mean()
                line += f"{held.mean():>10.1%} {100 * width:>5.1f}"
            print(line)


if __name__ == "__main__":
    main()
