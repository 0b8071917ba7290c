"""Read chat rows (JSONL, one {"messages": [...]} a line) and name the line that is malformed."""

import itertools
import json
from pathlib import Path

ROLES = ("system", "user", "assistant")


def check_message(message) -> str:
    """What is wrong with one message, in a few words; "" when it is well formed."""
    if not isinstance(message, dict):
        return "a message must be an object"
    role, content = message.get("role"), message.get("content")
    if role not in ROLES:
        return f"unknown role {role!r}"
    if not isinstance(content, str):
        return f"the {role}'s content must be a string"
    if not content.strip():
        return f"the {role}'s content is empty"
    if unknown := sorted(set(message) - {"role", "content"}):
        return f"a message has role and content only, not {unknown[0]!r}"
    try:
        content.encode()
    except UnicodeEncodeError as error:
        return f"the {role}'s content holds half a surrogate pair at character {error.start}"
    return ""


def check_row(row) -> str:
    """What is wrong with one row, in a few words; "" when it is well formed."""
    if not isinstance(row, dict) or not isinstance(row.get("messages"), list):
        return 'expected {"messages": [...]}'
    if unknown := sorted(set(row) - {"messages"}):
        # mlx-lm would take a row with other fields for another kind of data.
        return f"a row has messages only, not {unknown[0]!r}"
    for message in row["messages"]:
        if problem := check_message(message):
            return problem
    roles = [message["role"] for message in row["messages"]]
    turns = roles[1:] if roles[:1] == ["system"] else roles
    if not turns or turns != ["user", "assistant"] * (len(turns) // 2):
        return f"turns must alternate user, assistant and end with the assistant: {roles}"
    return ""


def parse_line(line: bytes):
    """The JSON value in one line of a JSONL file. Raises ValueError in a few words."""
    if line.startswith(b"\xef\xbb\xbf"):
        raise ValueError("begins with a byte order mark; save the file as UTF-8 without one")
    if b"\r" in line:  # mlx-lm reads the file as text, where this ends a line
        raise ValueError("Windows line end; save the file with plain line ends")
    try:
        return json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON ({error.msg})") from error
    except RecursionError as error:
        raise ValueError("not a row (nested too deep)") from error


def read_rows(path: Path):
    """Yield (line number, messages) of every row of the JSONL file `path`, one at a time.

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
            if problem := check_row(row):
                raise ValueError(f"{path}:{number}: {problem}")
            yield number, row["messages"]
    if number == 0:
        raise ValueError(f"{path}: empty file")


def placed_rows(path: Path):
    """Yield ("train.jsonl:7", messages) of every row, as the checks name them."""
    for line, messages in read_rows(path):
        yield f"{path.name}:{line}", messages


def batches(items):
    """Lists of up to 256 successive items: work in batches is fast, and memory stays flat."""
    items = iter(items)
    while batch := list(itertools.islice(items, 256)):
        yield batch
