"""Are an answer's calls the right ones, with the right arguments?

The rules are those of the Berkeley Function Calling Leaderboard (BFCL): an argument has a list of
acceptable values, with "" among them if it may be left out. tests/bench_bfcl.py compares the two.
"""

import re
import reprlib

SHORT = reprlib.Repr()  # a model can write values of any length and depth
SHORT.maxstring = 60


def reason(calls: list[dict], answers, schemas: dict[str, dict], loose: bool = False) -> str:
    """Why `calls` are not the right ones, in one line; "" if they are.

    `calls` are {"name", "arguments"}. `answers` are those of a prompt in a suite, but not None.
    `schemas` maps the name of a tool to its JSON schema; a tool may be missing.
    """
    if not calls:
        return "no call" if answers else ""
    if answers == "any":
        return ""
    if not answers:
        return "a call, where none is right"
    if len(calls) != len(answers):
        return f"{len(calls)} call{'s' * (len(calls) > 1)}, expected {len(answers)}"
    left = list(calls)
    for answer in answers:
        name, wanted, schema = answer["name"], answer["arguments"], schemas.get(answer["name"], {})
        named = [i for i, call in enumerate(left) if call["name"] == name]
        reasons = [wrong_object(left[i]["arguments"], wanted, schema, loose) for i in named]
        if not named:
            others = ", ".join(SHORT.repr(call["name"])[1:-1] for call in left)
            return f"calls {others}, not {name}"
        if "" not in reasons:
            return f"argument {reasons[0]}"
        left.pop(named[reasons.index("")])
    return ""


def wrong_object(values: dict, wanted: dict, schema: dict, loose: bool, path: str = "") -> str:
    """What is wrong with `values`; `wanted` has a list of acceptable values for each key."""
    # In BFCL an inner object sometimes has a plain value in place of the list.
    wanted = {name: of if isinstance(of, list) else [of] for name, of in wanted.items()}
    known = part(schema, "properties", dict)
    needed = [name for name, choices in wanted.items() if "" not in choices]
    for name in [*part(schema, "required", list), *needed]:
        if name not in values:
            return f"{path}{name}: missing"
    for name, value in values.items():
        # Some of BFCL's answers have arguments that their tool does not have.
        if name not in wanted or (known and not path and name not in known):
            return f"{path}{SHORT.repr(name)[1:-1]}: not expected"
        if why := wrong_value(value, wanted[name], part(known, name, dict), loose, path + name):
            return why
    return ""


def wrong_value(value, choices: list, schema: dict, loose: bool, path: str) -> str:
    """What is wrong with `value`, if it is none of `choices`."""
    others = [choice for choice in choices if choice != ""]
    own, shown = type_of(value), f"{path}: {SHORT.repr(value)}"
    types = part(schema, "type", list) or [schema["type"]] if "type" in schema else []
    types = types + [type_of(choice) for choice in others]  # BFCL has values that break the schema
    if types and own not in types and not (own == "integer" and "number" in types):
        return f"{shown} is {article(own)}, not {article(types[0])}"
    if value in ("", []) and "" in choices:  # given, but empty: as good as left out
        return ""
    reasons = [differs(value, choice, schema, loose, path) for choice in others]
    if "" in reasons or len(reasons) == 1:
        return "" if "" in reasons else reasons[0]
    return f"{shown} not among {SHORT.repr(choices)[1:-1]}"


def differs(value, choice, schema: dict, loose: bool, path: str) -> str:
    """How `value` differs from one acceptable value."""
    match value, choice:
        case dict(), dict():
            return wrong_object(value, choice, schema, loose, path + ".")
        case list(), list() if len(value) == len(choice):
            inner = part(schema, "items", dict)
            for i, item in enumerate(value):
                if why := wrong_value(item, [choice[i]], inner, loose, f"{path}[{i}]"):
                    return why
            return ""
        case str(), str() if loose and standardize(value) == standardize(choice):
            return ""
    same = value == choice and isinstance(value, bool) == isinstance(choice, bool)
    return "" if same else f"{path}: {SHORT.repr(value)} not among {SHORT.repr(choice)}"


def type_of(value) -> str:
    """The JSON type of a value."""
    names = {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer"}
    names |= {float: "number", type(None): "null"}
    return names.get(type(value), type(value).__name__)  # a program can have a tuple, too


def article(noun) -> str:
    return f"an {noun}" if noun in ("array", "integer", "object") else f"a {noun}"


def part(schema: dict, key: str, kind: type):
    """schema[key] if it is a `kind`, else an empty one."""
    return schema[key] if isinstance(schema.get(key), kind) else kind()


def standardize(text: str) -> str:
    """BFCL's form of a string, in which "April 1, 2024" and "april 1 2024" are equal."""
    return re.sub(r"[ ,./\-_*^]", "", text).lower().replace("'", '"')
