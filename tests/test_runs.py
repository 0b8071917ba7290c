"""The list of all results has each of them, says which it leaves out, and leads to the reports."""

import json
import os
import re
import subprocess
import sys
from urllib.parse import unquote

import pytest

from conftest import ROOT
from test_report import RESULT, parse

CALLS = {"n": 101, "left_out": 22, "format": 1.0, "tools": 0.95, "arguments": 0.912}


@pytest.fixture
def add(tmp_path):
    """add("build/demo/eval.json", day) writes a result of that day of 1970."""

    def write(name, day=1, content=None, **changes):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(RESULT | changes) if content is None else content)
        os.utime(path, (day * 86400, day * 86400))
        return path

    return write


@pytest.fixture
def runs(tmp_path):
    """runs(build) runs the program where `build` is, in UTC; gives its lines and the page."""

    def run(build="build"):
        program = [sys.executable, ROOT / "py/runs.py", build, "build", f"--out={build}/runs.html"]
        said = subprocess.run(
            program, cwd=tmp_path, env=os.environ | {"TZ": "UTC"}, capture_output=True, text=True
        )
        assert said.returncode == 0, said.stderr
        page = tmp_path / build / "runs.html"
        return said.stdout.splitlines(), page.read_text() if page.exists() else ""

    return run


def names(lines):
    return [line.split()[0] for line in lines if re.search(r" \d{4}-\d\d-\d\d \d\d:\d\d$", line)]


def test_each_result_is_there_once_and_the_newest_comes_first(add, runs):
    add("build/demo/eval.json", 3, experiment="demo", calls=CALLS)
    add("build/demo/eval_base.json", 2, experiment="base", calls=CALLS | {"n": 0})
    add("build/demo/judged/old/eval.json", 5, experiment="old", model={"path": "org/Old-8B"})
    add("build/judged/other/eval.json", 4, experiment="other", overall=None, ci95=None)
    asked = {"path": "http://127.0.0.1:1", "served_id": "at-a-url"}
    add("build/eval.json", 1, experiment="x" * 40, model=asked, server={"kind": "openai"})
    lines, page = runs("build/demo")
    assert names(lines) == ["old", "other", "demo", "base", "xxxxxxx…xxxxxx"]
    assert lines[5:9] == [
        "demo            82.4%  70 to 90       77.8%  91.2%  fail        1970-01-04 00:00",
        "  build/demo/eval.json: q5, suite-3 (3)",
        "base            82.4%  70 to 90       77.8%      -  fail        1970-01-03 00:00",
        "  build/demo/eval_base.json: q5, suite-3 (3)",
    ]
    assert lines[2].endswith(": Old-8B, suite-3 (3)") and "at-a-url" in lines[10]
    assert max(map(len, lines)) <= 80 and lines[-1] == "build/demo/runs.html"
    text = parse(page)[1]
    for said in ("Old-8B suite-3 (3) 82.4% 70 to 90", "77.8% 91.2% fail 1970-01-04", "x" * 40):
        assert said in text


def test_a_result_that_cannot_be_read_is_named_and_the_others_are_shown(add, runs):
    broken = {"torn": '{"schema": 1,\n "experi', "old": '{"overall_score": 0.5}', "list": "[]"}
    for name, content in broken.items():
        add(f"build/{name}/eval.json", content=content)
    add("build/empty/eval.json", suite={})
    add("build/odd/eval.json", overall=float("nan"))
    add("build/odder/eval.json", overall=float("inf"))
    add("build/whole/eval.json")
    lines, page = runs()
    assert names(lines) == ["tried"]
    left_out = " ".join(lines).split("left out, broken or older: ")[1:]
    named = {re.match(r"build/(\w+)/eval.json:", problem).group(1) for problem in left_out}
    assert named == {*broken, "empty", "odd", "odder"}
    text = parse(page)[1]
    assert text.count("Left out") == 6 and "build/torn/eval.json:2: not JSON" in text


def test_models_behind_links_and_draws_of_a_sweep_are_no_results(add, runs, tmp_path):
    add("model/eval.json")
    add("build/sweep/train-0/eval.json")
    (tmp_path / "build/base").symlink_to(tmp_path / "model")
    assert runs() == (
        ["No result yet: make demo makes one in ten minutes, make eval the real one."],
        "",
    )


def test_a_name_is_text_and_leads_to_the_report(add, runs, tmp_path):
    name = "<script>alert(1)</script>\x1b[2J\ud800"
    report = add('build/judged/50% "new"#1/report.html', content="")
    add('build/judged/50% "new"#1/eval.json', 2, experiment=name, verdict='"><b>')
    add("build/bare/eval.json", experiment="no report")
    add("build/demo/eval_base.json", experiment="report of another")
    add("build/demo/report.html", content="")
    lines, page = runs("build/demo")
    assert "\x1b" not in "".join(lines) + page
    tags, text = parse(page)
    assert "<script>alert(1)</script>␛[2J\ufffd" in text
    assert not {"script", "b"} & {tag for tag, _ in tags}
    (link,) = [attributes["href"] for tag, attributes in tags if tag == "a"]
    assert re.fullmatch(r"[\w./%-]+", link)
    assert (tmp_path / "build/demo" / unquote(link)).resolve() == report
    policy = next(a["content"] for t, a in tags if t == "meta" and "http-equiv" in a)
    assert policy.startswith("default-src 'none'") and "script-src" not in policy


def test_make_runs_lists_a_build_elsewhere_and_clean_takes_the_page(add, make, tmp_path):
    add("elsewhere/eval.json", experiment="mine")
    add("elsewhere/judged/one/eval.json", experiment="judged")
    (tmp_path / "elsewhere/.phase40-build").touch()
    words = ["CONFIG=demo.env", f"BUILD={tmp_path}/elsewhere"]
    said = make("runs", *words)
    assert said.returncode == 0, said.stderr
    assert {"mine", "judged"} <= set(names(said.stdout.splitlines()))
    page = tmp_path / "elsewhere/runs.html"
    assert said.stdout.endswith(f"\n{page}\n") and "judged" in page.read_text()
    assert make("clean", *words).returncode == 0 and not page.exists()
