"""A sweep says how far apart its draws are, by category, prompt by prompt, under clear names."""

import json

import pytest

from conftest import ROOT, write_config
from taught import ANSWERS, suite_of
from test_compare import result
from training import run


@pytest.fixture
def sweep(tmp_path):
    """sweep(*results) runs py/sweep.py on them; gives its run, and the text of sweep.md."""

    def sweep(*results):
        files = [tmp_path / f"{n}.json" for n in range(len(results))]
        for file, content in zip(files, results, strict=True):
            file.write_text(json.dumps(content))
        out = tmp_path / "sweep.md"
        ended = run(ROOT / "bin/python", ROOT / "py/sweep.py", "--out", out, *files)
        return ended, out.read_text() if out.is_file() else ""

    return sweep


def draw(*scores, temperature=0, seed=0, model="build/q5"):
    """The result of a draw with these scores, all in one category."""
    answered = [score for score in scores if score is not None]
    score = round(sum(answered) / len(answered), 4)
    settings = {"temperature": temperature, "seed": seed, "max_tokens": 0}
    totals = {"overall": score, "categories": {"git": {"n": len(scores), "score": score}}}
    return result(*scores, settings=settings, model={"path": model}, **totals)


def test_groups_are_compared_by_the_means_of_their_draws(sweep):
    warm = {"temperature": 0.7}
    draws = [draw(1, 1, 1, None), draw(1, 0, 0.5, 1, **warm), draw(0, 0, None, 1, seed=1, **warm)]
    ended, text = sweep(*draws)
    assert ended.returncode == 0, ended.stderr
    # -0.5, -1 and -0.5, and by the interval's rule also -1 and 1, have the mean -0.4 and the
    # variance 3.5 / 5 - 0.16 = 0.54. 1.96 standard errors are 1.96 * sqrt(0.54 / 5) = 0.644.
    said = "- temperature 0.7 against temperature 0: -66.7 points, 95% interval -100 to +24.4"
    assert " ".join(text.split()).endswith(f"{said} (3 prompts)")
    assert "| 3    | temperature 0.7 | 1    | 33.3% | 50%    | fail    |" in text
    assert "| git      | 4 | 100%   | 62.5%  | 33.3%  | 47.9%    |" in text
    assert "| spread   |   | -      | -      | -      | 20.6%    |" in text


def test_training_seeds_have_their_own_names(sweep):
    models = [f"build/sweep/train-{seed}/q5" for seed in (10, 3)]
    text = sweep(draw(1, 1, model=models[0]), draw(1, 0, model=models[1]))[1]
    assert "| 1    | train 3, temperature 0  | 0    | 50%" in text
    assert "| 2    | train 10, temperature 0 | 0    | 100%" in text
    assert "| overall  | 2 | 50%    | 100%   | 75%      |" in text
    assert "| spread   |   | -      | -      | 35.4%    |" in text
    said = (
        "- train 10, temperature 0 against train 3, temperature 0: +50 points, 95% interval -56.3"
    )
    assert said in " ".join(text.split())
    warm = [draw(0, 0, model=model, temperature=1) for model in models]
    text = sweep(draw(1, 1, model=models[0]), draw(1, 0, model=models[1]), *warm)[1]
    assert "train 10, temperature 1 against train 3, temperature 0: -50 points" in text


def test_one_draw_has_no_spread_and_no_difference(sweep):
    text = sweep(draw(1, 0))[1]
    assert "| spread   |   | -      |" in text and "against" not in text and "mean" not in text


def test_two_temperatures_with_two_seeds_fit_a_terminal_and_more_draws_give_way_to_means(sweep):
    def draws(count):
        made = [draw(1, 0.889, temperature=t, seed=seed) for t in (0.7, 1) for seed in range(count)]
        for one in made:
            one["categories"] = {"validation": {"n": 27, "score": 0.889}}
        return made

    for count, heads in ((2, "draw 1 | draw 2 | draw 3 | draw 4 | mean 1-2 |"), (9, "mean 1-9 |")):
        text = sweep(*draws(count))[1]
        assert f"| category   | n  | {heads} mean" in text
        assert f"| {2 * count} " in text and max(map(len, text.splitlines())) <= 80


def test_prompts_without_an_answer_in_both_are_no_pair(sweep):
    text = sweep(draw(1, None), draw(None, 1, temperature=1))[1]
    assert "- temperature 1 against temperature 0: no prompt has an answer in both\n" in text
    other = draw(1, 1, temperature=1)
    for prompt in other["prompts"]:
        prompt["prompt"] = "another question"
    assert "no prompt has an answer in both\n" in sweep(draw(1, 1), other)[1]


@pytest.mark.parametrize("missing", ["model", "settings", "suite"])
def test_what_is_no_draw_is_one_line(sweep, missing):
    ended, text = sweep(draw(1), draw(1) | {missing: {}})
    assert ended.returncode == 2 and text == "" and ended.stderr.count("\n") == 1
    assert "1.json: not what make eval writes" in ended.stderr


def test_a_judged_model_is_swept_in_its_own_folder(taught, tmp_path, make):
    (tmp_path / "suite.json").write_text(json.dumps(suite_of(ANSWERS)))
    paths = {"BUILD": tmp_path / "build", "SUITE": tmp_path / "suite.json"}
    config = write_config(tmp_path / "judge.env", EXPERIMENT="judge", **paths)
    words = [f"CONFIG={config}", f"MODEL={taught}", "NAME=taught"]
    run = make("sweep", *words, "TEMPERATURES=0 0.7", "SEEDS=0 1")
    assert run.returncode == 0, run.stdout + run.stderr
    build, judged = tmp_path / "build", tmp_path / "build/judged/taught"
    assert len(list((judged / "sweep").glob("*.json"))) == 3
    text = (judged / "sweep.md").read_text()
    assert text in run.stdout and text.startswith("# Sweep: taught (taught)\n")
    assert "- temperature 0.7 against temperature 0: " in text
    assert not [name for name in ("preflight.ok", "base", "sweep", "q5") if (build / name).exists()]
    again = make("judge", *words, "VALID_CALLS=-1")
    assert f"{len(ANSWERS)} of {len(ANSWERS)} prompts are answered already" in again.stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["eval", "MODEL=x"], "MODEL=x: only these goals read it: judge sweep"),
        (["MODEL=x"], "MODEL=x: only these goals read it: judge sweep"),
        (["judge", "eval", "MODEL=x"], "MODEL=x: only these goals read it: judge sweep"),
        (["eval", "ADAPTERS=x"], "ADAPTERS=x: only these goals read it: adopt"),
        (["eval", "NAME=x"], "NAME=x: only these goals read it: judge"),
        (["eval", "RESULT=x"], "RESULT=x: only these goals read it: autopsy"),
        (["sweep", "MODEL=x", "TRAIN_SEEDS=0"], "TRAIN_SEEDS=0: they train the build"),
        (["sweep", "EVAL_URL=http://x", "TRAIN_SEEDS=0"], "TRAIN_SEEDS=0: they train the build"),
        (["sweep", "SEED=1"], "SEED=1: it changes the training; SEEDS= are those of the answers"),
        (["sweep", "SEEDS=0 1"], "at temperature 0 nothing is drawn; add TEMPERATURES=0.7"),
        (["sweep", "LEAN=yes"], "LEAN=yes: expected 0 or 1"),
        (["sweep", "MODEL=/nowhere/at-all"], "/nowhere/at-all: no such model folder"),
    ],
)
def test_an_option_that_would_not_be_read_is_an_error(make, tmp_path, words, says):
    run = make(*words, "CONFIG=demo.env", f"BUILD={tmp_path}/build")
    assert run.returncode == 2 and says in run.stderr and "Traceback" not in run.stderr
