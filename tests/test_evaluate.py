"""The evaluation gives the same result whatever happens on the way, or says that it has none."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import client
from client import Endpoint, RequestError, ask
from conftest import ROOT, clean_environment
from server import ModelServer
from taught import ANSWERS, suite_of

UNEQUAL = ("seconds", "attempts", "tokens_per_second")  # what two equal evaluations differ in


def write_suite(folder, copies: int = 1, ids=ANSWERS):
    """The suite of the taught model, each prompt `copies` times over under ids of its own."""
    suite = suite_of(ids)
    suite["prompts"] = [
        prompt | {"id": f"{prompt['id']}-{copy}"}
        for copy in range(copies)
        for prompt in suite["prompts"]
    ]
    path = folder / "suite.json"
    path.write_text(json.dumps(suite))
    return path


def command(folder, *arguments, suite=None):
    program = [ROOT / "bin/python", ROOT / "py/evaluate.py"]
    files = ["--suite", suite or write_suite(folder), "--out", folder / "eval.json"]
    targets = ["--targets", ROOT / "data/baseline.json", "--server-log", folder / "server.log"]
    return list(map(str, [*program, *files, *targets, *arguments]))


def evaluate(folder, *arguments, suite=None, environment=None):
    run = subprocess.run(
        command(folder, *arguments, suite=suite),
        env=clean_environment() | (environment or {}),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "Traceback" not in run.stderr, run.stderr
    return run


def result_of(folder) -> dict:
    return json.loads((folder / "eval.json").read_text())


def essence(result: dict) -> dict:
    """eval.json without what two equal evaluations may differ in: times, and who was asked."""
    prompts = [{k: v for k, v in p.items() if k not in UNEQUAL} for p in result["prompts"]]
    rest = {k: v for k, v in result.items() if k not in (*UNEQUAL, "model", "server", "settings")}
    return rest | {"prompts": prompts}


@pytest.fixture(scope="module")
def undisturbed(served_well, tmp_path_factory):
    """(folder, essence) of an evaluation of three times the suite to which nothing happens."""
    folder = tmp_path_factory.mktemp("undisturbed")
    suite = write_suite(folder, copies=3)
    run = evaluate(folder, "--model", served_well, suite=suite)
    assert run.returncode == 0, run.stderr
    return folder, essence(result_of(folder))


def test_each_answer_gets_its_score(undisturbed):
    folder, _ = undisturbed
    for prompt in result_of(folder)["prompts"]:
        text, score, strict = ANSWERS[prompt["id"].partition("-")[0]]
        assert (prompt["text"], prompt["score"], prompt["strict_score"]) == (text, score, strict)
    assert not (folder / "eval.answers.jsonl").exists()


def test_a_second_evaluation_says_the_same(undisturbed, served_well, tmp_path):
    folder, expected = undisturbed
    suite = folder / "suite.json"
    assert evaluate(tmp_path, "--model", served_well, suite=suite).returncode == 0
    assert essence(result_of(tmp_path)) == expected


def test_a_proxy_in_the_environment_is_not_asked(undisturbed, served_well, tmp_path):
    folder, expected = undisturbed
    proxies = dict.fromkeys(("http_proxy", "HTTP_PROXY", "all_proxy"), "http://127.0.0.1:9")
    arguments = ("--model", served_well)
    run = evaluate(tmp_path, *arguments, suite=folder / "suite.json", environment=proxies)
    assert run.returncode == 0, run.stderr
    assert essence(result_of(tmp_path)) == expected


def test_a_dropped_call_stops_the_run_and_names_the_parser(taught, tmp_path):
    run = evaluate(tmp_path, "--model", taught)
    assert run.returncode == 1 and len(run.stderr.splitlines()) == 1
    assert 'parser (json_tools) dropped 1 tool call(s); set "tool_parser_type": "qwen3_coder"' in (
        run.stderr
    )
    assert not (tmp_path / "eval.json").exists()


def test_a_decoy_in_the_model_cache_is_never_asked(undisturbed, served_well, tiny_model, tmp_path):
    folder, expected = undisturbed
    snapshot = tmp_path / "cache/models--org--decoy/snapshots/abc"
    snapshot.parent.mkdir(parents=True)
    snapshot.symlink_to(tiny_model)
    (tmp_path / "cache/models--org--decoy/refs").mkdir()
    (tmp_path / "cache/models--org--decoy/refs/main").write_text("abc")
    cache = {"HF_HUB_CACHE": str(tmp_path / "cache")}
    arguments = ("--model", served_well)
    run = evaluate(tmp_path, *arguments, suite=folder / "suite.json", environment=cache)
    assert run.returncode == 0, run.stderr
    result = result_of(tmp_path)
    assert essence(result) == expected
    assert result["model"]["served_id"] == str(served_well.resolve())
    assert "decoy" not in (tmp_path / "server.log").read_text()


def server_processes(model) -> list[int]:
    """Process ids of the servers of a model."""
    found = subprocess.run(["pgrep", "-f", f"mlx_lm server --model {model} "], capture_output=True)
    return [int(pid) for pid in found.stdout.split()]


def start_and_wait(folder, answers: int, *arguments, suite):
    """Start an evaluation; returns its process as soon as it has kept so many answers."""
    process = subprocess.Popen(
        command(folder, *arguments, suite=suite),
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    kept = folder / "eval.answers.jsonl"
    deadline = time.monotonic() + 60
    while not kept.exists() or kept.read_bytes().count(b"\n") <= answers:
        assert process.poll() is None and time.monotonic() < deadline, process.stderr.read()
        time.sleep(0.02)
    return process


def test_a_server_that_is_killed_is_started_again(undisturbed, served_well, tmp_path):
    folder, expected = undisturbed
    arguments = ("--model", served_well, "--concurrency", 2)
    process = start_and_wait(tmp_path, 2, *arguments, suite=folder / "suite.json")
    killed = server_processes(served_well)
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    assert killed and essence(result_of(tmp_path)) == expected


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_evaluation_goes_on_where_it_stopped(
    undisturbed, served_well, tmp_path, signum
):
    folder, expected = undisturbed
    arguments = ("--model", served_well, "--concurrency", 1)
    process = start_and_wait(tmp_path, 4, *arguments, suite=folder / "suite.json")
    process.send_signal(signum)
    _, error = process.communicate(timeout=60)
    assert process.returncode != 0 and "Traceback" not in error
    assert not (tmp_path / "eval.json").exists()
    wait_until_gone(served_well)
    with (tmp_path / "eval.answers.jsonl").open("a") as stream:
        stream.write('{"id": "cut off in the mid')
    run = evaluate(tmp_path, *arguments, suite=folder / "suite.json")
    assert run.returncode == 0, run.stderr
    assert " of 18 prompts are answered already" in run.stdout
    assert essence(result_of(tmp_path)) == expected


def wait_until_gone(model):
    deadline = time.monotonic() + 20
    while server_processes(model):
        assert time.monotonic() < deadline, "the server is still there"
        time.sleep(0.05)


def test_answers_to_another_suite_are_not_used(undisturbed, served_well, tmp_path):
    folder, expected = undisturbed
    key = json.dumps({"key": {"suite": "another"}})
    fields = {"text": "", "thinking": "", "calls": [], "finish_reason": "", "completion_tokens": 0}
    lie = json.dumps({"id": "right-0"} | fields)
    (tmp_path / "eval.answers.jsonl").write_text(f"{key}\n{lie}\n")
    run = evaluate(tmp_path, "--model", served_well, suite=folder / "suite.json")
    assert run.returncode == 0 and "answered already" not in run.stdout
    assert essence(result_of(tmp_path)) == expected


@contextmanager
def proxy(upstream: str, faults: dict[int, str], listed=None):
    """A server that passes requests on to `upstream`; the n-th completion suffers faults[n]."""
    counter, lock = iter(range(10**6)), threading.Lock()
    log = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self, status, body):
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self):
            if listed is not None:
                self.answer(200, json.dumps({"data": [{"id": id} for id in listed]}).encode())
                return
            with urllib.request.urlopen(upstream + self.path) as response:
                self.answer(200, response.read())

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            log.append((dict(self.headers), json.loads(body)))
            with lock:
                fault = faults.get(next(counter)) or faults.get(-1)
            if fault == "hang":
                time.sleep(4)  # longer than the client's patience in these tests
            if fault == "redirect":
                self.send_response(302)
                self.send_header("Location", f"{upstream}{self.path}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            if fault == "drip":
                self.send_response(200)
                self.end_headers()
                self.close_connection = True
                for _ in range(40):  # a space now and then: each comes in time, the whole does not
                    self.wfile.write(b" ")
                    time.sleep(0.2)
                return
            if fault == "reset":
                self.connection.close()
            elif fault in ("500", "400"):
                self.answer(int(fault), b"out of order")
            elif fault == "garbage":
                self.answer(200, b"\x00\xff garbage")
            elif fault == "empty":
                self.answer(200, b'{"choices": []}')
            elif fault == "cut":
                self.send_response(200)
                self.send_header("Content-Length", "1000")
                self.end_headers()
                self.wfile.write(b'{"choices": [')
                self.close_connection = True
            else:
                request = urllib.request.Request(
                    upstream + self.path, body, {"Content-Type": "application/json"}
                )
                with urllib.request.urlopen(request) as response:
                    self.answer(200, response.read())

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
    with ModelServer(served_well, 0, tmp_path_factory.mktemp("running") / "log") as server:
        yield server.url


@pytest.fixture(scope="module")
def undisturbed_by_url(running, tmp_path_factory):
    """As undisturbed, from a server that is running, without the call that it cannot read."""
    folder = tmp_path_factory.mktemp("by_url")
    suite = write_suite(folder, 3, [id for id in ANSWERS if id != "cut"])
    run = evaluate(folder, "--url", running, suite=suite)
    assert run.returncode == 0, run.stderr
    return folder, essence(result_of(folder))


def test_a_running_server_is_scored_alike(undisturbed, undisturbed_by_url):
    ours = {p["id"]: p for p in undisturbed[1]["prompts"]}
    for prompt in undisturbed_by_url[1]["prompts"]:
        for key in ("score", "strict_score", "format", "tools_called"):
            assert prompt[key] == ours[prompt["id"]][key], prompt["id"]


def test_a_call_that_a_running_server_swallows_stops_the_run(running, tmp_path):
    run = evaluate(tmp_path, "--url", running, suite=write_suite(tmp_path, 1, ["cut"]))
    assert run.returncode == 1 and len(run.stderr.splitlines()) == 1
    assert "ended an answer with a tool call that it does not return" in run.stderr


FAULTS = ("500", "hang", "garbage", "reset", "cut", "empty")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_on_the_way_changes_nothing(undisturbed_by_url, running, tmp_path, fault):
    folder, expected = undisturbed_by_url
    with proxy(running, {2: fault, 3: fault, 9: fault}) as (url, log):
        arguments = ("--url", url, "--timeout", 3, "--concurrency", 4)
        run = evaluate(tmp_path, *arguments, suite=folder / "suite.json")
    assert run.returncode == 0, run.stderr
    result = result_of(tmp_path)
    assert essence(result) == expected
    assert len(log) >= 15 + 3 and sum(p["attempts"] for p in result["prompts"]) == len(log)


def test_a_prompt_without_an_answer_is_an_error_and_no_zero(running, tmp_path):
    suite = write_suite(tmp_path, 1, [id for id in ANSWERS if id != "cut"])
    with proxy(running, {-1: "", 0: "400"}) as (url, _):
        run = evaluate(tmp_path, "--url", url, "--concurrency", 1, suite=suite)
        assert run.returncode == 1
        assert run.stderr == (
            "evaluate: 1 prompts have no answer; asked again, only they are asked\n"
        )
        assert not (tmp_path / "eval.json").exists()  # the place of a whole result
        result = json.loads((tmp_path / "eval.incomplete.json").read_text())
        first, *others = result["prompts"]
        assert first["score"] is None and first["error"] == "HTTP 400: out of order"
        assert (result["verdict"], result["errors"]) == ("incomplete", 1)
        assert result["overall"] == pytest.approx(sum(p["score"] for p in others) / 4)
        again = evaluate(tmp_path, "--url", url, "--concurrency", 1, suite=suite)
        assert again.returncode == 0 and "4 of 5 prompts are answered already" in again.stdout
    assert result_of(tmp_path)["verdict"] == "fail" and len(result_of(tmp_path)["prompts"]) == 5
    assert not list(tmp_path.glob("eval.*.json*"))


def test_a_key_goes_into_the_header_and_nowhere_else(running, tmp_path):
    with proxy(running, {}) as (url, log):
        secret = {"EVAL_API_KEY": "sesame"}
        suite = write_suite(tmp_path, 1, ["right", "prose"])
        run = evaluate(tmp_path, "--url", f"{url}/v1", suite=suite, environment=secret)
    assert run.returncode == 0, run.stderr
    assert all(headers["Authorization"] == "Bearer sesame" for headers, _ in log)
    written = "".join(path.read_text() for path in tmp_path.iterdir() if path.is_file())
    assert "sesame" not in written + run.stdout + run.stderr


def test_a_redirect_is_not_followed_and_a_slow_body_is_given_up(running, tmp_path, monkeypatch):
    suite = write_suite(tmp_path, 1, ["right"])
    with proxy(running, {0: "redirect"}) as (url, _):
        run = evaluate(tmp_path, "--url", url, suite=suite)
        assert run.returncode == 1 and "right-0: no answer: HTTP 302" in run.stdout
    monkeypatch.setattr(client, "RETRY_WAITS", (0,))
    with proxy(running, {-1: "drip"}) as (url, _):
        started = time.monotonic()
        with pytest.raises(RequestError, match="not whole after 0.5 s"):
            ask(Endpoint(url), {}, timeout=0.5)
        assert time.monotonic() - started < 4


@pytest.mark.parametrize("key", ["sesame\r", "se same", "s\u00e9same"])
def test_a_key_that_no_header_can_hold_is_refused_and_not_shown(tmp_path, key):
    run = evaluate(tmp_path, "--url", "http://127.0.0.1:9", environment={"EVAL_API_KEY": key})
    assert run.returncode == 2
    assert run.stderr == "evaluate: EVAL_API_KEY: holds a character that a key cannot have\n"


def test_an_interrupted_evaluation_of_a_silent_server_ends_at_once(running, tmp_path):
    suite = write_suite(tmp_path, 1, ["right", "prose"])
    with proxy(running, {0: "", -1: "hang"}) as (url, log):
        arguments = ("--url", url, "--concurrency", 1)
        process = start_and_wait(tmp_path, 1, *arguments, suite=suite)
        while len(log) < 2:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        started = time.monotonic()
        _, error = process.communicate(timeout=30)
    assert time.monotonic() - started < 2
    assert process.returncode == 130 and "the answers so far are kept" in error


def test_a_second_evaluation_in_the_same_folder_waits_for_no_one(running, tmp_path):
    suite = write_suite(tmp_path, 1, ["right", "prose"])
    with proxy(running, {0: "", -1: "hang"}) as (url, _):
        arguments = ("--url", url, "--concurrency", 1)
        process = start_and_wait(tmp_path, 1, *arguments, suite=suite)
        run = evaluate(tmp_path, *arguments, suite=suite)
        assert run.returncode == 2 and "another evaluation is writing here" in run.stderr
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)


def test_answers_of_another_model_behind_the_same_address_are_not_used(running, tmp_path):
    suite = write_suite(tmp_path, 1, ["right", "prose"])
    with proxy(running, {0: "400"}) as (url, _):
        assert evaluate(tmp_path, "--url", url, suite=suite).returncode == 1
        head, *lines = (tmp_path / "eval.answers.jsonl").read_text().splitlines(keepends=True)
        key = json.loads(head)
        assert len(lines) == 1 and key["key"]["served"].endswith("/model")
        key["key"]["served"] = "another"
        (tmp_path / "eval.answers.jsonl").write_text(json.dumps(key) + "\n" + lines[0])
        run = evaluate(tmp_path, "--url", url, suite=suite)
    assert run.returncode == 0 and "answered already" not in run.stdout


def test_a_choice_of_models_is_refused_and_listed(running, tmp_path):
    with proxy(running, {}, listed=["one", "two"]) as (url, log):
        run = evaluate(tmp_path, "--url", url)
        assert run.returncode == 1 and len(run.stderr.splitlines()) == 1
        assert "lists 2 models; name one of: one, two" in run.stderr
        run = evaluate(tmp_path, "--url", url, "--served-model", "three")
        assert "does not list EVAL_MODEL=three; name one of: one, two" in run.stderr
        assert log == []


def test_a_server_that_is_none_is_said(tmp_path):
    run = evaluate(tmp_path, "--url", "http://127.0.0.1:9")
    assert run.returncode == 1 and len(run.stderr.splitlines()) == 1
    assert "http://127.0.0.1:9/v1/models: no list of models" in run.stderr


def test_a_suite_of_thousands_takes_constant_memory(tmp_path):
    """Ten times the prompts take a few megabytes more: the suite itself."""
    answer = {
        "choices": [{"message": {"content": "hover " * 300}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 300},
    }

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def reply(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            listing = {"data": [{"id": "only"}]}
            body = json.dumps(listing if self.command == "GET" else answer).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = reply

        def log_message(self, *_):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    peaks = {}
    for copies in (50, 500):
        folder = tmp_path / str(copies)
        folder.mkdir()
        url = f"http://127.0.0.1:{http.server_port}"
        suite = write_suite(folder, copies)
        process = subprocess.Popen(
            command(folder, "--url", url, suite=suite), stdout=subprocess.PIPE, text=True
        )
        lines = process.stdout.read().splitlines()
        _, status, usage = os.wait4(process.pid, 0)
        assert status == 0 and 100 <= len(lines) <= 402
        peaks[copies] = usage.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
        assert result_of(folder)["suite"]["n"] == 6 * copies
    http.shutdown()
    assert peaks[500] - peaks[50] < 10, peaks  # MB; the answers alone are 5 MB, more in memory
