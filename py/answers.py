"""Keep each answer as it arrives, so that an interrupted evaluation goes on where it stopped.

A JSONL file: the first line says what was asked (the key: weights, suite, settings), each other
line is the answer to one prompt. Answers to anything else than the same key are not used.
"""

import json
from pathlib import Path


def read_places(path: Path, key: dict) -> dict[str, int]:
    """Prompt id -> place in the file of its answer, for the answers kept under `key`.

    A file with another key is begun anew; a line that was cut off in the middle is dropped.
    """
    if not path.is_file():
        return begin(path, key)
    places, whole = {}, 0
    with path.open("r+b") as stream:
        for line in stream:
            try:
                value = json.loads(line) if line.endswith(b"\n") else None
            except ValueError:
                value = None
            if not isinstance(value, dict) or (whole == 0 and value.get("key") != key):
                break
            if whole:
                places[value["id"]] = whole
            whole += len(line)
        stream.truncate(whole)
    return places if whole else begin(path, key)


def begin(path: Path, key: dict) -> dict[str, int]:
    """Begin a file for `key`; it holds no answer yet."""
    path.write_text(json.dumps({"key": key}) + "\n", encoding="utf-8")
    return {}


def append(path: Path, answer: dict) -> int:
    """Add one answer, whole or not at all; returns its place."""
    with path.open("ab") as stream:
        place = stream.tell()
        stream.write(json.dumps(answer, ensure_ascii=False).encode() + b"\n")
    return place


def read_at(path: Path, place: int) -> dict:
    """The answer at `place`."""
    with path.open("rb") as stream:
        stream.seek(place)
        return json.loads(stream.readline())
