"""An evaluation gives the same result whatever happens on the way, or an error and no result."""

import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
import urllib.request
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest

import client
from asking import question_text
from client import RequestError, ask, choose_model, open_server
from conftest import ROOT, clean_environment, wait_for
from evaluate import find_target
from server import Server, ServerError, start_server
from suite import messages_of
from taught import ANSWERS, put_into_cache, set_parser, suite_of

WITHOUT_CUT = [id for id in ANSWERS if id != "cut"]  # which another server would swallow
MANY = [*ANSWERS, *(f"more {n}" for n in range(8))]


def start(folder, *arguments, ids=ANSWERS, prompts=None, **environment) -> subprocess.Popen:
    """Start an evaluation whose files are in `folder`. `prompts` may stand in for those of ids."""
    suite = folder / "suite.json"
    asked = suite_of(ids)
    suite.write_text(json.dumps(asked | {"prompts": prompts or asked["prompts"]}))
    program = [ROOT / "bin/python", ROOT / "py/evaluate.py", "--suite", suite]
    program += ["--targets", ROOT / "data/baseline.json", "--tools", ROOT / "data/tools.json"]
    program += ["--out", folder / "eval.json", "--server-log", folder / "server.log"]
    return subprocess.Popen(
        list(map(str, [*program, *arguments])),
        env=clean_environment() | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process) -> SimpleNamespace:
    """Exit status and output of an evaluation, when it has ended."""
    output, error = process.communicate(timeout=120)
    assert "Traceback" not in error and len(error.splitlines()) <= 1, error
    return SimpleNamespace(returncode=process.returncode, stdout=output, stderr=error)


def evaluate(*arguments, **options) -> SimpleNamespace:
    return finish(start(*arguments, **options))


def start_and_wait(folder, answers: int, *arguments, ids):
    """Start an evaluation; returns its process as soon as it has kept so many answers."""
    process = start(folder, *arguments, "--concurrency", 1, ids=ids)
    wait_for(lambda: process.poll() is not None or len(kept(folder)) >= answers)
    assert process.poll() is None, process.stderr.read()
    return process


def kept(folder) -> list[dict]:
    """The lines of the file of answers."""
    path = folder / "answers.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def result_of(folder, name="eval.json") -> dict:
    return json.loads((folder / name).read_text())


def essence(result: dict) -> dict:
    """eval.json without the times and attempts, which differ between two equal evaluations."""
    prompts = [entry | {"seconds": 0, "attempts": 0} for entry in result["prompts"]]
    return result | {"prompts": prompts, "seconds": 0}


def servers_of(model) -> list[int]:
    """Process ids of the servers of a model."""
    found = subprocess.run(["pgrep", "-f", f"server.py {model} "], capture_output=True)
    return [int(pid) for pid in found.stdout.split()]


@pytest.fixture(scope="module")
def undisturbed(served_well, tiny_model, tmp_path_factory):
    """Folder of an evaluation, one request at a time. It must ask neither decoy nor proxy."""
    folder = tmp_path_factory.mktemp("undisturbed")
    environment = dict.fromkeys(("http_proxy", "HTTP_PROXY", "all_proxy"), "http://127.0.0.1:9")
    environment |= {"HF_HUB_CACHE": str(put_into_cache(tiny_model, folder / "cache"))}
    run = evaluate(folder, "--model", served_well, "--concurrency", 1, ids=MANY, **environment)
    assert run.returncode == 0, run.stderr
    return folder


def test_each_answer_of_the_model_that_was_built_gets_its_score(undisturbed, served_well):
    result = result_of(undisturbed)
    for prompt in result["prompts"][: len(ANSWERS)]:
        text, score, strict = ANSWERS[prompt["id"]]
        assert (prompt["text"], prompt["score"], prompt["strict_score"]) == (text, score, strict)
        assert prompt["invented"] == (["hoover"] if prompt["id"] == "wrong" else [])
    assert result["invented_calls"] == sum(len(p["invented"]) for p in result["prompts"]) > 0
    assert result["model"]["served_id"] == str(served_well.resolve())
    assert "decoy" not in (undisturbed / "server.log").read_text()


def test_a_prompt_with_answers_is_right_or_wrong_and_its_tools_are_in_the_request(taught, tmp_path):
    tool = {"function": {"name": "hover", "parameters": {"type": "object"}}, "type": "function"}
    prompts = [
        {"id": id, "category": "lsp", "prompt": "json"}
        | {"answers": [{"name": "hover", "arguments": {"path": values}}] if values else []}
        for id, values in {"right": ["a"], "wrong": ["b"], "none": []}.items()
    ]
    # What the model says with a list of tools is its affair. The server's prompt must hold it.
    prompts.append(prompts[0] | {"id": "tools", "tools": [tool]})
    run = evaluate(tmp_path, "--model", taught, "--tools", "none", prompts=prompts)
    assert run.returncode == 0, run.stderr
    result = result_of(tmp_path)
    *found, with_tools = result["prompts"]
    assert [(p["strict_score"], p["exact_score"], p["reason"]) for p in found] == [
        (1, 1, ""),
        (0, 0, "argument path: 'a' not among 'b'"),
        (0, 0, "a call, where none is right"),
    ]
    assert with_tools["prompt_tokens"] > found[0]["prompt_tokens"] + 20
    assert result["exact_overall"] == result["strict_overall"] == result["overall"]


def test_a_dropped_call_stops_the_run_and_names_the_parser(taught, tmp_path):
    run = evaluate(tmp_path, "--model", taught)
    assert run.returncode == 1 and not (tmp_path / "eval.json").exists()
    said = 'parser (json_tools) dropped 1 tool call(s); set "tool_parser_type": "qwen3_coder"'
    assert said in run.stderr


def test_a_prompt_that_the_server_formats_in_another_way_stops_the_run(served_well, tmp_path):
    model = shutil.copytree(served_well, tmp_path / "model")
    config = json.loads((model / "tokenizer_config.json").read_text())
    config["chat_template"] += "{% for n in range(range(1, 99) | random) %} a{% endfor %}"
    (model / "tokenizer_config.json").write_text(json.dumps(config))
    run = evaluate(tmp_path, "--model", model)
    assert run.returncode == 1 and "format mismatch, the server made" in run.stderr
    assert not (tmp_path / "eval.json").exists()


@pytest.mark.parametrize("killed", ["evaluation", "server"])
def test_a_killed_evaluation_asks_only_the_rest(undisturbed, served_well, tmp_path, killed):
    process = start_and_wait(tmp_path, 2, "--model", served_well, ids=MANY)
    for pid in servers_of(served_well) if killed == "server" else [process.pid]:
        os.kill(pid, signal.SIGKILL)
    run = finish(process)
    assert run.returncode != 0 and not (tmp_path / "eval.json").exists()
    if killed == "server":
        assert run.returncode == 1
        assert run.stderr.startswith("evaluate: the server crashed; see the end of")
    wait_for(lambda: not servers_of(served_well))
    before = len(kept(tmp_path))
    with (tmp_path / "answers.jsonl").open("a") as stream:
        stream.write('{"question": "cut off in the mid')
    run = evaluate(tmp_path, "--model", served_well, "--concurrency", 1, ids=MANY)
    assert run.returncode == 0, run.stderr
    assert f"{before} of 14 prompts are answered already" in run.stdout and 2 <= before < 14
    assert len(kept(tmp_path)) == 14
    assert essence(result_of(tmp_path)) == essence(result_of(undisturbed))


def test_only_what_is_new_is_asked(served_well, tmp_path):
    def answered_already(*arguments, ids):
        run = evaluate(tmp_path, "--model", served_well, *arguments, ids=ids)
        assert run.returncode == 0, run.stderr
        first = run.stdout.splitlines()[0]
        return int(first.split()[0]) if first.endswith("answered already") else 0

    assert answered_already(ids=["right", "prose"]) == 0
    assert answered_already(ids=["nothing", "prose", "right"]) == 2
    (tmp_path / "server.log").unlink()
    assert answered_already("--seed", 5, ids=["right", "nothing"]) == 2  # nothing is drawn
    assert not (tmp_path / "server.log").exists()  # nothing was asked, so no server was started


FAULTS = {  # status, body, headers
    "500": (500, b"out of order", {}),
    "400": (400, b"out of order", {}),
    "redirect": (302, b"", {"Location": "/v1/chat/completions"}),
    "garbage": (200, b"\x00\xff garbage", {}),
    "no choices": (200, b'{"choices": []}', {}),
    "cut": (200, b'{"choices": [', {"Content-Length": "1000"}),
}


@contextmanager
def proxy(upstream: str, faults: dict[int, str], listed=None):
    """A server that passes requests on to `upstream`; the n-th completion suffers faults[n].

    faults[-1] is suffered by all others. Yields its URL, and a list of the keys that came so far,
    one for each completion.
    """
    lock, log = threading.Lock(), []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self, status, body, headers):
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def forward(self, body=None):
            headers = {"Content-Type": "application/json"}
            request = urllib.request.Request(upstream + self.path, body, headers)
            with urllib.request.urlopen(request) as response:
                self.answer(200, response.read(), {})

        def do_GET(self):
            if listed is None:
                self.forward()
            else:
                self.answer(200, json.dumps({"data": [{"id": id} for id in listed]}).encode(), {})

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with lock:
                fault = faults.get(len(log), faults.get(-1))
                log.append(self.headers["Authorization"])
            if not fault:
                self.forward(body)
                return
            self.close_connection = True
            if fault == "hang":
                time.sleep(4)  # longer than the client's patience in these tests
            if fault in FAULTS:
                self.answer(*FAULTS[fault])

        def log_message(self, *_):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.block_on_close = False  # some of its threads are asleep on purpose
    http.handle_error = lambda *_: None  # a client that hangs up is what is tested
    threading.Thread(target=http.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{http.server_port}", log
    finally:
        http.shutdown()
        http.server_close()


@pytest.fixture(scope="module")
def running(served_well, tmp_path_factory):
    """URL of a server that is running."""
    with start_server(served_well, 0, tmp_path_factory.mktemp("running") / "log") as server:
        yield server.url


def test_another_server_gets_equal_scores_and_no_kept_answers(undisturbed, running, tmp_path):
    ours = {p["id"]: p for p in result_of(undisturbed)["prompts"]}
    shutil.copy(undisturbed / "answers.jsonl", tmp_path)
    assert evaluate(tmp_path, "--url", running, ids=WITHOUT_CUT).returncode == 0
    expected = result_of(tmp_path)
    for prompt in expected["prompts"]:
        for key in ("score", "strict_score", "format", "tools_called", "invented"):
            assert prompt[key] == ours[prompt["id"]][key], prompt["id"]
    assert kept(tmp_path) == kept(undisturbed)  # its weights are not known
    assert expected["model"]["weights_sha256"] is None
    # The same again, with faults on the way.
    faults = dict(enumerate(["500", "hang", "garbage", "", "reset", "cut", "no choices"]))
    with proxy(running, faults) as (url, log):
        run = evaluate(tmp_path, "--url", url, "--timeout", 3, ids=WITHOUT_CUT)
    assert run.returncode == 0, run.stderr
    result = result_of(tmp_path)
    assert sum(p["attempts"] for p in result["prompts"]) == len(log) == 5 + 6
    assert essence(result) == essence(expected) | {"model": result["model"]}


def test_an_answer_counts_for_no_other_question(running, served_well, tmp_path):
    """Other settings, another template, other weights and another server are other questions."""
    model = shutil.copytree(served_well, tmp_path / "model")
    args = {"url": "", "model": model, "serve": None, "port": 0, "server_log": tmp_path / "log"}
    args |= {"work": None, "temperature": 0.1, "seed": 0, "max_tokens": 0, "concurrency": 8}
    suite = suite_of(["right"])

    def question(**changes) -> str:
        asked = SimpleNamespace(**args | changes)
        prompt = suite["prompts"][0]
        messages = {"messages": messages_of(suite, prompt), "tools": []}
        return question_text(prompt | messages, find_target(asked), asked)

    questions = [question(), question(temperature=0.2), question(seed=1)]
    questions += [question(max_tokens=5), question(concurrency=4)]
    with proxy(running, {}, listed=["one", "two"]) as (url, _):
        questions += [question(url=url, served_model=name) for name in ("one", "two")]
    suite["system"] = "Use no tools."
    questions.append(question())
    set_parser(model, "json_tools")
    questions.append(question())
    weights = (model / "model.safetensors").read_bytes()
    (model / "model.safetensors").write_bytes(weights[:-4] + bytes(4))
    questions.append(question())
    assert len(set(questions)) == 10
    assert question() == questions[-1]


def test_a_prompt_without_an_answer_is_an_error_and_no_zero(running, tmp_path):
    """A redirect is not followed: the key would go along."""
    (tmp_path / "eval.json").write_text("the last whole result")
    with proxy(running, {0: "400", 1: "redirect"}) as (url, _):
        run = evaluate(tmp_path, "--url", url, "--concurrency", 1, ids=WITHOUT_CUT)
        assert run.returncode == 1
        said = "evaluate: 2 prompts have no answer; run it again, and only they are asked\n"
        assert run.stderr == said
        assert (tmp_path / "eval.json").read_text() == "the last whole result"
        result = result_of(tmp_path, "eval.incomplete.json")
        first, second, *others = result["prompts"]
        assert first["score"] is None and first["error"] == "HTTP 400: out of order"
        assert second["score"] is None and second["error"].startswith("HTTP 302")
        assert (result["verdict"], result["errors"]) == ("incomplete", 2)
        assert result["overall"] == pytest.approx(sum(p["score"] for p in others) / 3, abs=1e-4)
        again = evaluate(tmp_path, "--url", url, "--concurrency", 1, ids=WITHOUT_CUT)
        assert again.returncode == 0 and "3 of 5 prompts are answered already" in again.stdout
    assert result_of(tmp_path)["verdict"] == "fail" and len(result_of(tmp_path)["prompts"]) == 5
    assert not (tmp_path / "eval.incomplete.json").exists() and kept(tmp_path) == []


def test_a_key_goes_into_the_header_and_nowhere_else(running, tmp_path):
    with proxy(running, {}) as (url, log):
        ids = ["right", "prose"]
        run = evaluate(tmp_path, "--url", f"{url}/v1", ids=ids, EVAL_API_KEY="sesame")
    assert run.returncode == 0, run.stderr
    assert log == ["Bearer sesame"] * 2
    written = "".join(path.read_text() for path in tmp_path.iterdir() if path.is_file())
    assert "sesame" not in written + run.stdout + run.stderr


@pytest.mark.parametrize("key", ["sesame\r", "se same", "s\u00e9same"])
def test_a_key_that_no_header_can_hold_is_refused_and_not_shown(key):
    with pytest.raises(ValueError, match="EVAL_API_KEY: holds a character") as refused:
        open_server("http://127.0.0.1:9", key)
    assert key not in str(refused.value)


def test_a_request_is_given_up_after_some_attempts(running, monkeypatch):
    monkeypatch.setattr(client, "RETRY_WAITS", (0,))
    with (
        proxy(running, {-1: "500"}) as (url, log),
        pytest.raises(RequestError, match="no answer after 2 attempts .*out of order"),
    ):
        ask(Server(url), {}, timeout=5)
    assert len(log) == 2


def test_an_interrupted_evaluation_of_a_silent_server_ends_at_once(running, tmp_path):
    with proxy(running, {0: "", -1: "hang"}) as (url, log):
        process = start_and_wait(tmp_path, 1, "--url", url, ids=["right", "prose"])
        wait_for(lambda: len(log) == 2)
        process.send_signal(signal.SIGINT)
        started = time.monotonic()
        run = finish(process)
    assert time.monotonic() - started < 2
    assert (run.returncode, run.stderr) == (130, "evaluate: interrupted\n")


def test_a_model_must_be_named_when_a_server_lists_several(running, served_well):
    with proxy(running, {}, listed=["one", "two"]) as (url, _):
        with pytest.raises(ServerError, match="lists 2 models; set EVAL_MODEL to one of: one, two"):
            choose_model(Server(url))
        for name in ("three", str(served_well)):
            with pytest.raises(ServerError, match=f"does not list the model {name}; it lists: one"):
                choose_model(Server(url), name)
        assert choose_model(Server(url), "two") == "two"


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://[", "no url"])
def test_an_address_without_a_server_is_named(url):
    with pytest.raises(ServerError, match=f"{re.escape(url)}/v1/models: no list of models"):
        choose_model(Server(url))
