"""Keep each answer beside all that it depends on, so that nothing is asked twice.

The file has one line an answer: {"question": {weights, messages, ...}, "answer": {text, ...}}.
Everywhere else a question is that object as JSON text, which can be the key of a dict.
"""

import json
import os
from pathlib import Path

from files import write_text


def as_text(value: dict) -> str:
    """A question as JSON: equal questions have equal texts."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def read_answers(path: Path) -> dict[str, dict]:
    """question -> answer. Cuts off half a line, which a crash leaves at the end."""
    content = path.read_bytes() if path.is_file() else b""
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)
    answers = {}
    for number, line in enumerate(content[:whole].splitlines(), start=1):
        try:
            kept = json.loads(line)
            answers[as_text(kept["question"])] = kept["answer"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}:{number}: not a kept answer; remove the line") from error
    return answers


def keep_answer(path: Path, question: str, answer: dict) -> None:
    """Add an answer to the file."""
    line = f'{{"question": {question}, "answer": {json.dumps(answer, ensure_ascii=False)}}}\n'
    with path.open("a", encoding="utf-8") as file:
        file.write(line)


def forget_server(path: Path, url: str) -> None:
    """Drop what the server at `url` has answered: tomorrow it may serve other weights."""
    with path.open(encoding="utf-8") as file:
        lines = [line for line in file if json.loads(line)["question"].get("url") != url]
    write_text(path, "".join(lines))
