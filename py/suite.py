"""The files that say what is asked and what is expected, each with its schema.

A file that does not fit its schema gets one line: the file, the place in it, what is wrong.
"""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field, ValidationError, field_validator

from files import read_json
from show import explain


def check_text(text: str) -> str:
    text.encode()  # half a surrogate pair raises ValueError
    if not text.strip():
        raise ValueError("is empty")
    return text


Text = Annotated[str, AfterValidator(check_text)]
Share = Annotated[float, Field(ge=0, le=1)]
TokenId = Annotated[int, Field(ge=0, lt=2**31)]


class Prompt(BaseModel, strict=True):
    """One prompt of a suite."""

    id: str
    category: str
    prompt: Text
    expected_tool: str
    keywords: list[Text] = Field(min_length=1)
    multi: bool
    max_tokens: int = Field(ge=1)


PROMPT_FIELDS = list(Prompt.model_fields)


class Suite(BaseModel, strict=True):
    """SUITE."""

    name: str
    system: str
    prompts: list[Prompt] = Field(min_length=1)

    @field_validator("prompts")
    @classmethod
    def _ids_differ(cls, prompts: list[Prompt]) -> list[Prompt]:
        ids = [prompt.id for prompt in prompts]
        if repeated := [id for id in ids if ids.count(id) > 1]:
            raise ValueError(f"the id {repeated[0]!r} is used twice")
        return prompts


class Tool(BaseModel, strict=True):
    """One tool. Nothing reads more of it than its name."""

    name: str


class Tools(BaseModel, strict=True):
    """TOOLS."""

    tools: list[Tool] = Field(min_length=1)


class Targets(BaseModel, strict=True):
    """The scores that were registered before the first run."""

    overall: Share
    categories: dict[str, Share]


class TargetsFile(BaseModel, strict=True):
    """TARGETS."""

    targets: Targets


class Baseline(BaseModel, strict=True):
    """BASELINE: an eval.json, or the scores of an older result."""

    overall: float
    categories: dict


class SpecialTokens(BaseModel, strict=True):
    """SPECIAL_TOKENS. All ids from the first to the last of equal_ids must be equal."""

    tokens: dict[str, int]
    equal_ids: list[TokenId] = Field(min_length=2, max_length=2)

    @field_validator("equal_ids")
    @classmethod
    def _ordered(cls, ids: list[int]) -> list[int]:
        if ids[0] > ids[1]:
            raise ValueError("expected the first id, then the last")
        return ids


def check(value: dict, schema: type[BaseModel], path: Path) -> dict:
    """`value`, which was read from `path`. Raises ValueError when it does not fit `schema`."""
    try:
        schema.model_validate(value)
    except ValidationError as error:
        raise ValueError(f"{path}: {explain(error)}") from error
    return value


def check_suite(suite: dict, path: Path) -> dict:
    return check(suite, Suite, path)


def read_suite(path: Path) -> dict:
    return check_suite(read_json(path), path)


def read_tools(path: Path) -> set[str]:
    """The names of the tools."""
    return {tool["name"] for tool in check(read_json(path), Tools, path)["tools"]}


def read_targets(path: Path) -> dict:
    """{overall, categories: {name: score}}."""
    return check(read_json(path), TargetsFile, path)["targets"]


def read_baseline(path: Path) -> dict:
    return check(read_json(path), Baseline, path)


def read_special_tokens(path: Path) -> dict:
    return check(read_json(path), SpecialTokens, path)


def messages_of(suite: dict, prompt: dict) -> list[dict]:
    """The chat messages that ask `prompt`: the suite's system prompt, then the request."""
    return [
        {"role": "system", "content": suite["system"]},
        {"role": "user", "content": prompt["prompt"]},
    ]
