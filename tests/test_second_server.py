"""`make eval EVAL_URL=...` scores a model that another server runs: llama.cpp's, with a GGUF."""

import json
import subprocess

import httpx2
import pytest

from conftest import ROOT, wait_for
from embedded_model import find_gguf
from server import choose_port, get_json

SERVE = """
import sys, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.port = sys.argv[1], int(sys.argv[2])
params.n_parallel, params.n_ctx, params.warmup = 2, 2048, False
server = xllamacpp.Server(params)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def llama_cpp(tmp_path_factory):
    """URL of a llama.cpp server of SmolLM2-135M-Instruct, on loopback."""
    port = choose_port(0)
    url = f"http://127.0.0.1:{port}"
    log = tmp_path_factory.mktemp("llama") / "log"
    process = subprocess.Popen(
        [ROOT / "bin/python", "-c", SERVE, find_gguf(), str(port)],
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


def test_another_kind_of_server_is_evaluated_with_the_same_scorer(
    llama_cpp, tiny_config, tmp_path, make
):
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
