"""Read chat rows (JSONL, one {"messages": [...]} a line) and name the line that is malformed."""

import json
from pathlib import Path

ROLES = ("system", "user", "assistant")


def check_row(row) -> str:
    """What is wrong with one row, in a few words; "" when it is well formed."""
    if not isinstance(row, dict) or not isinstance(row.get("messages"), list):
        return 'expected {"messages": [...]}'
    messages = row["messages"]
    for message in messages:
        if not isinstance(message, dict):
            return "a message must be an object"
        if message.get("role") not in ROLES:
            return f"unknown role {message.get('role')!r}"
        if not isinstance(message.get("content"), str):
            return f"the {message['role']}'s content must be a string"
    roles = [message["role"] for message in messages]
    turns = roles[1:] if roles[:1] == ["system"] else roles
    if not turns or turns != ["user", "assistant"] * (len(turns) // 2):
        return f"turns must alternate user, assistant and end with the assistant: {roles}"
    return ""


def read_rows(path: Path):
    """Yield every row of the JSONL file `path`, one at a time.

    Raises ValueError beginning with path:line for the first malformed one, and for an empty file.
    """
    if not Path(path).is_file():
        raise ValueError(f"{path}: no such file")
    number = 0
    with Path(path).open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                row = json.loads(line.decode("utf-8"))
            except UnicodeDecodeError as error:
                raise ValueError(f"{path}:{number}: not UTF-8 at byte {error.start}") from error
            except json.JSONDecodeError as error:
                raise ValueError(f"{path}:{number}: not JSON ({error.msg})") from error
            if problem := check_row(row):
                raise ValueError(f"{path}:{number}: {problem}")
            yield row
    if number == 0:
        raise ValueError(f"{path}: empty file")
