"""Keep each answer as it arrives, so that an interrupted evaluation goes on where it stopped.

A JSONL file: the first line says what was asked (the key: weights, suite, settings), each other
line is the answer to one prompt. Answers to anything else than the same key are not used.
"""

import contextlib
import fcntl
import json
from pathlib import Path

FIELDS = ("id", "text", "thinking", "calls", "finish_reason", "completion_tokens")


@contextlib.contextmanager
def keeping(path: Path):
    """Hold the file of answers at `path`. Raises ValueError when another evaluation holds it."""
    path.touch()
    with path.open("rb") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ValueError(
                f"{path}: another evaluation is writing here; wait for it, or name another BUILD"
            ) from error
        try:
            yield
        finally:
            if path.is_file() and not path.stat().st_size:
                path.unlink()  # nothing was asked


def read_places(path: Path, key: dict) -> dict[str, int]:
    """Prompt id -> place in the file of its answer, for the answers kept under `key`.

    A file with another key is begun anew; a line that was cut off in the middle, and all after it,
    is dropped.
    """
    places, whole = {}, 0
    with path.open("r+b") as stream:
        for line in stream:
            try:
                value = json.loads(line) if line.endswith(b"\n") else None
            except (ValueError, RecursionError):
                value = None
            if not isinstance(value, dict) or (whole == 0 and value.get("key") != key):
                break
            if whole and not (set(FIELDS) <= set(value) and isinstance(value["id"], str)):
                break
            if whole:
                places[value["id"]] = whole
            whole += len(line)
        stream.truncate(whole)
        if not whole:
            stream.seek(0)
            stream.write(json.dumps({"key": key}).encode() + b"\n")
    return places


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
