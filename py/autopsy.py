"""Say which model answered, by result files of the script of February 2026.

They keep the first 400 characters of str() of each response. What is cut off cannot be parsed.
"""
# ruff: noqa: D101

import argparse
import itertools
import re
from collections import Counter
from pathlib import Path

from pydantic import BaseModel

from compare import equal_texts
from files import check, read_json
from program import Failed, run
from show import in_columns, some
from stats import mean

MODEL = re.compile(r"""'model': (?P<quote>['"])(?P<name>.*?)(?P=quote), """)
ENDED = re.compile(r"'finish_reason': '(\w+)'")
END_OF_TEXT = re.compile(r"'type': |'usage': ")  # an id follows, which is of one response only
SHORT = 24  # characters; shorter texts are alike by chance


class OldPrompt(BaseModel, strict=True):
    id: str
    category: str
    score: float
    response_snippet: str | None
    code_snippet: str | None = None


class OldResult(BaseModel, strict=True):
    model: str
    prompts: list[OldPrompt]


def read_old_result(path: Path) -> dict:
    """A file, each prompt with what is shown of its response: asked, ended, text; "" if nothing."""
    result = check(read_json(path), OldResult, path)
    for prompt in result["prompts"]:
        prompt |= read_response(prompt["response_snippet"] or "")
        prompt["text"] = (prompt.get("code_snippet") or "") + prompt["text"]
    return result


def read_response(snippet: str) -> dict[str, str]:
    """asked, ended and text of the beginning of a response. Its text comes last: it can say all."""
    head, _, choice = snippet.partition("'choices': [")
    before, _, message = choice.partition("'message': ")
    model, ended = MODEL.search(head), ENDED.search(before)
    asked = model["name"] if model and snippet.startswith("{") else ""
    text = END_OF_TEXT.split(message.partition("'content': ")[2])[0]
    return {
        "asked": "" if asked == "default_model" or not asked.isprintable() else asked,
        "ended": ended[1] if ended else "",
        "text": "" if len(text) < SHORT or text.startswith(("None}", "''}")) else text,
    }


def examine(path: Path, result: dict) -> list[str]:
    """Print what a file says. Returns a line for each model that answered in another's place."""
    prompts, named, others = result["prompts"], result["model"], []
    print(f"{path}: {len(prompts)} prompts\n" + in_columns("      named  ", repr(named)))
    for asked, count in Counter(prompt["asked"] for prompt in prompts).most_common():
        said = f"the same model; the {'' if asked == named else 'last part of the '}name is equal"
        if asked and Path(asked).name != Path(named).name:
            said = "another model; neither the name nor its last part is equal"
            others.append(f"{path}: {asked!r} was asked, not {named!r}")
        print(in_columns(f"{count:5} asked  ", f"{asked!r}: {said}" if asked else "no model named"))
    ended = Counter(prompt["ended"] for prompt in prompts)
    print(f"{ended['length']:5} cut at the token limit; not known for {ended['']}")
    return others


def scores(result: dict) -> dict[str, float]:
    names = {p["category"] for p in result["prompts"]}
    return {n: mean([p["score"] for p in result["prompts"] if p["category"] == n]) for n in names}


def describe_pair(a: dict, b: dict) -> str:
    """What two files have in common."""
    theirs = {prompt["id"]: prompt["text"] for prompt in b["prompts"]}
    pairs = [(prompt["text"], theirs.get(prompt["id"], "")) for prompt in a["prompts"]]
    # The longer the name of the model, the less of the text is there.
    equal, n, nearly_all = equal_texts([(x[: len(y)], y[: len(x)]) for x, y in pairs])
    said = f"{equal} of {n} answers are the same, as far as the files show them."
    if nearly_all and Path(a["model"]).name != Path(b["model"]).name:
        asked = {prompt["asked"] for prompt in a["prompts"] + b["prompts"]} - {""}
        said += " One model answered both." if len(asked) == 1 else " Did one model answer both?"
    return said + (" The scores are equal in every category." if scores(a) == scores(b) else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path)
    results = {path: read_old_result(path) for path in parser.parse_args().files}
    others = [line for path, result in results.items() for line in examine(path, result)]
    for (path, a), (other, b) in itertools.combinations(results.items(), 2):
        print(f"{path} and {other}\n" + in_columns("      ", describe_pair(a, b)))
    if others:
        raise Failed(some(others))


if __name__ == "__main__":
    run(main)
