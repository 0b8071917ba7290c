"""Any MLX model is judged as the build is, and nothing is written into its folder."""

import json
import shutil

import pytest

from conftest import write_config
from files import sha256_of
from hub import hub
from taught import ANSWERS, suite_of


def files_of(folder) -> dict:
    return {file.name: (sha256_of(file), file.stat().st_mtime_ns) for file in folder.iterdir()}


@pytest.fixture
def config(tmp_path):
    """An experiment with the taught model's suite and a build folder of its own."""
    (tmp_path / "suite.json").write_text(json.dumps(suite_of(ANSWERS)))
    paths = {"BUILD": tmp_path / "build", "SUITE": tmp_path / "suite.json"}
    return write_config(tmp_path / "judge.env", EXPERIMENT="judge", VALID_CALLS=-1, **paths)


def result_of(config, name):
    return json.loads((config.parent / f"build/judged/{name}/eval.json").read_text())


def test_a_model_is_served_with_the_parser_that_keeps_its_calls(taught, tiny_model, config, make):
    before = files_of(taught)
    run = make("judge", f"CONFIG={config}", f"MODEL={taught}", "NAME=taught")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "served with the tool parser qwen3_coder" in run.stdout
    assert files_of(taught) == before
    result = result_of(config, "taught")
    scores = {entry["id"]: (entry["score"], entry["strict_score"]) for entry in result["prompts"]}
    assert scores == {id: (score, strict) for id, (_, score, strict) in ANSWERS.items()}
    assert result["experiment"] == "taught" and result["model"]["path"] == str(taught)
    assert result["server"]["tool_parser"] == "qwen3_coder"
    assert (config.parent / "build/judged/taught/report.html").is_file()
    again = make("judge", f"CONFIG={config}", f"MODEL={taught}", "NAME=taught")
    assert f"{len(ANSWERS)} of {len(ANSWERS)} prompts are answered already" in again.stdout
    other = make("judge", f"CONFIG={config}", f"MODEL={tiny_model}", "NAME=taught")
    assert other.returncode == 2 and "give this one another NAME=" in other.stderr
    assert result_of(config, "taught")["model"]["path"] == str(taught)


def test_a_model_of_the_hub_is_downloaded_once(taught, config, make, tmp_path):
    words = [f"CONFIG={config}", "MODEL=org/taught"]
    with hub({"org/taught": taught}, tmp_path / "cache") as (environment, asked):
        run = make("judge", *words, **environment)
        assert run.returncode == 0 and asked, run.stdout + run.stderr
        asked.clear()
        run = make("judge", *words, **environment)
        assert run.returncode == 0 and asked == []
    result = result_of(config, "org-taught")
    assert result["model"]["path"] == "org/taught" and result["overall"] > 0


def test_an_adapter_on_its_base_answers_as_the_fused_model(built, make):
    config, build, _ = built
    folder = shutil.copytree(build / "adapters", build / "trained")
    (folder / "adapters.safetensors").rename(folder / "0000004_adapters.safetensors")
    words = {
        "adapter": [f"MODEL={build}/base", f"ADAPTERS={folder}", "CHECKPOINT=4"],
        "fused": [f"MODEL={build}/fused"],
    }
    files = {"base": build / "eval_base.json"}
    for name, model in words.items():
        run = make("judge", f"CONFIG={config}", *model, f"NAME=the-{name}")
        assert run.returncode == 0, run.stdout + run.stderr
        files[name] = build / f"judged/the-{name}/eval.json"
    texts = {}
    for name, file in files.items():
        result = json.loads(file.read_text())
        texts[name] = [entry["text"] for entry in [*result["prompts"], *result["calls"]["rows"]]]
    assert texts["adapter"] == texts["fused"] != texts["base"]
    run = make("compare", f"A={files['base']}", f"B={files['adapter']}")
    assert "Different: weights." in " ".join(run.stdout.split())
    page = (build / "judged/the-adapter/report.html").read_text()
    assert "it was not built here" in page and 'id="training"' not in page
    shutil.rmtree(build / "judged")
    shutil.rmtree(folder)


def test_an_adapter_of_another_model_is_refused(built, taught, make, tmp_path):
    config, build, _ = built
    folder = shutil.copytree(build / "adapters", tmp_path / "adapters")
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"num_layers": 1}))
    run = make("judge", f"CONFIG={config}", f"MODEL={taught}", f"ADAPTERS={folder}")
    assert run.returncode == 2 and "they do not fit" in run.stderr and "Traceback" not in run.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "judge: name a model with MODEL="),
        (["MODEL=/nowhere/at-all"], "/nowhere/at-all: no such model folder"),
        (["MODEL=tests"], "no safetensors file there, so no MLX model"),
        (["MODEL={tiny}", "ADAPTERS=py"], "ADAPTERS=py: no adapters.safetensors there"),
        (["MODEL={tiny}", "ADAPTERS=py", "CHECKPOINT=7"], "no 0000007_adapters.safetensors there"),
        (["MODEL={tiny}", "CHECKPOINT=7"], "CHECKPOINT=7: it is a file of ADAPTERS="),
        (["MODEL=a folder"], "a value is one or more of letters"),
    ],
)
def test_what_cannot_be_judged_is_one_line(config, make, tiny_model, words, says):
    words = [word.format(tiny=tiny_model) for word in words]
    run = make("judge", f"CONFIG={config}", *words)
    assert run.returncode == 2 and says in run.stderr and "Traceback" not in run.stderr
