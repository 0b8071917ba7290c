"""Totals, intervals and verdicts are what they claim to be."""

import numpy as np
import pytest

from stats import score_interval, summarize

TARGETS = {"overall": 0.8, "categories": {"git": 0.9, "lsp": 0.5}}


def scored(**categories):
    return [
        {"category": name, "score": score, "strict_score": score and score / 2, "invented": []}
        for name, scores in categories.items()
        for score in scores
    ]


@pytest.mark.parametrize(
    ("prompts", "verdict"),
    [
        (scored(git=[1, 1], lsp=[1, 0.5]), "pass"),
        (scored(git=[1, 0.7], lsp=[1, 1]), "fail"),  # a category below its target
        (scored(git=[0.9, 0.9], lsp=[0.5, 0.5]), "fail"),  # the total below its target
        (scored(git=[1, None], lsp=[1, 1]), "incomplete"),
        (scored(git=[1, 1]), "incomplete"),  # a registered category without a prompt
    ],
)
def test_the_verdict_is_the_registered_one(prompts, verdict):
    assert summarize(prompts, TARGETS)["verdict"] == verdict
    rounded = {"overall": 0.6667, "categories": {"git": 0.6667}}  # so eval.json writes 2 of 3
    assert summarize(scored(git=[1, 1, 0]), rounded)["verdict"] == "pass"


def test_a_prompt_without_an_answer_counts_nowhere_but_in_n_and_errors():
    summary = summarize(scored(git=[1, None], lsp=[None]), TARGETS)
    assert summary["categories"]["git"] == {"n": 2, "score": 1, "strict_score": 0.5}
    assert summary["categories"]["lsp"]["score"] is None
    assert (summary["overall"], summary["errors"]) == (1, 2)
    nothing = summarize(scored(git=[None]), TARGETS)
    assert nothing["overall"] is nothing["ci95"] is None
    assert nothing["invented_calls"] == 0


def test_the_interval_is_a_percentile_bootstrap_with_a_fixed_seed():
    scores = [1.0] * 20 + [0.5] * 3 + [0.0] * 4
    low, high = score_interval(scores)
    assert [low, high] == score_interval(scores)
    rng = np.random.default_rng(1)
    samples = rng.choice(scores, (100_000, len(scores))).mean(axis=1)
    assert [low, high] == pytest.approx(np.percentile(samples, [2.5, 97.5]), abs=0.02)


def test_equal_scores_are_not_called_certain():
    """0 of 27 and 27 of 27: the bounds that tables of the binomial have (12.77%)."""
    assert score_interval([0.0] * 27) == [0, 0.1277]
    assert score_interval([1.0] * 27) == [0.8723, 1]
    assert score_interval([1.0]) == [0.025, 1]
    low, high = score_interval([0.5] * 27)
    assert low < 0.5 < high
