"""The model that comes out can be used by others: parser, prompt format, card, chat, upload."""

import json

import pytest
from huggingface_hub import ModelCard

import publish
from chat_format import open_tokenizer, render, render_prompt
from qwen import QWEN3_8B, qwen_tokenizer_json, write_qwen_model


def test_the_card_is_one_of_the_hub_with_these_weights_evaluation(built):
    _, build, _ = built
    card = ModelCard.load(build / "q5/README.md")
    result = json.loads((build / "eval.json").read_text())
    assert (card.data.library_name, card.data.pipeline_tag) == ("mlx", "text-generation")
    scores = {entry.metric_type: entry.metric_value for entry in card.data.eval_results}
    assert scores == {"score": result["overall"], "strict_score": result["strict_overall"]}
    assert card.data.eval_results[0].dataset_revision == result["suite"]["sha256"]
    for category, entry in result["categories"].items():
        assert f"| {category} | {entry['n']} | {100 * entry['score']:.1f}% |" in card.text
    card.validate  # a card that the library itself takes for one  # noqa: B018


def test_other_weights_get_no_evaluation(built, tmp_path):
    _, build, _ = built
    (tmp_path / "model.safetensors").write_bytes(b"others")
    assert publish.results(build, build / "q5") is not None
    assert publish.results(build, tmp_path) is None
    assert publish.results(tmp_path, tmp_path) is None


@pytest.fixture
def qwen(tmp_path):
    """A model folder with Qwen3's template in a file of its own, as mlx-lm saves it."""
    folder = write_qwen_model(tmp_path / "model", qwen_tokenizer_json(), "qwen3", QWEN3_8B)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "chat_template.jinja").write_text(config.pop("chat_template"))
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def test_qwen3_asks_as_in_training_whoever_serves_it(qwen):
    """mlx_lm chat sends no enable_thinking, and mlx-lm then asks for thinking."""
    tokenizer = open_tokenizer(qwen)
    expected = render_prompt(tokenizer, publish.ASKED)
    assert render(tokenizer, publish.ASKED, add_generation_prompt=True) != expected
    publish.set_template(qwen)
    publish.set_template(qwen)  # a second time changes nothing
    assert (qwen / "chat_template.jinja").read_text().count(publish.FIXED) == 1
    tokenizer = open_tokenizer(qwen)
    assert render(tokenizer, publish.ASKED, add_generation_prompt=True) == expected
    assert render_prompt(tokenizer, publish.ASKED) == expected


def test_a_template_that_gives_another_prompt_then_is_refused(qwen):
    file = qwen / "chat_template.jinja"
    file.write_text(file.read_text() + "{{ range(99999) | random }}")
    with pytest.raises(ValueError, match="its arguments cannot be fixed"):
        publish.set_template(qwen)


def test_chat_talks_to_the_built_model(built, make):
    """A real mlx_lm chat: it loads, answers and takes its leave."""
    config, _, _ = built
    run = make("chat", f"CONFIG={config}", input="hello\nq\n")
    assert run.returncode == 0, run.stderr
    assert "tok/s" in run.stdout and "bye" in run.stdout


@pytest.mark.parametrize("answer", ["", "n\n", "maybe\n"])
def test_upload_shows_what_it_would_do_and_asks(built, make, answer):
    config, build, _ = built
    words = ("upload", f"CONFIG={config}", "REPO=me/model")
    run = make(*words, input=answer, HF_ENDPOINT="http://127.0.0.1:9")
    assert run.returncode == 0 and "Nothing was uploaded." in run.stdout
    assert "To http://127.0.0.1:9/me/model" in run.stdout
    assert f"{build}/q5/model.safetensors" in run.stdout


def test_upload_refuses_what_is_no_repository(built, make, tmp_path):
    upload = ("upload", f"CONFIG={built[0]}")
    for repo in ("", "name", "a/b/c", "/x", "x/"):
        run = make(*upload, f"REPO={repo}", input="y\n")
        assert run.returncode == 2 and "expected org/name" in run.stderr
    run = make(*upload, f"BUILD={tmp_path}", "REPO=a/b", input="y\n")
    assert run.returncode == 2 and "no model here" in run.stderr
