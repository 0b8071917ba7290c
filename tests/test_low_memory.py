"""LOW_MEMORY=1 fuses and quantizes in one go. Its files are those of the two commands."""

import json
import shutil

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten
from mlx_lm.tuner.utils import linear_to_lora_layers
from mlx_lm.utils import save_config

from conftest import ROOT, made
from files import read_json
from shapes import build_model, quantized_as
from training import run

LORA = {"rank": 4, "scale": 20.0, "dropout": 0.0}
MIXTURE = {
    **json.loads((ROOT / "data/shapes/Qwen3-Coder-30B-A3B-Instruct-4bit/config.json").read_text()),
    **{"hidden_size": 64, "num_hidden_layers": 2, "moe_intermediate_size": 64, "num_experts": 4},
    **{"num_experts_per_tok": 2, "num_attention_heads": 2, "num_key_value_heads": 1},
    **{"head_dim": 32, "vocab_size": 2000, "quantization": {"group_size": 32, "bits": 4}},
}
DENSE = {**MIXTURE, "model_type": "qwen3", "intermediate_size": 160}


def run_python(*words) -> None:
    done = run(ROOT / "bin/python", *words)
    assert done.returncode == 0, done.stdout + done.stderr


def random_model(folder, tiny_model, config) -> None:
    """A model with random weights of that config, quantized as it says, and the tiny tokenizer."""
    shutil.copytree(tiny_model, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    mx.random.seed(1)
    model = quantized_as(config, config["quantization"]["group_size"], 4)
    weights = {name: random(value) for name, value in tree_flatten(model.parameters())}
    mx.save_safetensors(str(folder / "model.safetensors"), weights, {"format": "mlx"})
    save_config(dict(config), folder / "config.json")


def random(like: mx.array) -> mx.array:
    if like.dtype == mx.uint32:
        return mx.random.randint(0, 2**31 - 1, like.shape).astype(mx.uint32)
    return (0.02 * mx.random.normal(like.shape)).astype(like.dtype)


def random_adapters(folder, config, kind: str) -> None:
    """Adapters that change each weight."""
    folder.mkdir()
    model = build_model(config)
    model.freeze()
    linear_to_lora_layers(model, 2, LORA, use_dora=kind == "dora")
    trained = tree_flatten(model.trainable_parameters())
    weights = {name: random(value) for name, value in trained}
    mx.save_safetensors(str(folder / "adapters.safetensors"), weights)
    written = {"fine_tune_type": kind, "num_layers": 2, "lora_parameters": LORA}
    (folder / "adapter_config.json").write_text(json.dumps(written))


@pytest.mark.parametrize(
    ("config", "kind", "recipe"),
    [
        (DENSE, "lora", []),
        (DENSE, "dora", []),
        (MIXTURE, "lora", []),
        (MIXTURE, "lora", ["--quant-predicate", "mixed_3_6"]),
    ],
    ids=["dense", "dora", "mixture of experts", "recipe"],
)
def test_the_files_are_those_of_the_two_commands(tmp_path, tiny_model, config, kind, recipe):
    random_model(tmp_path / "model", tiny_model, config)
    random_adapters(tmp_path / "adapters", config, kind)
    fused, one, two = (tmp_path / name for name in ("fused", "one", "two"))
    trained = ["--model", tmp_path / "model", "--adapter-path", tmp_path / "adapters"]
    run_python("-m", "mlx_lm", "fuse", *trained, "--dequantize", "--save-path", fused)
    bits = ["--q-bits", 5, "--q-group-size", 32, *recipe, "--mlx-path"]
    run_python("-m", "mlx_lm", "convert", "--hf-path", fused, "-q", *bits, one)
    # With blocks of a few rows: these weights are smaller than one block of full size.
    code = f"import sys; sys.path.insert(0, '{ROOT}/py'); import fuse_and_quantize as program"
    code += "; program.BLOCK = 1000; program.main()"
    run_python("-c", code, *trained, *bits, two)
    names = sorted(file.name for file in one.iterdir())
    assert names == sorted(file.name for file in two.iterdir()) and "model.safetensors" in names
    for name in names:
        assert (one / name).read_bytes() == (two / name).read_bytes(), name


def test_no_fused_model_is_made(built, tmp_path, make):
    config, build, _ = built
    words = [f"CONFIG={config}", f"BUILD={tmp_path}/build", "LOW_MEMORY=1"]
    assert make("adopt", f"ADAPTERS={build}/adapters", *words).returncode == 0
    done = make("ladder", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert made(done.stdout)[-1] == "ladder.json" and "fused" not in made(done.stdout)
    losses = read_json(tmp_path / "build/ladder.json")["losses"]
    assert list(losses) == ["base", "adapter", "q5"]
    files = [folder / "q5/model.safetensors" for folder in (build, tmp_path / "build")]
    assert files[0].read_bytes() == files[1].read_bytes()
