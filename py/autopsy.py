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
from files import read_json
from program import Failed, run
from show import in_columns, some
from stats import mean
from suite import check

# A response of mlx_lm's server, as far as there is one. Its text can say anything and comes last.
STRING = r"""(?:'(?:[^'\\\0-\x1f]|\\.)*'|"(?:[^"\\\0-\x1f]|\\.)*")"""
KEYS = rf"(?:'\w+': (?:{STRING}|\w+), )*?"
RESPONSE = re.compile(
    rf"(?:\{{{KEYS}'model': (?:'default_model'|(?P<asked>{STRING}))"
    rf"(?:, {KEYS}'choices': \[\{{'index': \d+, 'finish_reason': '(?P<ended>\w+)'"
    # Fewer than 24 characters of a text are alike by chance. Ids of calls are left out.
    r"(?:.*?'content': (?!(?:None|'')\})(?P<text>.{24,}?)(?:'type': |'usage': |$))?)?)?"
)


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
        prompt |= RESPONSE.match(prompt["response_snippet"] or "").groupdict("")
        prompt["text"] = (prompt.get("code_snippet") or "") + prompt["text"]
    return result


def examine(path: Path, result: dict) -> list[str]:
    """Print what a file says. Returns a line for each model that answered in another's place."""
    prompts, named, others = result["prompts"], repr(result["model"]), []
    print(f"{path}: {len(prompts)} prompts\n" + in_columns("      named  ", named))
    for asked, count in Counter(prompt["asked"] for prompt in prompts).most_common():
        said = f"the same model; the {'' if asked == named else 'last part of the '}name is equal"
        if asked and Path(asked[1:-1]).name != Path(named[1:-1]).name:
            said = "another model; neither the name nor its last part is equal"
            others.append(f"{path}: {asked} was asked, not {named}")
        print(in_columns(f"{count:5} asked  ", f"{asked}: {said}" if asked else "no model named"))
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
