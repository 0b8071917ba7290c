"""Which tools are there, and which arguments do they take?

A tool is known from a row or a prompt, as OpenAI's API describes it, or from the file TOOLS.
"""

# ruff: noqa: D101 - the names of classes and fields say what they are

import ast
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field, ValidationError

from files import Text, check, read_json
from show import explain

# Python's names of types -> JSON schema's
TYPES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}
TYPES |= {"list": "array", "dict": "object"}


class Function(BaseModel, strict=True):
    name: Text
    parameters: dict = {}


class Schema(BaseModel, strict=True):
    """A tool as OpenAI's API describes it; `parameters` is a JSON schema."""

    type: Literal["function"]
    function: Function


def check_schema(tool: dict) -> dict:
    try:
        Schema.model_validate(tool)
    except ValidationError as error:
        raise ValueError(explain(error)) from error
    return tool  # as it is: templates show every field, in its order


Schemas = list[Annotated[dict, AfterValidator(check_schema)]]


class Tool(BaseModel, strict=True):
    """A tool has a JSON schema in `parameters`, or a Python signature, or only its name."""

    name: str
    signature: str = ""
    parameters: dict | None = None


class Tools(BaseModel, strict=True):
    tools: list[Tool] = Field(min_length=1)


def read_schemas(path: Path) -> dict[str, dict]:
    """Name -> JSON schema of the arguments of each tool in TOOLS, {} if it is not known.

    TOOLS=none has no tools: the rows and the prompts bring their own.
    """
    if str(path) == "none":
        return {}
    tools = check(read_json(path), Tools, path)["tools"]
    return {t["name"]: t.get("parameters") or schema_of(t.get("signature", "")) for t in tools}


def schema_of(signature: str) -> dict:
    """The JSON schema of a function's arguments, {} for what is no signature in Python."""
    try:
        arguments = ast.parse(f"def {signature}: ...").body[0].args
    except SyntaxError:
        return {}
    positional = arguments.posonlyargs + arguments.args
    without = [None] * (len(positional) - len(arguments.defaults))
    defaults = [*without, *arguments.defaults, *arguments.kw_defaults]
    properties, required = {}, []
    for argument, default in zip([*positional, *arguments.kwonlyargs], defaults, strict=True):
        name = ast.unparse(argument.annotation).partition("[")[0] if argument.annotation else ""
        properties[argument.arg] = {"type": TYPES[name]} if name in TYPES else {}
        required += [] if default else [argument.arg]
    return {"type": "object", "properties": properties, "required": required}


def schemas_of(tools: list[dict]) -> dict[str, dict]:
    """The same of tools as OpenAI's API describes them."""
    return {t["function"]["name"]: t["function"].get("parameters", {}) for t in tools}
