"""What the model is shown: one way to turn messages into text and tokens, used everywhere.

Training and evaluation that format a prompt each in its own way measure nothing: an earlier
phase lost 60 points to such a mismatch. `render_row` is what mlx-lm's trainer makes of a row,
`render_prompt` what the server makes of a request; preflight holds the second to be the beginning
of the first, token by token, and the evaluation stops when the server counts other tokens.
"""

from pathlib import Path

from mlx_lm.tokenizer_utils import TokenizerWrapper
from mlx_lm.utils import load_config, load_tokenizer
from transformers import AutoTokenizer

from files import read_json

# Sent with every request too, so that the server renders the same prompt.
TEMPLATE_ARGUMENTS = {"enable_thinking": False}


def open_tokenizer(folder: Path, served: bool = True):
    """mlx-lm's tokenizer of the model in `folder`, as `mlx_lm server` loads it, without weights.

    With `served` false, for comparing only, it has no detokenizer and no tool parser: half the
    time at 150,000 tokens. Raises ValueError when there is none, or none that can be read.
    """
    if not (folder / "tokenizer_config.json").is_file():
        raise ValueError(f"{folder}: no tokenizer_config.json; not a model directory")
    read_json(folder / "tokenizer_config.json")
    if served:
        read_json(folder / "config.json")
    try:
        if served:
            # load_config lets generation_config.json have the last word on the end tokens.
            return load_tokenizer(folder, eos_token_ids=load_config(folder).get("eos_token_id"))
        return TokenizerWrapper(AutoTokenizer.from_pretrained(folder))
    except Exception as error:  # the libraries below raise many kinds, some of them bare
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"{folder}: the tokenizer cannot be read ({type(error).__name__}: {reason});"
            " mend its files or fetch the model again"
        ) from error


def render(tokenizer, messages: list[dict], **arguments) -> str:
    """`messages` through the chat template. Raises ValueError when the template refuses them."""
    try:
        return tokenizer.apply_chat_template(messages, tokenize=False, **arguments)
    except Exception as error:  # a template is a program: it can fail in any way
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"the chat template refuses the messages ({reason})") from error


def render_row(tokenizer, messages: list[dict]) -> str:
    """A whole row as training sees it (mlx_lm.tuner.datasets.ChatDataset)."""
    return render(tokenizer, messages)


def render_masked(tokenizer, messages: list[dict]) -> str:
    """The part of a row that --mask-prompt keeps out of the loss: its length is the offset."""
    return render(tokenizer, messages[:-1], add_generation_prompt=True)


def render_prompt(tokenizer, messages: list[dict]) -> str:
    """`messages` up to where the assistant's answer begins, as a request to the server."""
    return render(tokenizer, messages, add_generation_prompt=True, **TEMPLATE_ARGUMENTS)


def encode(tokenizer, texts: list[str]) -> list[list[int]]:
    """Token ids of each rendered text; the template has already put the special tokens in."""
    return tokenizer._tokenizer(texts, add_special_tokens=False)["input_ids"]


def format_prompt(tokenizer, messages: list[dict]) -> list[int]:
    """Token ids of `messages` up to where the assistant's answer begins."""
    return encode(tokenizer, [render_prompt(tokenizer, messages)])[0]
