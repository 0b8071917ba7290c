"""Read chat rows: JSONL, one {"messages": [...], "tools": [...]} a line. "tools" may be missing.

A call stands in the text of an answer, or in its `tool_calls`, as OpenAI's API has them.
"""

# ruff: noqa: D101 - the names of classes and fields say what they are

import json
import re
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field, ValidationError, ValidationInfo, field_validator

from files import Text, check_text
from show import explain
from tools import Schemas

TURNS = re.compile("s?(u(at+)*a)+")  # first letters of roles


class Function(BaseModel, strict=True, extra="forbid"):
    name: Text
    arguments: dict | str

    @field_validator("arguments")
    @classmethod
    def _is_object(cls, arguments: dict | str) -> dict | str:
        try:
            value = json.loads(arguments) if isinstance(arguments, str) else arguments
        except ValueError as error:
            raise ValueError(f"is not JSON ({error})") from error
        if not isinstance(value, dict):
            raise ValueError("is not an object")
        return arguments


class ToolCall(BaseModel, strict=True, extra="forbid"):
    id: str = ""
    type: Literal["function"] = "function"
    function: Function


class Message(BaseModel, strict=True, extra="forbid"):
    role: Literal["system", "user", "assistant", "tool"]
    tool_calls: list[ToolCall] = []
    tool_call_id: str = ""
    name: str = ""
    content: str | None = Field(None, validate_default=True)

    @field_validator("content")
    @classmethod
    def _says_something(cls, content: str | None, info: ValidationInfo) -> str | None:
        # What is malformed is not in info.data, and has been named already.
        role, calls = info.data.get("role", "assistant"), info.data.get("tool_calls", True)
        if calls and role != "assistant":
            raise ValueError("comes with tool_calls, which only an assistant has")
        if calls or role == "tool":
            (content or "").encode()
            return content
        return check_text(content or "")


class Row(BaseModel, strict=True, extra="forbid"):
    """A conversation. mlx-lm takes a row with other fields for another kind of data."""

    messages: list[Message]
    tools: Schemas = []
    parallel_tool_calls: bool = True  # OpenAI's rows may have it; mlx-lm does not read it

    @field_validator("messages")
    @classmethod
    def _turns_alternate(cls, messages: list[Message]) -> list[Message]:
        roles = [message.role for message in messages]
        if not TURNS.fullmatch("".join(role[0] for role in roles)):
            raise ValueError(
                f"turns must alternate user and assistant, and end with assistant, not {roles}"
            )
        return messages


def parse_line(line: bytes) -> dict:
    """The row in one line of a file. Raises ValueError in a few words."""
    if not line.strip():
        raise ValueError("an empty line; remove it")
    if line.startswith(b"\xef\xbb\xbf"):
        raise ValueError("begins with a byte order mark; save the file as UTF-8 without one")
    if b"\r" in line:  # mlx-lm reads the file as text, where this ends a line
        raise ValueError("Windows line end; save the file with plain line ends")
    try:
        return Row.model_validate_json(line.rstrip(b"\n")).model_dump(exclude_unset=True)
    except ValidationError as error:
        raise ValueError(explain(error)) from error


def read_rows(path: Path):
    """Yield ("train.jsonl:7", row) of every row of a JSONL file, one at a time.

    Raises ValueError beginning with path:line for the first malformed one, and for an empty file.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    number = 0
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                row = parse_line(line)
            except ValueError as error:
                raise ValueError(f"{path}:{number}: {error}") from error
            yield f"{path.name}:{number}", row
    if number == 0:
        raise ValueError(f"{path}: empty file")


def text_of(message: dict) -> str:
    """What an answer says, with its calls as the text that Qwen's chat templates make of them."""
    parts = [message.get("content") or ""]
    for call in message.get("tool_calls", []):
        name, arguments = call["function"]["name"], call["function"]["arguments"]
        arguments = json.loads(arguments) if isinstance(arguments, str) else arguments
        body = json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)
        parts.append(f"<tool_call>\n{body}\n</tool_call>")
    return "\n".join(part for part in parts if part)


def assistant_texts(rows: list):
    """Yield (place, text) of every assistant message."""
    for place, row in rows:
        for message in row["messages"]:
            if message["role"] == "assistant":
                yield place, text_of(message)


def evenly(rows, limit: int) -> list:
    """At most `limit` of the rows, from beginning to end; all for 0. Rows may be sorted by tool."""
    count = min(limit or len(rows), len(rows))
    return [rows[n * len(rows) // count] for n in range(count)]


def first_request(row: dict) -> str:
    """What the user first asks for. Rows with the same first request share a prompt."""
    return next(m["content"] for m in row["messages"] if m["role"] == "user").strip()
