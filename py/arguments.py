"""The calls of an answer with their arguments by name, whether they stand in a program or not."""

import ast
import builtins
import contextlib
import copy
from collections import Counter

from calls import EXECUTE_CODE, called, invented, parse


def named_calls(calls: list[dict], schemas: dict[str, dict]) -> list[dict]:
    """Every call of a tool as {"name", "arguments": {parameter: value}}, in order.

    `schemas` has the JSON schema of each tool's arguments: it gives positional arguments their
    names. Calls of invented names are listed too. An argument that a program computes is its
    expression as text, with `_` for each variable that has no literal as its value.
    """
    found = []
    for call in calls:
        if call["name"] != EXECUTE_CODE:
            found.append({"name": call["name"], "arguments": call["arguments"]})
            continue
        code = str(call["arguments"].get("code", ""))
        known, values = schemas.keys() | set(invented(code, schemas)), literals(code)
        for name, positional, keywords in called(code):
            if name in known:
                nodes = by_name(positional, keywords, schemas.get(name, {}))
                arguments = {key: value_of(node, values) for key, node in nodes.items()}
                found.append({"name": name, "arguments": arguments})
    return found


def by_name(positional: list, keywords: dict, schema: dict) -> dict:
    """Parameter -> argument. One whose name is not known has its place, counted from 0."""
    names = list(schema.get("properties", {}))
    places = [names[n] if n < len(names) else str(n) for n in range(len(positional))]
    return dict(zip(places, positional, strict=True)) | {str(k): v for k, v in keywords.items()}


def value_of(node: ast.expr, values: dict[str, ast.expr]):
    """The value of an argument, or the text of its expression if it is not a literal."""
    text = "_"  # of what is nested too deep, or has too many digits
    with contextlib.suppress(ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        node = copy.deepcopy(node)
        for part in ast.walk(node):
            if isinstance(part, ast.Name) and not hasattr(builtins, part.id):
                part.id = ast.unparse(values[part.id]) if part.id in values else "_"
        text = ast.unparse(node)
        return ast.literal_eval(text)
    return text


def literals(code: str) -> dict[str, ast.expr]:
    """Name -> value of each variable that is bound once, to a literal or to the items of one."""
    nodes = list(ast.walk(parse(code) or ast.Module([], [])))
    names = [node for node in nodes if isinstance(node, ast.Name)]
    bound = Counter(name.id for name in names if isinstance(name.ctx, ast.Store))
    values = {}
    for node in nodes:
        match node:
            case ast.Assign([ast.Name(name)], value) | ast.For(ast.Name(name), value):
                if bound[name] == 1 and not any(isinstance(n, ast.Name) for n in ast.walk(value)):
                    values[name] = value
    return values


def call_text(call: dict) -> str:
    """A named call as Python."""
    shown = []
    for key, value in sorted(call["arguments"].items()):
        value = "_" if value == "_" else repr(value)
        shown.append(value if key.isdigit() else f"{key}={value}")
    return f"{call['name']}({', '.join(shown)})"
