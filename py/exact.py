"""Are an answer's calls the right ones, with the right arguments?

The rules are those of the Berkeley Function Calling Leaderboard (BFCL): each argument has a list of
acceptable values, and "" in that list means that it may be left out. tests/bench_bfcl.py compares
them with BFCL's own checker and names every difference.
"""

import re
import reprlib

from show import some

SHORT = reprlib.Repr()  # a model can write values of any length and depth
SHORT.maxstring = 60


def reason(calls: list[dict], answers, schemas: dict[str, dict], loose: bool = False) -> str:
    """Why `calls` are not the right ones, in one line; "" if they are.

    `calls` are {"name", "arguments"}. `answers` are those of a prompt in a suite, but not None.
    `schemas` maps the name of a tool to its JSON schema; a tool may be missing.
    """
    if answers == "any":
        return "" if calls else "no call"
    if not answers:
        return "a call, where none is right" if calls else ""
    if not calls:
        return "no call"
    if len(calls) != len(answers):
        return f"{len(calls)} call{'s' * (len(calls) > 1)}, expected {len(answers)}"
    left = list(calls)
    for answer in answers:
        name, wanted = answer["name"], answer["arguments"]
        same_name = [call for call in left if call["name"] == name]
        schema = schemas.get(name, {})
        reasons = [wrong_object(call["arguments"], wanted, schema, loose) for call in same_name]
        if not reasons:
            return f"calls {some([plain(call['name']) for call in left])}, not {name}"
        if "" not in reasons:
            return f"argument {reasons[0]}"
        left.remove(same_name[reasons.index("")])
    return ""


def wrong_object(values: dict, wanted: dict, schema: dict, loose: bool, path: str = "") -> str:
    """What is wrong with `values`; `wanted` has a list of acceptable values for each key."""
    properties = part(schema, "properties", dict)
    for name in part(schema, "required", list):
        if name not in values:
            return f"{path}{name}: missing"
    for name, value in values.items():
        if name not in wanted or (properties and name not in properties):
            return f"{path}{plain(name)}: not expected"
        # In BFCL an inner object sometimes has a plain value in place of the list.
        choices = wanted[name] if isinstance(wanted[name], list) else [wanted[name]]
        why = wrong_value(value, choices, part(properties, name, dict), loose, path + name)
        if why:
            return why
    left_out = [name for name in wanted if name not in values and "" not in wanted[name]]
    return f"{path}{left_out[0]}: missing" if left_out else ""


def wrong_value(value, choices: list, schema: dict, loose: bool, path: str) -> str:
    """What is wrong with `value`, which should be one of `choices`."""
    others = [choice for choice in choices if choice != ""]
    types = schema.get("type")
    types = [*types] if isinstance(types, list) else [types] if types else []
    types += [type_of(choice) for choice in others]  # BFCL's values do not always fit the schema
    own = type_of(value)
    if types and own not in types and not (own == "integer" and "number" in types):
        return f"{path}: {SHORT.repr(value)} is a {own}, not a {types[0]}".replace(" a i", " an i")
    if value in ("", []) and "" in choices:  # given, but empty: as good as left out
        return ""
    reasons = [differs(value, choice, schema, loose, path) for choice in others]
    if "" in reasons or len(reasons) == 1:
        return min(reasons)
    return f"{path}: {SHORT.repr(value)} not among {some([SHORT.repr(one) for one in choices])}"


def differs(value, choice, schema: dict, loose: bool, path: str) -> str:
    """How `value` differs from one acceptable value."""
    match value, choice:
        case dict(), dict():
            return wrong_object(value, choice, schema, loose, path + ".")
        case list(), list() if len(value) != len(choice):
            return f"{path}: a list of {len(value)}, expected {len(choice)}"
        case list(), list():
            items = part(schema, "items", dict)
            for i, item in enumerate(value):
                if why := wrong_value(item, [choice[i]], items, loose, f"{path}[{i}]"):
                    return why
            return ""
        case str(), str() if loose:
            same = standardize(value) == standardize(choice)
        case _:
            same = value == choice and isinstance(value, bool) == isinstance(choice, bool)
    return "" if same else f"{path}: {SHORT.repr(value)} not among {SHORT.repr(choice)}"


def type_of(value) -> str:
    """The JSON type of a value."""
    names = {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer"}
    return names.get(type(value), "null" if value is None else "number")


def part(schema: dict, key: str, kind: type):
    """schema[key] if it is a `kind`, else an empty one."""
    return schema[key] if isinstance(schema.get(key), kind) else kind()


def plain(name: str) -> str:
    """A name that a model wrote, on one line and not too long."""
    return SHORT.repr(name)[1:-1]


def standardize(text: str) -> str:
    """BFCL's form of a string, in which "April 1, 2024" and "april 1 2024" are equal."""
    return re.sub(r"[ ,./\-_*^]", "", text).lower().replace("'", '"')
