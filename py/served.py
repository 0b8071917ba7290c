"""What would `mlx_lm server` return for the text of an answer? This needs no server.

The server splits the text at the tags of its tool parser and gives the parser the text between
them. If the parser cannot read a call, the server leaves it out and says so in its log only. This
file uses the server's own code for each step.
"""

import functools
import importlib
import logging
import pkgutil

import mlx_lm.tool_parsers
from mlx_lm.generate import TextStateMachine, make_text_state_machine
from mlx_lm.server import ToolCallFormatter
from mlx_lm.tokenizer_utils import TokenizerWrapper


@functools.cache
def tool_parsers() -> dict:
    """Name -> module of mlx-lm's tool parsers. tool_parser_type can be one of these names."""
    names = [module.name for module in pkgutil.iter_modules(mlx_lm.tool_parsers.__path__)]
    return {name: importlib.import_module(f"mlx_lm.tool_parsers.{name}") for name in names}


def tags(parser: str) -> tuple[str, str]:
    """The tags before and after a tool call for one parser."""
    module = tool_parsers()[parser]
    return module.tool_call_start, module.tool_call_end


def make_machine(tokenizer, parser: str) -> TextStateMachine:
    """The server's state machine for a tokenizer whose tool parser is `parser`."""
    start, end = tags(parser)
    if (tokenizer.tool_call_start, tokenizer.tool_call_end) != (start, end):
        tokenizer = TokenizerWrapper(tokenizer._tokenizer, tool_call_start=start, tool_call_end=end)
    return make_text_state_machine(tokenizer)


def split_text(machine: TextStateMachine, text: str) -> tuple[str, list[str]]:
    """(the text outside calls and thinking, the text of each call) of a whole answer."""
    _, segments = TextStateMachine.split(machine.make_state(), text)
    outside, calls, call, previous = "", [], "", "normal"
    for state, piece in segments:  # as the server's own loop does it
        if state == "tool":
            call += piece
        elif state == "normal":
            if previous == "tool":
                calls.append(call)
                call = ""
            outside += piece
        previous = state
    if previous == "tool" and call:  # cut off
        calls.append(call)
    return outside, calls


def parse_calls(parser: str, calls: list[str]) -> list[dict]:
    """The `tool_calls` that a server with `parser` would return for the texts of some calls."""
    formatter = ToolCallFormatter(tool_parsers()[parser].parse_tool_call, None)
    logging.disable(logging.WARNING)  # the formatter logs each call that it drops
    try:
        return formatter(calls)
    except Exception:  # with any error but ValueError, the server returns no response at all
        return []
    finally:
        logging.disable(logging.NOTSET)


def served_response(tokenizer, machine: TextStateMachine, parser: str, text: str) -> dict:
    """The chat completion, with logprobs, that a server would return for the answer `text`."""
    outside, calls = split_text(machine, text)
    message = {"content": outside or None, "tool_calls": parse_calls(parser, calls)}
    tokens = tokenizer.encode(text, add_special_tokens=False)
    choice = {
        "finish_reason": "tool_calls" if calls else "stop",
        "message": message,
        "logprobs": {"content": [{"id": id} for id in tokens]},
    }
    return {"choices": [choice]}
