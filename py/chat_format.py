"""What the model is shown: one way to turn messages into prompt tokens, used everywhere.

Training and evaluation that format a prompt each in its own way measure nothing: an earlier
phase lost 60 points to such a mismatch. mlx-lm's trainer renders whole rows with the chat
template; `format_prompt` renders what comes before the answer, and the evaluation stops when the
server makes another number of tokens of it.
"""

from pathlib import Path

from mlx_lm.utils import load_tokenizer

# Sent with every request too, so that the server renders the same prompt.
TEMPLATE_ARGUMENTS = {"enable_thinking": False}


def open_tokenizer(folder: Path):
    """mlx-lm's tokenizer of the model in `folder`, read without its weights.

    Raises ValueError when there is no tokenizer there.
    """
    if not (folder / "tokenizer_config.json").is_file():
        raise ValueError(f"{folder}: no tokenizer_config.json; not a model directory")
    return load_tokenizer(folder)


def format_prompt(tokenizer, messages: list[dict]) -> list[int]:
    """Token ids of `messages` up to where the assistant's answer begins."""
    return tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=True, **TEMPLATE_ARGUMENTS
    )
