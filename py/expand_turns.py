"""EXPAND_TURNS=1: make a row of each assistant turn, so that every tool call is trained.

mlx-lm's --mask-prompt trains the last message of a row only: in a conversation the calls of
earlier turns are read, never learned.
"""

import argparse
import json
from pathlib import Path

from files import write_text
from program import run
from rows import read_rows
from settings import add_config, load_settings


def turns(row: dict):
    """Yield the row up to each answer of the assistant, the shortest first."""
    for end, message in enumerate(row["messages"], start=1):
        if message["role"] == "assistant":
            yield row | {"messages": row["messages"][:end]}


def training_rows(settings: dict, split: str):
    """The rows that are trained on, as (path:line, row): with EXPAND_TURNS=1 one an answer."""
    return expand(settings, read_rows(Path(settings["DATA"]) / f"{split}.jsonl"))


def expand(settings: dict, rows):
    """Yield the same of rows that are read already."""
    for place, row in rows:
        for part in turns(row) if settings["EXPAND_TURNS"] == "1" else [row]:
            yield place, part


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_config(parser)
    parser.add_argument("--out", type=Path, required=True, help="folder for the two splits")
    args = parser.parse_args()
    settings = load_settings(args.config) | {"EXPAND_TURNS": "1"}
    args.out.mkdir(parents=True, exist_ok=True)
    for split in ("train", "valid"):
        rows = training_rows(settings, split)
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for _, row in rows]
        write_text(args.out / f"{split}.jsonl", "".join(lines))
        print(f"{split}: {len(lines):,} rows, one for each assistant turn")


if __name__ == "__main__":
    run(main)
