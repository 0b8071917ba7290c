"""The page: what it says comes from the JSON, and what a model says stays text."""

import base64
import hashlib
import json
import re
import sys
from html.parser import HTMLParser

import pytest

import report

EVALUATION = """{"schema": 1, "experiment": "tried", "overall": 0.8236, "strict_overall": 0.7777,
"model": {"path": "build/q5", "weights_sha256": "ab12", "served_id": "x", "float32": true},
"settings": {"temperature": 0.0, "max_tokens": 160, "seed": 0},
"server": {"kind": "mlx_lm.server", "version": "9.8.7", "tool_parser": "qwen3"},
"categories": {"lsp": {"n": 2, "score": 0.55, "strict_score": 0.5}},
"ci95": [0.7004, 0.9], "verdict": "fail", "seconds": 9}"""
PROMPT = """{"id": "p1", "category": "lsp", "prompt": "a question?", "wanted": ["hover"],
"score": 1, "strict_score": 1, "format": "execute_code",
"tools_called": ["hover"], "keywords_found": ["hover"], "finish_reason": "stop",
"prompt_tokens": 41, "completion_tokens": 52, "seconds": 3.25, "attempts": 1, "text": "yes"}"""
FILES = {
    "baseline.json": """{"experiment": "the old one", "overall": 0.9, "categories": {}}""",
    "targets.json": """{"targets": {"overall": 0.8, "categories": {"lsp": 0.6}}}""",
    "ladder.json": """{"rows": 16, "tokens": 1041, "warnings": [],
        "losses": {"base": 2.608, "adapter": 0.017, "fused": 0.018, "q5": 0.023},
        "kept": {"fused": 0.9996, "q5": 0.9979}}""",
    "preflight.json": """{"checks": [
        {"id": "data.leaks", "level": "warn", "what": "leaking prompts", "evidence": "22 of 123",
         "fix": "take them out"},
        {"id": "data.rows", "level": "ok", "what": "rows", "evidence": "1,159", "fix": ""}]}""",
    "adapters/metrics.jsonl": """{"iteration": 0, "val_loss": 3.0}
        {"iteration": 10, "train_loss": 1.5}
        {"iteration": 19, "val_loss": 0.04}""",
    "adapters/training.json": """{"iterations": 40, "epochs": 2.5, "seconds": 600,
        "base_val_loss": 3.0, "best_iteration": 20, "best_val_loss": 0.0412}""",
    "adapters/adapter_config.json": """{"model": "org/model", "data": "data/rows", "iters": 40,
        "batch_size": 2, "num_layers": 16, "learning_rate": 0.0001, "seed": 7}""",
    "manifest.json": """{"git": {"commit": "c0ffee", "changed": true}, "packages": {"mlx": "1.2.3"},
        "machine": {"system": "an OS", "cores": 8, "python": "3.12.0"},
        "revisions": {"org/model": "0badcafe"}, "stage_seconds": {"train": 61.4},
        "config": {"Q_BITS": "5"}, "inputs": {"a.txt": "feed"}, "outputs": {"b": "beef"}}""",
}


def prompt(**changes):
    return json.loads(PROMPT) | changes


def failed(**changes):
    return prompt(score=0.1, strict_score=0.1, keywords_found=[], **changes)


def evaluation(*prompts, **changes):
    suite = {"name": "suite-3", "n": 3, "sha256": "c3"}
    return json.loads(EVALUATION) | {"suite": suite, "prompts": prompts} | changes


RESULT = evaluation(
    prompt(text="a good answer"),
    failed(id="p2", tools_called=["git_log"]),
    prompt(id="p3", score=0.5, strict_score=0, format="none", text="hover, said in prose"),
)


@pytest.fixture
def page(tmp_path, monkeypatch):
    """page(result, **files) -> the page of a build; a file given as None is not there."""

    def write(result=RESULT, **changes):
        (tmp_path / "adapters").mkdir(exist_ok=True)
        for name, content in {**FILES, "eval.json": result, **changes}.items():
            path = tmp_path / name
            path.unlink(missing_ok=True)
            if content is not None:
                path.write_text(content if isinstance(content, str) else json.dumps(content))
        words = ["report.py", f"--build={tmp_path}", f"--out={tmp_path}/report.html"]
        for name in ("baseline", "targets", "ladder"):
            words.append(f"--{name}={tmp_path}/{name}.json")
        monkeypatch.setattr(sys, "argv", words)
        report.main()
        return (tmp_path / "report.html").read_text()

    return write


def parse(text):
    """([(tag, attributes)], the text that a reader sees). Each tag must be closed in its turn."""
    parser, stack, tags, words = HTMLParser(), [], [], []

    def start(tag, attributes):
        tags.append((tag, dict(attributes)))
        words.append(" " * (tag in ("td", "dd")))
        if tag != "meta":
            stack.append(tag)

    def end(tag):
        assert stack.pop() == tag, parser.getpos()

    parser.handle_starttag, parser.handle_endtag = start, end
    parser.handle_startendtag = lambda tag, attributes: tags.append((tag, dict(attributes)))
    parser.handle_data = lambda data: stack[-1:] in (["style"], ["script"]) or words.append(data)
    parser.feed(text)
    parser.close()
    assert not stack
    return tags, " ".join("".join(words).split())


def test_the_page_says_what_the_files_say_and_shows_failing_prompts_first(page):
    made = page()
    found = re.findall(r'<details class="prompt( failed)?">.*?class="id">(.*?)<', made, re.DOTALL)
    assert found == [(" failed", "p2"), ("", "p1"), ("", "p3")]
    text = parse(made)[1]
    for fact in (
        "Fail: 82.4% of 3 prompts, 95% interval 70% to 90%; below the registered target: lsp.",
        "Counting only real calls, whatever their arguments: 77.8%",
        "by a float32 copy: the same weights",
        "the old one",
        "lsp 2* 55% ≥ 60% - - FAIL",
        "overall 3* 82.4% ≥ 80% 90% -7.6 pass",
        "40 iterations, 2.50 epochs, 10 min.",
        "kept: iteration 20, loss 0.041",
        "q5 keeps 99.8% of what the adapter gained.",
        "q5 the quantized result 0.023 99.8%",
        "1 of 3 prompts score below 0.5",
        "mlx_lm.server 9.8.7, tool parser qwen3",
        "a question? execute_code is called without hover.",
        "hover is named, but not called in execute_code. Counting only real calls: 0.",
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


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "</pre></details></main></body><h1>mine</h1>",
        "<style>*{display:none}</style><img src=http://evil.example/x onerror=alert(1)>",
        "<!-- <![CDATA[ &lt;b&gt; &amp; {{ 7 * 7 }} {% endif %}",
        "漢字 😀 Z\u0301\u0301 العربية \u202e backwards",
    ],
)
def test_what_a_model_says_is_text(page, text):
    odd = failed(id=text[:40], category=text[:50], text=text, thinking=text, invented=[text])
    result = evaluation(odd | {"finish_reason": text}, experiment=text)
    result["categories"] = {text: {"n": 1, "score": 0.1, "strict_score": 0.1}}
    tags, words = parse(page(result))
    assert " ".join(text.split()) in words
    count = [sum(tag == kind for tag, _ in tags) for kind in ("script", "style", "h1", "img")]
    assert count == [1, 1, 1, 0]
    assert not any(name.startswith("on") for _, attributes in tags for name in attributes)


def test_an_answer_keeps_its_newlines_and_what_cannot_be_shown_has_a_sign(page):
    made = page(evaluation(prompt(text="\n\nbelow\u0000\u0007\r\ud800 end")))
    assert '<pre dir="auto">\n\n\nbelow␀␇␍\ufffd end</pre>' in made


def test_the_page_asks_for_nothing_and_runs_its_own_script_only(page):
    made = page()
    tags, _ = parse(made)
    names = ("src", "href", "srcset", "data", "action", "xlink:href", "poster")
    assert all(a.get(name, "#").startswith("#") for _, a in tags for name in names)
    assert {a["href"][1:] for _, a in tags if "href" in a} <= {a.get("id") for _, a in tags}
    assert "@import" not in made and "url(" not in made and "://" not in made
    policy = next(a["content"] for t, a in tags if t == "meta" and "http-equiv" in a)
    (script,) = re.findall(r"<script>(.*?)</script>", made, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy.startswith("default-src 'none'") and f"script-src 'sha256-{digest}'" in policy


def test_a_screen_reader_finds_headings_table_heads_and_titles(page):
    made = page()
    tags, _ = parse(made)
    headings = [int(tag[1]) for tag, _ in tags if re.fullmatch("h[1-6]", tag)]
    steps = [b - a for a, b in zip(headings, headings[1:], strict=False)]
    assert headings[0] == 1 and max(steps) <= 1
    assert all("scope" in attributes for tag, attributes in tags if tag == "th")
    pictures = re.findall(r'<svg[^>]*role="img"[^>]*>(.*?)>', made, re.DOTALL)
    assert pictures and all(picture.strip().startswith("<title") for picture in pictures)


def test_what_is_not_there_is_left_out_or_said(page):
    made = page(**{"ladder.json": None, "preflight.json": None, "manifest.json": None})
    assert "Did the adapter survive" not in made and "What preflight found" not in made
    assert "There is no <code>manifest.json</code>" in made
    made = page(**{"adapters/metrics.jsonl": None, "adapters/training.json": None})
    assert "There is no curve" in made


def test_adapters_from_elsewhere_are_not_said_to_be_trained_by_this_config(page):
    files = {"adapters/training.json": {"schema": 1, "adopted": "their/adapters"}}
    made = parse(page(**files, **{"adapters/metrics.jsonl": None}))[1]
    for said in (
        "Adopted: the adapters were trained elsewhere and taken from their/adapters.",
        "What trained them, by their own adapter_config.json: model org/model, data data/rows,"
        " fine_tune_type lora, num_layers 16, iters 40, batch_size 2, learning_rate 0.0001,"
        " seed 7.",
        "The settings of training in this list did not train them",
    ):
        assert said in made
    less = page(**files, **{"adapters/adapter_config.json": {"num_layers": 4}})
    assert "adapter_config.json: fine_tune_type lora, num_layers 4." in parse(less)[1]
    assert "dopted" not in page()


def test_invented_names_are_counted_and_named(page):
    assert "made up" not in page()  # an older result does not tell
    entry = prompt(strict_score=0.1, invented=["hover_hover", "peek"])
    made = parse(page(evaluation(entry, invented_calls=2)))[1]
    assert "Calls of functions that are made up: 2." in made
    assert "It calls what does not exist: hover_hover, peek." in made
    assert "made up hover_hover, peek" in made


def test_nothing_is_claimed_of_a_model_that_was_not_built_here(page):
    result = evaluation(prompt(), server={"kind": "openai"})
    result["model"] = {"path": "http://host/v1", "weights_sha256": None, "served_id": "their-model"}
    made = page(result, **{"ladder.json": None})
    assert "Answered by their-model at http://host/v1" in parse(made)[1]
    assert 'id="training"' not in made and "What preflight found" not in made


def test_an_answer_that_never_came_is_no_zero(page):
    none = {"score": None, "strict_score": None}
    gone = {"id": "p1", "category": "lsp", "format": "none", "text": "", "error": "timed out"}
    gone |= {"tools_called": [], "keywords_found": [], **none}
    result = evaluation(gone, verdict="incomplete", errors=1, ci95=None, overall=None)
    result |= {"strict_overall": None, "categories": {"lsp": {"n": 1} | none}}
    text = parse(page(result))[1]
    for said in ("Incomplete:", "1 without an answer", "No answer: timed out", "score -, strict -"):
        assert said in text


def test_the_curves_mark_what_was_kept_resumed_and_stopped(page):
    more = {"resumed_at": [10], "stopped_early": True, "stop_reason": "so"}
    training = json.loads(FILES["adapters/training.json"]) | more
    made = page(**{"adapters/training.json": training})
    assert 'class="resumed" x1="25.0%"' in made and 'class="stopped" x1="100.0%"' in made
    assert 'class="best" cx="50.0%"' in made and "log scale" in made
    assert "resumed at 10" in made and "stopped early at 40" in made
    broken = '{"iteration": 0, "val_loss": 2.0}\n{"iteration": 5, "val_loss": null}\n'
    broken += '{"iteration": 9, "val_loss": 1.0}\n{"itera'
    made = page(**{"adapters/metrics.jsonl": broken, "adapters/training.json": None})
    path = re.search(r'class="valid" d="(.*?)"', made)[1]
    assert path.count("M") == 2 and "nan" not in made.lower()
    assert "not a number" in made


def test_the_baseline_answers_are_beside_ours(page):
    before = RESULT | {"experiment": "the old one"}
    before["prompts"] = [prompt(id="p2", score=0.5, text="what the old one said")]
    made = page(**{"baseline.json": before})
    assert "the old one scored 0.5 and said" in made and "what the old one said" in made
    assert "Difference to the old one, prompt by prompt: -40 points" in made
    before["prompts"][0]["prompt"] = "another question?"
    made = page(**{"baseline.json": before | {"suite": {"sha256": "other"}}})
    assert "what the old one said" not in made and "Warning: not compared prompt by prompt" in made


@pytest.mark.parametrize("content", ["{", "{}", json.dumps(evaluation({"id": "p1", "score": 1}))])
def test_a_result_that_cannot_be_used_is_one_line_and_leaves_no_page(page, tmp_path, content):
    with pytest.raises(ValueError, match=str(tmp_path)) as error:
        page(content)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "report.html").exists()
