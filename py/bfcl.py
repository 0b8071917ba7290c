"""Write a category of the Berkeley Function Calling Leaderboard (BFCL) as a suite.

The file's name says which category. The data is that of the package bfcl-eval (Apache-2.0).
"""

import argparse
import importlib
import json
from pathlib import Path

from files import write_json
from program import run


def load(name: str):
    """A module of the package. Raises ValueError if the package is not installed."""
    try:
        return importlib.import_module(f"bfcl_eval.constants.{name}")
    except ModuleNotFoundError as error:
        raise ValueError("bfcl-eval is not installed; run `make .venv/bfcl.installed`") from error


def read_rows(file: str) -> list[dict]:
    """The rows of a file in the package's folder `data`."""
    path = Path(load("category_mapping").__file__).parents[1] / "data" / file
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def translate(schema: dict) -> dict:
    """The same JSON schema with JSON's names of types, in place of those of a language."""
    names, word = load("type_mappings").GORILLA_TO_OPENAPI, schema["type"]
    translated = schema | {"type": names.get(word) or names.get(word.lower(), "string")}  # Boolean
    if "properties" in schema:
        translated["properties"] = {k: translate(of) for k, of in schema["properties"].items()}
    if "items" in schema:
        translated["items"] = translate(schema["items"])
    return translated


def answers_of(category: str, rows: list[dict]) -> list:
    """The `answers` to the prompt of each row."""
    if category.endswith("relevance"):  # or irrelevance
        return ["any" if category == "live_relevance" else []] * len(rows)
    truths = read_rows(f"possible_answer/BFCL_v4_{category}.json")
    right = {truth["id"]: truth["ground_truth"] for truth in truths}
    return [
        [{"name": name, "arguments": of} for call in right[row["id"]] for name, of in call.items()]
        for row in rows
    ]


def suite_of(category: str) -> dict:
    """The suite. Raises ValueError for a category that is unknown, or has several turns."""
    known = load("category_mapping").SINGLE_TURN_CATEGORY
    if category not in known:
        raise ValueError(f"unknown category {category!r}; expected one of {', '.join(known)}")
    rows = read_rows(f"BFCL_v4_{category}.json")
    prompts = []
    for row, answers in zip(rows, answers_of(category, rows), strict=True):
        *before, last = row["question"][0]  # its only turn
        tools = [tool | {"parameters": translate(tool["parameters"])} for tool in row["function"]]
        prompt = {"id": row["id"], "category": category, "prompt": last["content"]}
        prompt["tools"] = [{"type": "function", "function": tool} for tool in tools]
        prompts.append(prompt | {"before": before, "answers": answers, "max_tokens": 512})
    return {"name": f"bfcl_{category}", "system": "", "loose": True, "prompts": prompts}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True, type=Path, help="data/bfcl_CATEGORY.json")
    out = parser.parse_args().out
    suite = suite_of(out.stem.removeprefix("bfcl_"))
    write_json(out, suite)
    print(f"{len(suite['prompts'])} prompts: {out}")


if __name__ == "__main__":
    run(main)
