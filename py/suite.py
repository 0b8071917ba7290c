"""Read an evaluation suite and say plainly what is wrong with a bad one."""

import re
from pathlib import Path

from files import read_json

# field -> type, for every prompt of a suite
PROMPT_FIELDS = {
    "id": str,
    "category": str,
    "prompt": str,
    "expected_tool": str,
    "keywords": list,
    "multi": bool,
    "max_tokens": int,
}


def read_suite(path: Path) -> dict:
    """The suite in `path`: {name, system, prompts: [{id, category, ...}]}. Raises ValueError."""
    suite = read_json(path)
    check_suite(suite, path)
    return suite


def check_suite(suite: dict, path: Path) -> None:
    """Raise ValueError naming the prompt and the field of a malformed suite, which is of `path`."""
    for field in ("name", "system"):
        if not isinstance(suite.get(field), str):
            raise ValueError(f"{path}: {field!r} must be a string")
    prompts = suite.get("prompts")
    if not isinstance(prompts, list) or not prompts:
        raise ValueError(f"{path}: 'prompts' must be a list with at least one prompt")
    seen = set()
    for number, prompt in enumerate(prompts, start=1):
        where = f"{path}: prompt {number}"
        if not isinstance(prompt, dict):
            raise ValueError(f"{where}: expected an object")
        for field, kind in PROMPT_FIELDS.items():
            if type(prompt.get(field)) is not kind:
                raise ValueError(f"{where}: {field!r} must be a {kind.__name__}")
        if not prompt["keywords"] or not all(k and isinstance(k, str) for k in prompt["keywords"]):
            raise ValueError(f"{where}: 'keywords' must be a list of words, at least one")
        if not is_text(prompt["prompt"]):
            raise ValueError(f"{where}: 'prompt' is empty or holds half a surrogate pair")
        if prompt["max_tokens"] < 1:
            raise ValueError(f"{where}: 'max_tokens' must be at least 1")
        if prompt["id"] in seen:
            raise ValueError(f"{where}: the id {prompt['id']!r} is used twice")
        seen.add(prompt["id"])


def is_text(text: str) -> bool:
    """Is there something to say, and can it be written as UTF-8?"""
    return bool(text.strip()) and not re.search("[\ud800-\udfff]", text)


def messages_of(suite: dict, prompt: dict) -> list[dict]:
    """The chat messages that ask `prompt`: the suite's system prompt, then the request."""
    return [
        {"role": "system", "content": suite["system"]},
        {"role": "user", "content": prompt["prompt"]},
    ]


def read_targets(path: Path) -> dict:
    """The registered targets in `path`: {overall, categories: {name: score}}. Raises ValueError."""
    targets = read_json(path).get("targets")
    if not isinstance(targets, dict) or not isinstance(targets.get("categories"), dict):
        raise ValueError(f"{path}: 'targets' must have 'overall' and 'categories'")
    for name, value in {"overall": targets.get("overall"), **targets["categories"]}.items():
        if type(value) not in (int, float) or not 0 <= value <= 1:
            raise ValueError(f"{path}: the target of {name} must be a number from 0 to 1")
    return targets


def read_tools(path: Path) -> set[str]:
    """Names of the tools in `path`: {tools: [{name, category, ...}]}. Raises ValueError."""
    tools = read_json(path).get("tools")
    if not isinstance(tools, list) or not tools:
        raise ValueError(f"{path}: 'tools' must be a list with at least one tool")
    for number, tool in enumerate(tools, start=1):
        if not isinstance(tool, dict) or not isinstance(tool.get("name"), str):
            raise ValueError(f"{path}: tool {number}: 'name' must be a str")
    return {tool["name"] for tool in tools}
