"""Totals, intervals and verdicts are what they claim to be."""

import numpy as np
import pytest

from difference import difference
from summary import bootstrap_interval, score_interval, summarize

TARGETS = {"overall": 0.8, "categories": {"git": 0.9, "lsp": 0.5}}


def scored(**categories):
    return [
        {"category": name, "score": score, "strict_score": score and score / 2}
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
        (scored(git=[1], lsp=[1] * 14_998 + [0] * 5_001), "fail"),  # 0.79995 is not 0.8
    ],
)
def test_the_verdict_is_the_registered_one(prompts, verdict):
    assert summarize(prompts, TARGETS)["verdict"] == verdict


def test_a_prompt_without_an_answer_counts_nowhere_but_in_n_and_errors():
    summary = summarize(scored(git=[1, None], lsp=[None]), TARGETS)
    assert summary["categories"]["git"] == {"n": 2, "score": 1, "strict_score": 0.5}
    assert summary["categories"]["lsp"]["score"] is None
    assert (summary["overall"], summary["errors"]) == (1, 2)


def test_nothing_answered_is_no_score():
    summary = summarize(scored(git=[None]), TARGETS)
    assert summary["overall"] is summary["ci95"] is None


def test_the_interval_is_a_percentile_bootstrap_with_a_fixed_seed():
    scores = [1.0] * 20 + [0.5] * 3 + [0.0] * 4
    low, high = bootstrap_interval(scores)
    assert [low, high] == bootstrap_interval(scores)
    rng = np.random.default_rng(1)
    samples = rng.choice(scores, (100_000, len(scores))).mean(axis=1)
    assert [low, high] == pytest.approx(np.percentile(samples, [2.5, 97.5]), abs=0.02)


def result(scores, suite="a"):
    prompts = [{"id": id, "score": score} for id, score in scores.items()]
    return {"prompts": prompts, "suite": {"sha256": suite}}


def test_a_paired_difference_is_narrower_than_two_intervals():
    before = {str(n): n % 2 / 1 for n in range(40)}
    after = {id: min(1.0, score + 0.1) for id, score in before.items()}
    found = difference(result(before), result(after))
    assert (found["n"], len(found["changed"])) == (40, 20)
    assert found["difference"] == pytest.approx(0.05)
    assert found["ci95"][1] - found["ci95"][0] < 0.05


def test_prompts_of_different_suites_are_not_paired():
    assert difference(result({"a": 1}), result({"a": 0}, suite="b")) == {"other_suite": True}
    assert difference({"overall": 0.8}, result({"a": 0})) == {}
    assert difference(result({"a": None}), result({"a": 0})) == {}


def test_equal_scores_and_equal_gains_are_not_called_certain():
    """0 of 27 and 27 of 27: the bounds that tables of the binomial have (12.77%)."""
    assert score_interval([0.0] * 27) == [0, 0.1277]
    assert score_interval([1.0] * 27) == [0.8723, 1]
    assert score_interval([1.0]) == [0.025, 1]
    low, high = score_interval([0.5] * 27)
    assert low < 0.5 < high
    assert score_interval([]) is None
    same = {str(n): 1.0 for n in range(27)}
    assert difference(result(same), result(same))["ci95"] == [-0.1277, 0.1277]
    worse = dict.fromkeys(same, 0.0)
    assert difference(result(worse), result(same))["ci95"] == [0.7446, 1]
    assert score_interval([0.0, 1.0]) == bootstrap_interval([0.0, 1.0])
