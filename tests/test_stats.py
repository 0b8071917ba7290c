"""Totals, intervals and verdicts are what they claim to be."""

import pytest

from stats import interval, interval_of, prompts_needed, smallest_difference, summarize

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
    git = {"n": 2, "score": 1, "strict_score": 0.5, "evidence": False}
    assert summary["categories"]["git"] == git
    assert summary["categories"]["lsp"]["score"] is None
    assert (summary["overall"], summary["errors"]) == (1, 2)
    nothing = summarize(scored(git=[None]), TARGETS)
    assert nothing["overall"] is nothing["ci95"] is None
    assert nothing["invented_calls"] == 0


def test_the_interval_is_that_of_agresti_and_coull():
    """By hand: 22 of 27, and 1.92 more right and wrong ones: (22 + 1.92) / 30.84 = 0.7756."""
    half = 1.96 * (0.7756 * 0.2244 / 30.84) ** 0.5
    assert interval([1.0] * 22 + [0.0] * 5) == pytest.approx(
        [0.7756 - half, 0.7756 + half], abs=1e-4
    )


@pytest.mark.parametrize("score", [0.0, 0.5, 1.0])
def test_equal_scores_are_not_called_certain(score):
    low, high = interval([score] * 27)
    assert low <= score <= high and 0.05 < high - low < 0.3
    assert interval([]) is None


def test_a_difference_reaches_below_zero():
    low, high = interval([-1.0] * 3 + [0.0] * 24, lowest=-1)
    assert low < -3 / 27 < high < 0.1


def test_the_smallest_difference_is_that_of_the_formula():
    """By hand: (1.96 + 0.8416) x sqrt(0.15 / 27) = 2.8016 x 0.07454 = 0.2088."""
    assert smallest_difference(27) == pytest.approx(0.2088, abs=1e-4)
    assert smallest_difference(2044) == pytest.approx(0.024, abs=1e-4)  # 80 against 82.4%


def test_a_verdict_says_how_certain_it_is():
    near = scored(git=[1] * 9 + [0], lsp=[1] * 14 + [0] * 3)
    far = scored(git=[0] * 10, lsp=[1] * 9 + [0] * 8)
    assert summarize(near, TARGETS)["certainty"] == "too close to call"
    assert summarize(far, TARGETS)["certainty"] == "clear"
    assert summarize(far, TARGETS)["smallest_difference"] == smallest_difference(27)


def test_so_many_prompts_would_settle_it():
    scores = [1.0] * 23 + [0.0] * 4  # 85.2%
    needed = prompts_needed(scores, 0.8)
    share = 23 / 27
    for n, settled in ((needed, True), (needed - 1, False)):
        low, high = interval_of(n, share, share)
        assert (not low <= 0.8 <= high) is settled
    assert needed > 100
    assert prompts_needed([1.0, 0.6], 0.8) is None  # exactly the target
