"""Before and at full size: random models of any shape, the rehearsal, and the low-memory path."""

import json
import shutil
import subprocess
import sys

import pytest

import rehearse
from conftest import ROOT, stages, write_config
from files import read_json, weights_bytes
from random_model import write_weights
from shapes import model_facts

SETTINGS = {
    "NUM_LAYERS": "2",
    "FINE_TUNE_TYPE": "lora",
    "LORA_RANK": "4",
    "LORA_SCALE": "20",
    "LORA_DROPOUT": "0",
    "Q_BITS": "5",
    "Q_GROUP_SIZE": "32",
}
MIXTURE = {
    **json.loads((ROOT / "data/shapes/Qwen3-Coder-30B-A3B-Instruct-4bit/config.json").read_text()),
    **{"hidden_size": 64, "num_hidden_layers": 2, "moe_intermediate_size": 64, "num_experts": 4},
    **{"num_experts_per_tok": 2, "num_attention_heads": 2, "num_key_value_heads": 1},
    **{"head_dim": 32, "vocab_size": 2000, "quantization": {"group_size": 32, "bits": 4}},
}
DENSE = {**MIXTURE, "model_type": "qwen3", "intermediate_size": 160}


def run(*words):
    """bin/python with these words; its output, once it has ended well."""
    done = subprocess.run(
        list(map(str, [ROOT / "bin/python", *words])), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def random_model(tmp_path, tiny_model, config):
    """A folder with a random model of that config and the tiny tokenizer."""
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    (folder / "config.json").write_text(json.dumps(config))
    write_weights(config, folder)
    return folder


@pytest.mark.parametrize("config", [DENSE, MIXTURE], ids=["dense", "mixture of experts"])
def test_a_random_model_has_the_shape_and_the_predicted_size(tmp_path, tiny_model, config):
    folder = random_model(tmp_path, tiny_model, config)
    predicted = model_facts(config, SETTINGS)["base_bytes"]
    assert weights_bytes(folder) == pytest.approx(predicted, rel=0.05)  # headers count at this size
    said = run("-m", "mlx_lm", "generate", "--model", folder, "--prompt", "Hi", "--max-tokens", 3)
    assert "Generation: 3 tokens" in said


@pytest.mark.parametrize(
    ("config", "kind"),
    [(DENSE, "lora"), (DENSE, "dora"), (MIXTURE, "lora")],
    ids=["dense", "dora", "mixture of experts"],
)
def test_low_memory_gives_the_files_of_the_two_commands(tmp_path, tiny_model, config, kind):
    model = random_model(tmp_path, tiny_model, config)
    adapters = tmp_path / "adapters"
    rehearse.random_adapters(config, SETTINGS | {"FINE_TUNE_TYPE": kind}, adapters)
    fused, one, two = (tmp_path / name for name in ("fused", "one", "two"))
    trained = ["--model", model, "--adapter-path", adapters]
    run("-m", "mlx_lm", "fuse", *trained, "--dequantize", "--save-path", fused)
    bits = ["--q-bits", 5, "--q-group-size", 32, "--mlx-path"]
    run("-m", "mlx_lm", "convert", "--hf-path", fused, "-q", *bits, one)
    # Blocks of a few rows: a weight here is smaller than one block at full size.
    code = f"import sys; sys.path.insert(0, '{ROOT}/py'); import fuse_and_quantize as program"
    code += "; program.BLOCK = 1000; sys.exit(program.main())"
    run("-c", code, *trained, *bits, two)
    names = sorted(file.name for file in one.iterdir())
    assert names == sorted(file.name for file in two.iterdir()) and "model.safetensors" in names
    for name in names:
        assert (one / name).read_bytes() == (two / name).read_bytes(), name


def test_low_memory_needs_no_fused_model(built, tmp_path, make):
    config, build, _ = built
    words = [f"CONFIG={config}", f"BUILD={tmp_path}/build", "LOW_MEMORY=1"]
    done = make("adopt", f"ADAPTERS={build}/adapters", *words)
    assert done.returncode == 0, done.stderr
    done = make("ladder", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert stages(done.stdout) == ["quantize", "twin", "ladder"]
    assert not (tmp_path / "build/fused").exists()
    losses = read_json(tmp_path / "build/ladder.json")["losses"]
    assert list(losses) == ["base", "adapter", "q5"]
    assert losses["q5"] == read_json(build / "ladder.json")["losses"]["q5"]
    files = [folder / "q5/model.safetensors" for folder in (build, tmp_path / "build")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_adopt_says_what_is_missing_or_of_another_config(built, tmp_path, make):
    config, build, _ = built
    words = [f"CONFIG={config}", f"BUILD={tmp_path}/build"]
    done = make("adopt", *words, f"ADAPTERS={tmp_path}")
    assert done.returncode == 2
    assert f"ADAPTERS={tmp_path}: no adapters.safetensors there" in done.stderr
    done = make("adopt", *words, f"ADAPTERS={build}/adapters", "LORA_SCALE=10")
    assert done.returncode == 2 and "not of this config" in done.stderr
    assert not (tmp_path / "build/adapters").exists()


def test_what_follows_adopted_adapters_is_made_again(built, tmp_path, make):
    """With equal settings, other adapters are still other adapters."""
    config, build, _ = built
    words = [f"CONFIG={config}", f"BUILD={tmp_path}/build"]
    assert make("adopt", *words, f"ADAPTERS={build}/adapters").returncode == 0
    assert make("fuse", *words).returncode == 0
    others = tmp_path / "others"
    shutil.copytree(build / "adapters", others)
    weights = others / "adapters.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\0")
    assert make("adopt", *words, f"ADAPTERS={others}").returncode == 0
    assert stages(make("-n", "fuse", *words).stdout) == ["fuse"]
    assert "adopted has changed" in make("why", *words).stdout


def test_a_rehearsal_runs_every_stage_and_removes_what_it_wrote(tiny_config, tmp_path, make):
    done = make("rehearse", f"CONFIG={tiny_config}", f"BUILD={tmp_path}/build")
    assert done.returncode == 0, done.stdout + done.stderr
    table = done.stdout[done.stdout.index("peak memory") :]
    for stage in ("model", "train", "fuse", "quantize", "twin", "ladder", "eval"):
        assert f"\n  {stage} " in table
    assert "% apart" in table and "was answered" in table
    assert not (tmp_path / "build/rehearsal").exists()


def test_without_a_gpu_a_large_model_gets_random_adapters(tiny_config, tmp_path, monkeypatch):
    monkeypatch.setattr(rehearse, "BIG", 1)
    monkeypatch.setattr(rehearse, "on_gpu", lambda: False)
    settings = rehearse.load_settings(tiny_config)
    rehearse.prepare(settings, ROOT / "build/demo/base", tmp_path / "out")
    assert (tmp_path / "out/adapters/adapters.safetensors").is_file()
    changed = rehearse.load_settings(tmp_path / "out/rehearsal.env")
    assert (changed["LADDER_ROWS"], changed["ITERS"], changed["EPOCHS"]) == ("-1", "2", "1.0")
    assert changed["SPECIAL_TOKENS"] == "data/special_tokens_smollm2.json"


def test_a_row_with_a_line_separator_in_it_stays_whole(tmp_path):
    row = json.dumps({"messages": "one\u2028row\x85"}, ensure_ascii=False)
    for name in ("train", "valid"):
        (tmp_path / f"{name}.jsonl").write_text(f"{row}\n{{}}\n", encoding="utf-8")
    assert rehearse.rehearsal_rows(tmp_path, 1) == {"train": [row, row], "valid": [row]}


def test_a_wrong_prediction_of_the_disk_fails(tmp_path, capsys, monkeypatch):
    folder = tmp_path / "rehearsal"
    (folder / "build/logs").mkdir(parents=True)
    (folder / "build/q5").mkdir()
    (folder / "build/q5/model.safetensors").write_bytes(b"x" * 1100)
    write_config(folder / "rehearsal.env", BUILD=folder / "build", LOW_MEMORY=1, EVAL_EXACT=1)
    facts = {"model": {"base_bytes": 1, "q5_bytes": 1000}}
    (folder / "build/preflight.json").write_text(json.dumps({"facts": facts}))
    answered = {"prompt_tokens": 5, "completion_tokens": 2, "seconds": 1}
    (folder / "build/eval.json").write_text(json.dumps({"prompts": [answered]}))
    times = {"stage": "quantize", "seconds": 2, "peak_bytes": 10, "machine": "here"}
    (folder / "build/logs/times.jsonl").write_text(json.dumps(times) + "\n")
    monkeypatch.setattr(sys, "argv", ["rehearse.py", "table", str(folder)])
    assert rehearse.main() == 1
    captured = capsys.readouterr()
    assert "9.9% apart" in captured.out and "more than 5% off" in captured.err
