"""The evaluation asks the model that was built, and leaves no server behind."""

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx2
import pytest

import client
import server
from client import Endpoint, RequestError, ask, find_model_id
from conftest import ROOT, wait_for
from server import ModelServer, ServerError, get_json


@contextmanager
def fake_server(answers):
    """An HTTP server on loopback that gives `answers` (status, text) in turn, the last for ever."""
    remaining = list(answers)

    class Handler(BaseHTTPRequestHandler):
        def reply(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, text = remaining.pop(0) if len(remaining) > 1 else remaining[0]
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_POST = reply

        def log_message(self, *arguments):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{http.server_port}"
    finally:
        http.shutdown()
        http.server_close()


def test_a_server_that_does_not_list_the_path_is_refused(tmp_path):
    listing = json.dumps({"data": [{"id": "org/decoy"}]})
    with (
        fake_server([(200, listing)]) as url,
        pytest.raises(ServerError, match="refusing to evaluate another model"),
    ):
        find_model_id(url, tmp_path)


def test_a_failing_request_is_tried_again_a_bounded_number_of_times(monkeypatch):
    monkeypatch.setattr(client, "RETRY_WAITS", (0, 0, 0))
    good = {
        "choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1},
    }
    with fake_server([(500, "no"), (200, "garbage"), (200, "{}"), (200, json.dumps(good))]) as url:
        assert ask(Endpoint(url), {}, timeout=5) == (good, 4)
    with (
        fake_server([(503, "never")]) as url,
        pytest.raises(RequestError, match="no answer after 4 attempts .HTTP 503: never"),
    ):
        ask(Endpoint(url), {}, timeout=5)


def make_decoy(cache):
    """A model as huggingface_hub keeps it, complete enough for mlx_lm server to list."""
    folder = cache / "models--org--decoy"
    snapshot = folder / "snapshots/abc"
    snapshot.mkdir(parents=True)
    for name in ("config.json", "model.safetensors.index.json", "tokenizer_config.json"):
        (snapshot / name).write_text("{}")
    (folder / "refs").mkdir()
    (folder / "refs/main").write_text("abc")


def listed_by(url) -> list[str]:
    return [entry["id"] for entry in get_json(f"{url}/v1/models")["data"]]


def test_a_real_server_lists_one_model_and_is_gone_afterwards(tiny_model, tmp_path, monkeypatch):
    """A decoy in the user's model cache is not even listed: the server sees an empty cache."""
    make_decoy(tmp_path / "cache")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with ModelServer(tiny_model, 0, tmp_path / "log/server.log") as server:
        assert listed_by(server.url) == [str(tiny_model.resolve())]
    with pytest.raises(httpx2.TransportError):
        get_json(f"{server.url}/health", timeout=2)
    assert {path.name for path in tmp_path.iterdir()} <= {"cache", "log", "mlx"}  # nothing is left


def test_the_decoy_would_be_listed_first(tiny_model, tmp_path):
    """Without our empty cache the trap is real; this is what find_model_id is there for."""
    make_decoy(tmp_path / "cache")
    url = f"http://127.0.0.1:{server.choose_port(0)}"
    process = subprocess.Popen(
        [ROOT / "bin/python", "-m", "mlx_lm", "server", "--model", tiny_model]
        + ["--port", url.rpartition(":")[2]],
        env=os.environ | {"HF_HUB_CACHE": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"},
        stderr=(tmp_path / "log").open("wb"),
    )
    try:
        server.wait_until_healthy(url, process, tmp_path / "log")
        assert listed_by(url) == ["org/decoy", str(tiny_model.resolve())]
        assert find_model_id(url, tiny_model) == str(tiny_model.resolve())
    finally:
        process.terminate()
        process.wait(timeout=20)


def test_a_model_that_cannot_be_loaded_is_said(tmp_path):
    (tmp_path / "model").mkdir()
    with (
        pytest.raises(ServerError, match="could not load the model"),
        ModelServer(tmp_path / "model", 0, tmp_path / "server.log"),
    ):
        pass


def test_the_server_goes_when_its_parent_is_killed(tiny_model, tmp_path):
    code = (
        "import sys; from pathlib import Path; from server import ModelServer\n"
        "model, log = map(Path, sys.argv[1:])\n"
        "with ModelServer(model, 0, log) as server:\n"
        "    print(server.url, flush=True); sys.stdin.read()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, tiny_model, tmp_path / "log"],
        cwd=ROOT / "py",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    url = parent.stdout.readline().strip()
    get_json(f"{url}/health")
    parent.send_signal(signal.SIGKILL)
    parent.wait()

    def is_gone() -> bool:
        try:
            get_json(f"{url}/health", timeout=1)
        except httpx2.ConnectError:
            return True
        except (httpx2.TransportError, ValueError):  # it went while it answered
            pass
        return False

    wait_for(is_gone)


def test_a_port_that_is_taken_and_a_model_that_is_not_there_are_said(tiny_model, tmp_path):
    with fake_server([(200, "{}")]) as url:
        port = url.rpartition(":")[2]
        program = [ROOT / "bin/python", ROOT / "py/server.py"]
        for arguments, message in (
            ([tiny_model, "--port", port], f"serve: EVAL_PORT={port}: "),
            ([tmp_path / "none"], f"serve: {tmp_path / 'none'}: no such model directory"),
        ):
            run = subprocess.run([*program, *arguments], capture_output=True, text=True)
            assert run.returncode == 2 and run.stderr.startswith(message)
            assert len(run.stderr.splitlines()) == 1
