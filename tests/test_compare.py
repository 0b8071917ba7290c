"""A comparison pairs equal prompts, says what differs, and refuses a file that is no result."""

import json

import pytest

from compare import difference
from conftest import ROOT
from training import run

SUITE = {"name": "small", "sha256": "a", "n": 2}
FEBRUARY = {"model": "a model", "overall_score": 0.185, "prompts": [{"id": "p0", "score": 0.5}]}


def result(*scores, texts="question {}", **changes):
    """An eval.json whose prompts are in one category."""
    prompts = [
        {"id": f"p{n}", "category": "git", "score": score, "prompt": texts.format(n)}
        for n, score in enumerate(scores)
    ]
    made = {"experiment": "new", "overall": 0.5, "strict_overall": 0.5, "ci95": [0.1, 0.9]}
    made |= {"categories": {"git": {"n": len(scores), "score": 0.5}}, "verdict": "fail"}
    made |= {"model": {"weights_sha256": "w"}, "suite": SUITE, "server": {"kind": "mlx_lm"}}
    made |= {"settings": {"temperature": 0, "max_tokens": 0, "seed": 0}, "prompts": prompts}
    return made | changes


@pytest.fixture
def compare(tmp_path):
    """compare(baseline, result) runs bin/compare.sh on two contents."""

    def compare(*contents, targets=ROOT / "data/baseline.json"):
        files = []
        for name, content in zip(("old.json", "new.json"), contents, strict=True):
            files.append(tmp_path / name)
            files[-1].write_text(content if isinstance(content, str) else json.dumps(content))
        return run(ROOT / "bin/compare.sh", *files, targets, "changed")

    return compare


def test_the_table_says_what_changed_and_under_which_conditions(compare):
    old = result(1, 0, experiment="old", model={"weights_sha256": "other"})
    old["settings"] = {"temperature": 0.7, "max_tokens": 160, "seed": 0}
    said = compare(old, result(1, 1)).stdout
    assert "| git      | 2 | 50%      | >= 90% | 50%        | 0          | FAIL    |" in said
    assert "Difference to old, prompt by prompt: +50 points" in said
    assert "- p1: 0 -> 1" in said and "- p0" not in said
    assert (
        "The same in both: suite, seed. Different: temperature (0 here, 0.7 there),"
        " budget (each prompt's own here, 160 there), weights." in " ".join(said.split())
    )
    said = compare(old, old).stdout
    assert "The same in both: suite, temperature, budget, seed, weights." in said


@pytest.mark.parametrize(
    ("scores", "says"),
    [
        ([1] * 60, "At most 10 points worse than old: shown."),
        ([0] * 40 + [1] * 20, "At most 10 points worse than old: not so, it is worse by more."),
        ([0] * 5 + [1] * 55, "At most 10 points worse than old: cannot be shown with 60 prompts."),
    ],
)
def test_the_margin_is_judged_by_the_paired_interval(compare, scores, says):
    said = compare(result(*[1] * 60, experiment="old"), result(*scores, ci95=[0.1, 0.2])).stdout
    assert says in said and "Target 80%: clear" in said
    assert max(map(len, said.partition("Target")[2].partition("The same")[0].splitlines())) <= 80


def test_a_close_score_says_how_many_prompts_would_settle_it(compare):
    close = result(*[1] * 21, *[0] * 6)
    said = compare(result(*[1] * 27, experiment="old"), close).stdout
    assert "Target 80%: too close to call; about 1,2" in said
    assert "With 27 prompts a difference of 25.4 points or more is found reliably (22.2%" in said
    totals_only = compare({**result(), "prompts": []}, close).stdout
    assert "not known without pairs of prompts" in totals_only
    assert "of 20.9 points or more is found reliably (if 15%" in totals_only


def test_equal_ids_with_other_texts_are_no_pair(compare):
    said = compare(result(1, texts="another {}", suite={"sha256": "b"}), result(0)).stdout
    assert "Warning: not compared prompt by prompt with new: the two have no prompt" in said
    assert "Difference to" not in said and "Changed" not in said and "Only in" not in said


def test_a_prompt_is_found_in_another_suite_and_a_new_one_is_named(compare):
    old, new = result(0, 0, 1), result(0, 1, 0.5, suite={"sha256": "b"})
    old["prompts"] = [prompt | {"id": "renamed"} for prompt in old["prompts"][1:]]
    said = compare(old, new).stdout
    assert "2 prompts a difference" in said and "Only in this build: p0.\n" in said
    assert said.endswith("Changed:\n\n- p1: 0 -> 1\n- p2: 1 -> 0.5\n")


def test_a_text_that_a_suite_asks_twice_makes_two_pairs():
    twice = result(0, 1, texts="the same")
    found = difference(twice, twice | {"suite": {"sha256": "b"}})
    assert (found["n"], found["changed"]) == (2, [])


def test_a_category_without_answers_shows_a_dash(compare):
    empty = result(None, 1, categories={"git": {"n": 2, "score": None}})
    for pair in ((result(1, 1), empty), (empty, result(1, 1)), (empty, empty)):
        ended = compare(*pair)
        assert ended.returncode == 0 and "null" not in ended.stdout, ended.stderr
    assert "| git      | 2 | -        | >= 90% | -          | -          | -    " in ended.stdout


def test_a_baseline_may_have_totals_only(compare):
    said = compare((ROOT / "data/baseline.json").read_text(), result(1, 0)).stdout
    assert "against Phase 33b (30B)" in said and "| 100%     | >= 90% | 50%        | -50  " in said
    assert "prompt by prompt:" not in said and "Changed" not in said and "Only in" not in said


@pytest.mark.parametrize("wrong", [FEBRUARY, "[]", '{"experiment": "x", "overall": 1}'])
def test_a_file_that_is_no_result_is_refused_in_one_line(compare, wrong):
    for pair in ((wrong, result(1)), (result(1), wrong)):
        ended = compare(*pair)
        assert (ended.returncode, ended.stdout) == (2, "")
        assert ended.stderr.startswith("compare: ") and ended.stderr.count("\n") == 1, ended.stderr
    totals = (ROOT / "data/baseline.json").read_text()
    assert "prompts: Field required" in compare(result(1), totals).stderr


def test_pairs_make_a_difference_narrower_but_equal_gains_are_not_called_certain():
    before = [n % 2 / 1 for n in range(40)]
    after = [min(1.0, score + 0.1) for score in before]
    found = difference(result(*before), result(*after))
    assert (found["n"], len(found["changed"])) == (40, 20)
    assert found["difference"] == pytest.approx(0.05)
    assert found["ci95"][1] - found["ci95"][0] < 0.15
    same = result(*[1] * 27)
    assert difference(same, same)["ci95"] == [-0.0956, 0.0956]
    assert difference(result(*[0] * 27), same)["ci95"] == [0.7982, 1]


def answered(*answers, **model):
    made = result(*[1] * len(answers), model=model)
    for prompt, text in zip(made["prompts"], answers, strict=True):
        prompt["text"] = text
    return made


TEXTS = [f"answer {n}" for n in range(10)]
SAME = "answers are the same, word for word, though the"


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        (TEXTS, f"Warning: 10 of 10 {SAME} weights differ: did one model answer both?"),
        ([*TEXTS[:9], "another"], f"Warning: 9 of 10 {SAME} weights differ:"),
        ([*TEXTS[:8], "another", "one more"], None),
        ([*TEXTS[:5], *[""] * 5], f"Warning: 5 of 5 {SAME}"),  # an empty answer does not count
        ([*TEXTS[:4], *[""] * 6], None),
    ],
)
def test_equal_answers_of_different_weights_are_a_warning(compare, answers, says):
    ended = compare(answered(*TEXTS, weights_sha256="a"), answered(*answers, weights_sha256="b"))
    said = " ".join(ended.stdout.split())
    assert ended.returncode == 0 and (says in said if says else SAME not in said)
    same = compare(answered(*TEXTS, weights_sha256="a"), answered(*answers, weights_sha256="a"))
    assert same.returncode == 0 and SAME not in same.stdout
    assert SAME not in compare(answered(*[""] * 10, weights_sha256="a"), answered(*answers)).stdout


def test_where_weights_are_not_known_the_names_of_the_models_are_compared(compare):
    one = answered(*TEXTS, weights_sha256=None, served_id="8b", path="http://a")
    two = answered(*TEXTS, weights_sha256="b", served_id="30b", path="http://a")
    said = " ".join(compare(one, two).stdout.split())
    assert f"10 of 10 {SAME} models' names differ:" in said
    assert SAME not in compare(one, one).stdout
    assert SAME not in compare(answered(*TEXTS), two).stdout  # nothing is known of the first


def test_both_sides_of_the_case_are_told_and_the_validation_rows_are_paired(compare):
    def rows(*right):
        found = [
            {"id": f"valid:{n}", "question": f"q{n}", "arguments": mark}
            for n, mark in enumerate(right)
        ]
        share = sum(right) / len(right)
        totals = {"n": len(right), "format": 1, "tools": 1, "arguments": share, "ci95": [0.1, 0.9]}
        return totals | {"rows": found}

    known = {"strict_overall": 0.5, "invented_calls": 2, "ci95": [0.9, 1]}
    known |= {"overall": 1, "categories": {"git": {"n": 60, "score": 1}}}
    new = result(*[1] * 60, calls=rows(*[True] * 40), **known)
    said = compare(result(*[1] * 60, experiment="old", calls=rows(*[False] * 30)), new).stdout
    assert "Difference on these rows: +100 points" in said and "(30 rows)" in said
    in_favour, against = said.partition("For it:")[2].split("Against it:")
    assert in_favour.splitlines()[2:6] == [
        "- Target 80%: clear, all of the interval is above it.",
        "- No category is below its target.",
        "- At most 10 points worse than old: shown.",
        "- At most 10 points worse than old on the validation rows: shown.",
    ]
    assert against.splitlines()[2:4] == [
        "- Only 50% with real calls.",
        "- Calls of functions that are made up: 2.",
    ]
