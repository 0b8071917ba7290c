"""Others can use the model that was built: its parser, prompt format, card and chat."""

import json
import shutil
import subprocess

import pytest
from huggingface_hub import ModelCard

import publish
from chat_format import open_tokenizer, render, render_prompt
from conftest import ROOT
from qwen import QWEN3_8B, qwen_tokenizer_json, write_qwen_model


def test_the_card_has_the_scores_of_these_weights(built):
    _, build, _ = built
    card = ModelCard.load(build / "q5/README.md")
    result = json.loads((build / "eval.json").read_text())
    assert (card.data.library_name, card.data.pipeline_tag) == ("mlx", "text-generation")
    scores = {entry.metric_type: entry.metric_value for entry in card.data.eval_results}
    assert scores == {"score": result["overall"], "strict_score": result["strict_overall"]}
    assert card.data.eval_results[0].dataset_revision == result["suite"]["sha256"]
    for category, entry in result["categories"].items():
        assert f"| {category} | {entry['n']} | {100 * entry['score']:.1f}% |" in card.text


def test_a_card_gets_no_scores_of_other_weights(built, tmp_path):
    _, build, _ = built
    (tmp_path / "model.safetensors").write_bytes(b"others")
    assert publish.read_result(build / "eval.json", build / "q5")
    with pytest.raises(ValueError, match="not the scores of"):
        publish.read_result(build / "eval.json", tmp_path)


def test_card_and_manifest_say_what_trained_adopted_adapters(built, tmp_path, make):
    """The iterations, rate and seed of this config are not theirs."""
    config, build, _ = built
    others = tmp_path / "others"
    others.mkdir()
    shutil.copy(build / "adapters/adapters.safetensors", others)
    theirs = json.loads((build / "adapters/adapter_config.json").read_text())
    theirs |= {"iters": 4321, "learning_rate": 0.0625, "seed": 99}
    (others / "adapter_config.json").write_text(json.dumps(theirs))
    words = [f"CONFIG={config}", f"BUILD={tmp_path}/build"]
    assert make("adopt", *words, f"ADAPTERS={others}").returncode == 0
    run = make("quantize", *words)
    assert run.returncode == 0, run.stderr
    card = (tmp_path / "build/q5/README.md").read_text()
    assert "4321\niterations" in card and "0.0625, seed 99, trained elsewhere and adopted" in card

    command = [".venv/bin/python", "py/manifest.py", "write", "--config", config]
    command += ["--build", tmp_path / "build", "--out", tmp_path / "manifest.json"]
    subprocess.run(command, cwd=ROOT, check=True)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    names = ("iters", "batch_size", "learning_rate", "num_layers", "seed", "data")
    expected = {name: theirs[name] for name in names} | {"adopted": str(others)}
    assert expected.items() <= manifest["training"].items()
    theirs = {"ITERS", "EPOCHS", "LEARNING_RATE", "SEED", "NUM_LAYERS"}
    assert not theirs & set(manifest["config"])
    assert {"BASE_MODEL", "Q_BITS"} <= set(manifest["config"])

    refused = make("adopt", *words, f"ADAPTERS={tmp_path}")
    assert refused.returncode == 2
    assert f"ADAPTERS={tmp_path}: no adapters.safetensors there" in refused.stderr


@pytest.fixture
def qwen(tmp_path):
    """A model folder with Qwen3's template in a file of its own, as mlx-lm saves it."""
    folder = write_qwen_model(tmp_path / "model", qwen_tokenizer_json(), "qwen3", QWEN3_8B)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "chat_template.jinja").write_text(config.pop("chat_template"))
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def test_qwen3_is_asked_as_in_training_by_any_server(qwen):
    """mlx_lm chat does not send enable_thinking, which mlx-lm takes as true."""
    tokenizer = open_tokenizer(qwen)
    expected = render_prompt(tokenizer, publish.ASKED)
    assert render(tokenizer, publish.ASKED, add_generation_prompt=True) != expected
    publish.set_template(qwen)
    tokenizer = open_tokenizer(qwen)
    assert render(tokenizer, publish.ASKED, add_generation_prompt=True) == expected
    assert render_prompt(tokenizer, publish.ASKED) == expected


def test_a_template_whose_arguments_cannot_be_fixed_is_refused(qwen):
    file = qwen / "chat_template.jinja"
    file.write_text(file.read_text() + "{{ range(99999) | random }}")
    with pytest.raises(ValueError, match="its arguments cannot be fixed"):
        publish.set_template(qwen)


def test_chat_talks_to_the_built_model(built, make):
    config, _, _ = built
    run = make("chat", f"CONFIG={config}", input="hello\nq\n")
    assert run.returncode == 0, run.stderr
    assert "tok/s" in run.stdout and "bye" in run.stdout
