"""The page: what it says comes from the JSON, and what a model says stays text."""

import argparse
import base64
import hashlib
import html
import json
import re
from html.parser import HTMLParser

import pytest

import report
from conftest import ROOT
from training import run

VOID = {"meta", "br", "input", "link", "img", "hr"}


def prompt(id, category, score, text, **changes):
    entry = {"id": id, "category": category, "score": score, "strict_score": score}
    entry |= {"format": "execute_code" if score in (0.1, 1) else "none", "tools_called": ["hover"]}
    entry |= {"keywords_found": ["hover"] if score == 1 else [], "finish_reason": "stop"}
    entry |= {"prompt_tokens": 41, "completion_tokens": 52, "seconds": 3.25, "attempts": 1}
    return entry | {"text": text} | changes


def evaluation(prompts, **changes):
    result = {"schema": 1, "experiment": "tried", "overall": 0.8236, "strict_overall": 0.7777}
    result |= {"model": {"path": "build/q5", "weights_sha256": "ab12", "served_id": "/here/q5"}}
    result |= {"suite": {"name": "suite-3", "sha256": "", "n": len(prompts)}, "verdict": "fail"}
    result |= {"settings": {"temperature": 0.0, "max_tokens": 160, "float32_twin": True}}
    result |= {"server": {"kind": "mlx_lm.server", "version": "9.8.7", "tool_parser": "qwen3"}}
    result |= {"ci95": [0.7004, 0.9], "prompts": prompts, "seconds": 9}
    result |= {"categories": {"lsp": {"n": 2, "score": 0.55, "strict_score": 0.5}}}
    return result | changes


@pytest.fixture
def page(tmp_path):
    """page(**files) -> (HTML, Markdown) of a build; a file given as None is not there."""
    asked = [
        {"id": id, "category": "lsp", "prompt": f"question {id}?", "expected_tool": "hover"}
        | {"keywords": ["hover"], "multi": False, "max_tokens": 512}
        for id in ("p1", "p2", "p3")
    ]
    prompts = [
        prompt("p1", "lsp", 1.0, "a good answer"),
        prompt("p2", "lsp", 0.1, "an answer that fails", tools_called=["git_log"]),
        prompt(
            "p3", "lsp", 0.5, "hover, said in prose", strict_score=0.0, keywords_found=["hover"]
        ),
    ]
    targets = {"overall": 0.8, "categories": {"lsp": 0.6}}
    losses = [(0, "val_loss", 3.0), (10, "train_loss", 1.5), (19, "val_loss", 0.04)]
    training = {"iterations": 40, "epochs": 2.5, "seconds": 600, "base_val_loss": 3.0}
    training |= {"best_iteration": 20, "best_val_loss": 0.0412, "stopped_early": False}
    check = {
        "id": "data.leaks",
        "level": "warn",
        "what": "leaking prompts",
        "evidence": "22 of 123",
    }
    files = {
        "suite.json": {"name": "suite-3", "system": "s", "prompts": asked},
        "eval.json": evaluation(prompts),
        "baseline.json": {"experiment": "the old one", "overall": 0.9, "categories": {}},
        "targets.json": {"targets": targets},
        "ladder.json": {
            **{"rows": 16, "tokens": 1041, "warnings": []},
            "losses": {"base": 2.608, "adapter": 0.017, "fused": 0.018, "q5": 0.023},
            "kept": {"fused": 0.9996, "q5": 0.9979},
        },
        "preflight.json": {
            "checks": [check | {"fix": "take them out"}, check | {"level": "ok", "fix": ""}]
        },
        "adapters/metrics.jsonl": "".join(
            json.dumps({"iteration": n, kind: loss}) + "\n" for n, kind, loss in losses
        ),
        "adapters/training.json": training | {"resumed_from": None, "resumed_at": []},
        "manifest.json": {
            **{"git": {"commit": "c0ffee", "changed": True}, "packages": {"mlx": "1.2.3"}},
            "machine": {"system": "an OS", "cores": 8, "python": "3.12.0"},
            **{"revisions": {"org/model": "0badcafe"}, "stage_seconds": {"train": 61.4}},
            **{"config": {"Q_BITS": "5"}, "inputs": {"a.txt": "feed"}, "outputs": {"b": "beef"}},
        },
        "compare.md": "| category | score |\n|---|---|\n| overall | 82.4% |\n",
    }

    def write(**changes):
        (tmp_path / "adapters").mkdir(exist_ok=True)
        for name, content in (files | changes).items():
            path = tmp_path / name
            path.unlink(missing_ok=True)
            if content is not None:
                path.write_text(content if isinstance(content, str) else json.dumps(content))
                if name == "suite.json":
                    sha = report.sha256_of(path)
                    files["eval.json"]["suite"]["sha256"] = sha
        return report.render(report.gather(arguments(tmp_path)))

    write.files = files
    return write


def arguments(build):
    names = ("suite", "baseline", "targets", "ladder")
    return argparse.Namespace(build=build, **{name: build / f"{name}.json" for name in names})


def parse(text):
    """(open tags left or closed wrongly, [(tag, attributes)], text outside of style and script)."""
    parser, stack, wrong, tags, words = HTMLParser(), [], [], [], []

    def start(tag, attributes):
        tags.append((tag, dict(attributes)))
        words.append(" " * (tag in ("td", "dd")))
        if tag not in VOID:
            stack.append(tag)

    def end(tag):
        if not stack or stack.pop() != tag:
            wrong.append((tag, parser.getpos()))

    parser.handle_starttag, parser.handle_endtag = start, end
    parser.handle_startendtag = lambda tag, attributes: tags.append((tag, dict(attributes)))
    parser.handle_data = lambda data: stack[-1:] in (["style"], ["script"]) or words.append(data)
    parser.feed(text)
    parser.close()
    return wrong + stack, tags, " ".join("".join(words).split())


def test_the_page_says_what_the_files_say(page):
    text = parse(page()[0])[2]
    for fact in (
        "Fail: 82.4% of 3 prompts, 95% interval 70% to 90%; below the registered target: lsp.",
        "Counting only real calls: 77.8%",
        "float32 twin",
        "the old one",
        "lsp 2 55% ≥ 60% - - FAIL",
        "overall 3 82.4% ≥ 80% 90% -7.6 pass",
        "40 iterations, 2.50 epochs, 10 min.",
        "kept: iteration 20, loss 0.041",
        "q5 keeps 99.8% of what the adapter gained.",
        "q5 the quantized result 0.023 99.8%",
        "1 of 3 prompts score below 0.5",
        "mlx_lm.server 9.8.7, tool parser qwen3",
        "question p2? execute_code is called without hover.",
        "hover is named, but not called. Counting only real calls: 0.",
        "41 asked, 52 answered",
        "1 warning; 1 check found nothing wrong.",
        "leaking prompts data.leaks 22 of 123 What to do: take them out",
        "c0ffee, with changes that are not committed",
        "mlx 1.2.3",
        "an OS, 8 cores, Python 3.12.0",
        "org/model 0badcafe",
        "train 61 s",
        "Q_BITS 5",
        "a.txt feed",
        "b beef",
    ):
        assert fact in text


def test_failing_prompts_come_first_and_are_marked(page):
    first, _ = page()
    found = re.findall(r'<details class="prompt( failed)?">.*?class="id">(.*?)<', first, re.DOTALL)
    assert found == [(" failed", "p2"), ("", "p1"), ("", "p3")]


HOSTILE = [
    "<script>alert(1)</script>",
    "</pre></details></main></body><h1>mine</h1>",
    "<style>*{display:none}</style><img src=http://evil.example/x onerror=alert(1)>",
    "<!-- <![CDATA[ &lt;b&gt; &amp; {{ 7 * 7 }} {% endif %}",
    "漢字 😀 Z" + "\u0301" * 40 + " العربية \u202e backwards",
    "x" * 100_000,
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_what_a_model_says_is_text(page, text):
    odd = prompt(text[:40], text[:50], 0.0, text, thinking=text, tools_called=[text, "a|b"])
    result = evaluation([odd | {"finish_reason": text}], experiment=text)
    result["categories"] = {text: {"n": 1, "score": 0.0, "strict_score": 0.0}}
    made, markdown = page(**{"eval.json": result})
    wrong, tags, words = parse(made)
    assert not wrong
    assert " ".join(text.split()) in words
    plain = parse(page(**{"eval.json": evaluation([prompt("p9", "c", 0.0, "x", thinking="y")])})[0])
    count = [sum(tag == kind for tag, _ in tags) for kind in ("script", "style", "h1", "img")]
    assert count == [
        sum(t == kind for t, _ in plain[1]) for kind in ("script", "style", "h1", "img")
    ]
    assert not any(name.startswith("on") for _, attributes in tags for name in attributes)
    assert f"```text\n{text}\n```" in markdown
    lines = [line for line in markdown.replace(text, "").splitlines() if line.startswith("|")]
    assert not any("<script" in line or "<img" in line for line in lines)


def test_text_keeps_its_first_newline_and_what_cannot_be_shown_has_a_sign(page):
    odd = prompt("p1", "lsp", 0.0, "\n\nbelow\u0000\u0007\r\ud800 end")
    made, markdown = page(**{"eval.json": evaluation([odd])})
    assert '<pre dir="auto">\n\n\nbelow␀␇␍\ufffd end</pre>' in made
    assert made.encode() and markdown.encode()
    fenced = page(**{"eval.json": evaluation([odd | {"text": "```\n````\n"}])})[1]
    assert "`````text\n```\n````\n\n`````\n" in fenced


def test_the_page_is_whole_and_asks_for_nothing(page):
    made, _ = page()
    wrong, tags, _ = parse(made)
    assert not wrong
    assert made.startswith("<!DOCTYPE html>") and ("html", {"lang": "en"}) in tags
    for tag, attributes in tags:
        for name in ("src", "href", "srcset", "data", "action", "xlink:href", "poster"):
            assert attributes.get(name, "#").startswith("#"), (tag, attributes)
    targets = {a["href"][1:] for _, a in tags if "href" in a}
    assert targets <= {a.get("id") for _, a in tags}
    assert "@import" not in made and "url(" not in made and "://" not in made
    policy = next(a["content"] for t, a in tags if t == "meta" and "http-equiv" in a)
    assert policy.startswith("default-src 'none'") and "script-src 'sha256-" in policy
    headings = [int(tag[1]) for tag, _ in tags if re.fullmatch("h[1-6]", tag)]
    assert headings[0] == 1 and all(
        b - a <= 1 for a, b in zip(headings, headings[1:], strict=False)
    )
    assert all("scope" in attributes for tag, attributes in tags if tag == "th")
    pictures = re.findall(r'<svg[^>]*role="img"[^>]*>(.*?)>', made, re.DOTALL)
    assert pictures and all(picture.strip().startswith("<title") for picture in pictures)


def test_the_policy_lets_the_script_run_and_no_other(page):
    made, _ = page()
    script = re.search(r"<script>(.*?)</script>", made, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in html.unescape(made)
    assert made.count("<script") == 1


def test_what_is_not_there_is_left_out_or_said(page):
    made, markdown = page(**{"ladder.json": None, "preflight.json": None, "manifest.json": None})
    for gone in ("Did the adapter survive", "What preflight found"):
        assert gone not in made and gone not in markdown
    assert "There is no <code>manifest.json</code>" in made and "no manifest.json" in markdown
    adopted = page(**{"adapters/metrics.jsonl": None, "adapters/training.json": None})
    assert all("There is no curve" in text for text in adopted)
    other = page.files["eval.json"] | {"suite": {"name": "s", "sha256": "0", "n": 3}}
    page(**{"suite.json": "{", "eval.json": other})  # no matter what is in the other suite
    changed = page(**{"eval.json": other})
    assert all("questions are left out" in text for text in changed)
    assert "question p1?" not in changed[0]


def test_of_a_server_of_others_nothing_is_claimed(page):
    result = evaluation([prompt("p1", "lsp", 1.0, "yes")], server={"kind": "openai"})
    result["model"] = {"path": "http://host/v1", "weights_sha256": None, "served_id": "their-model"}
    made, markdown = page(**{"eval.json": result, "ladder.json": None})
    assert "Answered by <code>their-model</code> at <code>http://host/v1</code>" in made
    for text in (made, markdown):
        assert "## Training" not in text and 'id="training"' not in text
        assert "What preflight found" not in text
    assert not parse(made)[0]


def test_an_answer_that_never_came_is_no_zero(page):
    gone = {"id": "p1", "category": "lsp", "score": None, "strict_score": None, "format": "none"}
    gone |= {"tools_called": [], "keywords_found": [], "text": "", "error": "timed out"}
    result = evaluation([gone], verdict="incomplete", errors=1, overall=None, ci95=None)
    result |= {"strict_overall": None}
    result["categories"] = {"lsp": {"n": 1, "score": None, "strict_score": None}}
    made, markdown = page(**{"eval.json": result})
    assert "Incomplete:" in made and "1 without an answer" in made
    assert "No answer: timed out" in made and "| p1 | - | - | No answer: timed out |" in markdown


def test_the_curves_mark_what_was_kept_resumed_and_stopped(page):
    training = page.files["adapters/training.json"]
    training |= {"resumed_at": [10], "resumed_from": 10, "stopped_early": True, "stop_reason": "so"}
    made, _ = page(**{"adapters/training.json": training})
    assert 'class="resumed" x1="25.0%"' in made and 'class="stopped" x1="100.0%"' in made
    assert 'class="best" cx="50.0%"' in made and "log scale" in made
    assert "resumed at 10" in made and "stopped early at 40" in made
    broken = '{"iteration": 0, "val_loss": 2.0}\n{"iteration": 5, "val_loss": null}\n'
    broken += '{"iteration": 9, "val_loss": 1.0}\n{"itera'
    made, _ = page(**{"adapters/metrics.jsonl": broken, "adapters/training.json": None})
    path = re.search(r'class="valid" d="(.*?)"', made)[1]
    assert path.count("M") == 2 and "nan" not in made.lower()
    assert "not a number" in made


def test_the_baseline_answers_are_beside_ours(page):
    before = evaluation(
        [prompt("p2", "lsp", 0.5, "what the old one said")], experiment="the old one"
    )
    before["suite"] = page.files["eval.json"]["suite"]
    page()
    made, _ = page(**{"baseline.json": before})
    assert "the old one scored 0.5 and said" in made and "what the old one said" in made
    assert "Prompt by prompt, -40 points" in made
    made, _ = page(**{"baseline.json": before | {"suite": {"sha256": "other"}}})
    assert "what the old one said" not in made and "Not the same suite" in made


def test_the_markdown_has_the_tables(page):
    _, markdown = page()
    assert markdown.startswith(page.files["compare.md"])
    lines = markdown.splitlines()
    assert "| q5 | 0.023 | 99.8% |" in lines
    row = next(line for line in lines if line.startswith("| p2 "))
    assert row == "| p2 | 0.1 | 0.1 | execute_code is called without hover. | git_log | 52 | stop |"
    tables = [line for line in lines if line.startswith("|")]
    assert all(line.endswith("|") for line in tables)
    assert "an answer that fails" in markdown and "a good answer" not in markdown
    assert "take them out" in markdown and "c0ffee" in markdown


def test_the_same_files_make_the_same_page(page):
    assert page() == page()


def words(build):
    given = vars(arguments(build))
    options = [part for name, value in given.items() for part in (f"--{name}", value)]
    outs = ["--out", build / "report.html", "--markdown", build / "report.md"]
    return [ROOT / "bin/python", ROOT / "py/report.py", *options, *outs]


def test_the_program_writes_both_or_says_why_not_in_a_line(page, tmp_path):
    made = page()
    assert run(*words(tmp_path)).returncode == 0
    assert (tmp_path / "report.html").read_text() == made[0]
    assert (tmp_path / "report.md").read_text() == made[1]
    assert not list(tmp_path.glob("*.tmp"))
    for content in ("{", "{}", '{"overall": 1}'):
        (tmp_path / "eval.json").write_text(content)
        ended = run(*words(tmp_path))
        assert ended.returncode == 2 and ended.stderr.count("\n") == 1, ended.stderr
        assert ended.stderr.startswith("report: ")


def test_the_stage_names_every_part_of_the_page():
    stage = (ROOT / "bin/stages.mk").read_text()
    named = stage.partition("report_files := ")[2].partition("\n")[0]
    assert all(file.name in named for file in (ROOT / "py").glob("report.*"))
