"""The files that say what is asked and what is expected, each with its schema."""

# ruff: noqa: D101 - the names of classes and fields say what they are

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field, field_validator, model_validator

from files import Text, check, parse, read_json
from tools import Schemas

Share = Annotated[float, Field(ge=0, le=1)]
TokenId = Annotated[int, Field(ge=0, lt=2**31)]


class Answer(BaseModel, strict=True):
    """A call that is right. Each argument has the list of values that count.

    With "" in the list it may be left out. An object in the list has such a list for each key.
    """

    name: Text
    arguments: dict[str, list]


class Prompt(BaseModel, strict=True):
    """A prompt is scored by `keywords`, by `answers`, or by both.

    `answers` has the calls that are right together; none means that no call is right, "any" that
    every call is.
    """

    id: str
    category: str
    prompt: Text
    before: list[dict] = []  # messages
    tools: Schemas = []
    expected_tool: str = ""
    keywords: list[Text] = []
    multi: bool = False
    answers: list[Answer] | Literal["any"] | None = None
    max_tokens: int = Field(512, ge=1)

    @model_validator(mode="after")
    def _can_be_scored(self):
        if self.answers is None and not (self.keywords and self.expected_tool):
            raise ValueError("needs answers, or keywords and an expected_tool")
        offered = {tool["function"]["name"] for tool in self.tools}
        called = set() if self.answers in (None, "any") else {call.name for call in self.answers}
        if self.tools and (unknown := called - offered):
            raise ValueError(f"the answers call {min(unknown)}, which is not among its tools")
        return self


class Suite(BaseModel, strict=True):
    name: str
    system: str
    loose: bool = False  # BFCL compares texts without case, spaces and ,./-_*^
    prompts: list[Prompt] = Field(min_length=1)

    @field_validator("prompts")
    @classmethod
    def _ids_differ(cls, prompts: list[Prompt]) -> list[Prompt]:
        ids = [prompt.id for prompt in prompts]
        for id in ids:
            if ids.count(id) > 1:
                raise ValueError(f"the id {id!r} is used twice")
        return prompts


class Targets(BaseModel, strict=True):
    overall: Share
    categories: dict[str, Share]


class TargetsFile(BaseModel, strict=True):
    targets: Targets


class Baseline(BaseModel, strict=True):
    """The totals of an older result, or a whole eval.json."""

    overall: float | None
    experiment: str
    categories: dict[str, dict[str, float | bool | None]]
    prompts: list[dict] = []
    suite: dict = {}
    model: dict = {}
    settings: dict = {}
    calls: dict = {}


class Result(Baseline, strict=True):
    """What the comparison and the report read of an eval.json."""

    prompts: list[dict] = Field(min_length=1)
    suite: dict
    model: dict
    settings: dict
    server: dict
    strict_overall: float | None
    exact_overall: float | None = None
    ci95: list[float] | None
    verdict: str


class SpecialTokens(BaseModel, strict=True):
    """All ids from the first to the last of equal_ids must be equal in both tokenizers."""

    tokens: dict[str, int]
    equal_ids: list[TokenId] = Field(min_length=2, max_length=2)

    @field_validator("equal_ids")
    @classmethod
    def _ordered(cls, ids: list[int]) -> list[int]:
        if ids[0] > ids[1]:
            raise ValueError("expected the first id, then the last")
        return ids


def read_suite(path: Path) -> dict:
    return parse(read_json(path), Suite, path).model_dump()


def read_targets(path: Path, categories=()) -> dict:
    """{overall, categories: {name: score}}.

    Targets that name categories, and none of these `categories`, are another suite's: then there is
    no target, and overall is None.
    """
    targets = check(read_json(path), TargetsFile, path)["targets"]
    if categories and targets["categories"] and not targets["categories"].keys() & set(categories):
        return {"overall": None, "categories": {}}
    return targets


def read_baseline(path: Path | None) -> dict:
    """A baseline. Without a path it is one that has no scores."""
    if path is None:
        return {"experiment": "no baseline", "overall": None, "categories": {}}
    return check(read_json(path), Baseline, path)


def read_result(path: Path) -> dict:
    return check(read_json(path), Result, path)


def read_special_tokens(path: Path) -> dict:
    return check(read_json(path), SpecialTokens, path)


def wanted_tools(prompt: dict) -> list[str]:
    """The names of the tools that `prompt` asks for."""
    if prompt["keywords"]:
        return prompt["keywords"] if prompt["multi"] else [prompt["expected_tool"]]
    return [] if prompt["answers"] == "any" else [call["name"] for call in prompt["answers"]]


def messages_of(suite: dict, prompt: dict) -> list[dict]:
    """The chat messages that ask `prompt`; an empty system prompt is left out, as in the rows."""
    system = [{"role": "system", "content": suite["system"]}] if suite["system"] else []
    return [*system, *prompt.get("before", []), {"role": "user", "content": prompt["prompt"]}]
