"""Turn messages into text and tokens, in one way everywhere.

`render` gives what mlx-lm's trainer makes of a row, `render_prompt` what the server makes of a
request. Preflight checks that the second is the beginning of the first, token by token.
"""

import copy
from pathlib import Path

from mlx_lm.server import process_message_content
from mlx_lm.tokenizer_utils import TokenizerWrapper
from mlx_lm.utils import load_config, load_tokenizer
from transformers import AutoTokenizer

from files import read_json

# Sent with every request too, so that the server renders the same prompt.
TEMPLATE_ARGUMENTS = {"enable_thinking": False}


def open_tokenizer(folder: Path, served: bool = True):
    """The tokenizer of the model in `folder`, as `mlx_lm server` loads it.

    With `served` false it can be compared only: it has no tool parser, and loads in half the time.
    Raises ValueError if it cannot be read.
    """
    read_json(folder / "tokenizer_config.json")
    if served:
        read_json(folder / "config.json")
    try:
        if served:  # load_config also reads the end tokens of generation_config.json
            return load_tokenizer(folder, eos_token_ids=load_config(folder).get("eos_token_id"))
        return TokenizerWrapper(AutoTokenizer.from_pretrained(folder))
    except Exception as error:  # the libraries raise many kinds of errors
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"{folder}: the tokenizer cannot be read ({type(error).__name__}: {reason});"
            " mend its files or fetch the model again"
        ) from error


def render(tokenizer, messages: list[dict], tools: list | None = None, **arguments) -> str:
    """`messages` through the chat template; without arguments a whole row as mlx-lm trains it.

    Raises ValueError if the template refuses them.
    """
    try:
        return tokenizer.apply_chat_template(messages, tools=tools, tokenize=False, **arguments)
    except Exception as error:  # a template is a program: it can fail in any way
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"the chat template refuses the messages ({reason})") from error


def render_prompt(tokenizer, messages: list[dict], tools: list | None = None) -> str:
    """`messages` up to where the assistant's answer begins, as a request to the server."""
    messages = copy.deepcopy(messages)
    process_message_content(messages)  # the server's: it reads arguments that are JSON text
    # The server takes an empty list of tools for none.
    return render(
        tokenizer, messages, tools or None, add_generation_prompt=True, **TEMPLATE_ARGUMENTS
    )


def written(tokenizer, row: dict) -> dict:
    """The row with its answers as the chat template writes them: `tool_calls` become text."""
    messages, tools = list(row["messages"]), row.get("tools")
    for turn, message in enumerate(row["messages"]):
        if message.get("tool_calls"):
            prompt = render_prompt(tokenizer, row["messages"][:turn], tools)
            answer = render(tokenizer, row["messages"][: turn + 1], tools).removeprefix(prompt)
            for id in tokenizer.eos_token_ids:
                answer = answer.partition(tokenizer.decode([id]))[0]
            messages[turn] = {"role": "assistant", "content": answer}
    return row | {"messages": messages}


def encode(tokenizer, texts: list[str]) -> list[list[int]]:
    """Token ids of rendered texts. The template has already written the special tokens."""
    return tokenizer._tokenizer(texts, add_special_tokens=False)["input_ids"]


def format_prompt(tokenizer, messages: list[dict], tools: list | None = None) -> list[int]:
    """Token ids of `messages` up to where the assistant's answer begins."""
    return encode(tokenizer, [render_prompt(tokenizer, messages, tools)])[0]
