"""Read chat rows: JSONL, one {"messages": [...]} a line. A malformed line is named."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ValidationError, field_validator

from show import explain
from suite import Text


class Message(BaseModel, strict=True, extra="forbid"):
    """What one side says."""

    role: Literal["system", "user", "assistant"]
    content: Text


class Row(BaseModel, strict=True, extra="forbid"):
    """A conversation. mlx-lm takes a row with other fields for another kind of data."""

    messages: list[Message]

    @field_validator("messages")
    @classmethod
    def _turns_alternate(cls, messages: list[Message]) -> list[Message]:
        roles = [message.role for message in messages]
        turns = roles[1:] if roles[:1] == ["system"] else roles
        if not turns or turns != ["user", "assistant"] * (len(turns) // 2):
            raise ValueError(f"turns must alternate user, assistant and end with it, not {roles}")
        return messages


def parse_line(line: bytes) -> list[dict]:
    """The messages in one line of a file. Raises ValueError in a few words."""
    if not line.strip():
        raise ValueError("an empty line; remove it")
    if line.startswith(b"\xef\xbb\xbf"):
        raise ValueError("begins with a byte order mark; save the file as UTF-8 without one")
    if b"\r" in line:  # mlx-lm reads the file as text, where this ends a line
        raise ValueError("Windows line end; save the file with plain line ends")
    try:
        return Row.model_validate_json(line.rstrip(b"\n")).model_dump()["messages"]
    except ValidationError as error:
        raise ValueError(explain(error)) from error


def read_rows(path: Path):
    """Yield ("train.jsonl:7", messages) of every row of a JSONL file, one at a time.

    Raises ValueError beginning with path:line for the first malformed one, and for an empty file.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    number = 0
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                messages = parse_line(line)
            except ValueError as error:
                raise ValueError(f"{path}:{number}: {error}") from error
            yield f"{path.name}:{number}", messages
    if number == 0:
        raise ValueError(f"{path}: empty file")


def assistant_texts(rows: list):
    """Yield (place, text) of every assistant message."""
    for place, messages in rows:
        for message in messages:
            if message["role"] == "assistant":
                yield place, message["content"]


def evenly(rows, limit: int) -> list:
    """At most `limit` of the rows, from beginning to end; all for 0. Rows may be sorted by tool."""
    count = min(limit or len(rows), len(rows))
    return [rows[n * len(rows) // count] for n in range(count)]


def first_request(messages: list[dict]) -> str:
    """What the user first asks for. Rows with the same first request share a prompt."""
    return next(m["content"] for m in messages if m["role"] == "user").strip()
