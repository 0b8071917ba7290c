"""How often do py/exact.py and BFCL's own checker agree? Each difference is named.

    bin/python tests/bench_bfcl.py

The answers are the right ones of BFCL's categories in Python, and each of them broken in every way
below. A difference that none of CAUSES explains makes it exit 1.

Java and JavaScript are not compared: there BFCL wants each argument as a string of source code.
"""

import re
import sys
import types
from collections import Counter

import conftest  # noqa: F401 - makes py/ importable
from bfcl import read_rows, suite_of
from exact import reason
from show import table

CATEGORIES = ["simple_python", "multiple", "parallel", "parallel_multiple"]
CATEGORIES += ["live_simple", "live_multiple", "live_parallel", "live_parallel_multiple"]

# (who is stricter, in which kinds of answers, what the stricter one says, why)
CAUSES = [
    (
        "ours stricter",
        "in an object: (float for integer|boolean for number|integer for boolean)",
        "is an? (number|boolean|integer), not an? (integer|boolean)$",
        "BFCL does not check types inside an object: 20.0 counts for 20, and true for 1",
    ),
    (
        "ours stricter",
        "in a list: in a list: float for integer",
        r"\]\[.* is a number, not an integer$",
        "BFCL does not check types in a list of lists: 20.0 counts for 20",
    ),
    (
        "ours looser",
        "in a list: integer for float",
        "Nested type checking failed",
        "BFCL takes an integer for a float, but not in a list",
    ),
    (
        "ours looser",
        "in an object: in a list: other case and punctuation",
        "value_error:dict_value",
        "BFCL compares strings exactly if they are in a list in an object",
    ),
    (
        "ours looser",
        "other (case and punctuation|quotes)",
        "value_error:others",
        "BFCL compares a string exactly if the schema wants another type there",
    ),
]


def load_checker():
    """BFCL's ast_checker. The stand-in is for a module that imports the client of every vendor."""
    stand_in = types.ModuleType("bfcl_eval.constants.model_config")
    stand_in.MODEL_CONFIG_MAPPING = {"model": types.SimpleNamespace(underscore_to_dot=False)}
    sys.modules.setdefault(stand_in.__name__, stand_in)
    from bfcl_eval.constants.enums import Language
    from bfcl_eval.eval_checker.ast_eval.ast_checker import ast_checker

    def check(functions: list, calls: list, truth: list, category: str) -> str:
        """What BFCL finds wrong with the calls; "" for nothing."""
        output = [{call["name"]: call["arguments"]} for call in calls]
        result = ast_checker(functions, output, truth, Language.PYTHON, category, "model")
        return "" if result["valid"] else f"{result['error_type']} {result['error']}"

    return check


def right_value(choice):
    """An acceptable value as a model would write it."""
    match choice:
        case dict():
            return right_arguments(choice)
        case list():
            return [right_value(item) for item in choice]
    return choice


def right_arguments(wanted: dict) -> dict:
    """The first acceptable value of each argument. One that can only be left out is left out."""
    values = {}
    for name, choices in wanted.items():
        choices = choices if isinstance(choices, list) else [choices]
        others = [choice for choice in choices if choice != ""]
        if others:
            values[name] = right_value(others[0])
    return values


def broken_values(value):
    """(kind of breakage, value) for each way to break a value."""
    yield "null", None
    match value:
        case bool():
            yield "wrong value", not value
            yield "integer for boolean", int(value)
            yield "string for boolean", str(value)
        case int() | float():
            yield "wrong value", value + 1
            yield "string for number", str(value)
            if isinstance(value, int):
                yield "float for integer", float(value)
            elif value.is_integer():
                yield "integer for float", int(value)
            if value in (0, 1):
                yield "boolean for number", bool(value)
        case str():
            yield "wrong value", value + "x"
            yield "other case and punctuation", f" {value.swapcase()}."
            yield "other quotes", value.replace("'", '"')
            yield "number for string", 7
        case list():
            yield "string for list", str(value)
            yield "empty list", []
            yield "list item too many", value + value[-1:]
            yield "list item too few", value[:-1]
            yield "list in other order", value[::-1]
            for i, item in enumerate(value):
                for kind, other in broken_values(item):
                    yield f"in a list: {kind}", [*value[:i], other, *value[i + 1 :]]
        case dict():
            yield "string for object", str(value)
            yield "empty object", {}
            yield "object key too many", value | {"extra": 1}
            for key, item in value.items():
                yield "object key left out", {k: v for k, v in value.items() if k != key}
                for kind, other in broken_values(item):
                    yield f"in an object: {kind}", value | {key: other}


def broken_arguments(values: dict, wanted: dict):
    """(kind of breakage, arguments) for each way to break the arguments of a call."""
    yield "argument not expected", values | {"extra_argument": 1}
    for name, choices in wanted.items():
        others = {key: value for key, value in values.items() if key != name}
        optional = "" in choices
        if name in values:
            yield "optional left out" if optional else "argument missing", others
            for kind, value in broken_values(values[name]):
                yield kind, values | {name: value}
        for other in choices:
            yield "other right value", others | {name: right_value(other)}
        if optional:
            for empty in ("", [], {}):
                yield "optional, but empty", others | {name: empty}


def answers_to(prompt: dict):
    """(kind of answer, calls) for the right answer to a prompt, and every broken one."""
    right = [
        {"name": answer["name"], "arguments": right_arguments(answer["arguments"])}
        for answer in prompt["answers"]
    ]
    yield "right", right
    yield "no call", []
    yield "one call too many", right + right[:1]
    if len(right) > 1:
        yield "one call too few", right[:-1]
        yield "one call twice", right[:-1] + right[:1]
        yield "calls in other order", right[::-1]
    for i, (call, answer) in enumerate(zip(right, prompt["answers"], strict=True)):
        yield "wrong name", [*right[:i], call | {"name": call["name"] + "_x"}, *right[i + 1 :]]
        for kind, values in broken_arguments(call["arguments"], answer["arguments"]):
            yield kind, [*right[:i], call | {"arguments": values}, *right[i + 1 :]]


def compare(category: str, check, step: int = 1):
    """(id, kind of answer, our reason, theirs) for every answer to each step-th prompt."""
    rows = read_rows(f"BFCL_v4_{category}.json")
    truths = read_rows(f"possible_answer/BFCL_v4_{category}.json")
    prompts = suite_of(category)["prompts"]
    for row, truth, prompt in list(zip(rows, truths, prompts, strict=True))[::step]:
        tools = [tool["function"] for tool in prompt["tools"]]
        schemas = {tool["name"]: tool["parameters"] for tool in tools}
        for kind, calls in answers_to(prompt):
            ours = reason(calls, prompt["answers"], schemas, loose=True)
            theirs = check(row["function"], calls, truth["ground_truth"], category)
            yield prompt["id"], kind, ours, theirs


def verdict(ours: str, theirs: str) -> str:
    if bool(ours) == bool(theirs):
        return "both reject" if ours else "both accept"
    return "ours stricter" if ours else "ours looser"


def cause(kind: str, ours: str, theirs: str) -> str:
    """Why the two differ about an answer; "" if that is not known."""
    for result, kinds, words, why in CAUSES:
        if result == verdict(ours, theirs) and re.search(words, ours or theirs):
            if re.search(f"(^|: ){kinds}$", kind):
                return why
    return ""


def print_counts(head: str, counts: Counter) -> None:
    """A table of {(name, verdict): count}."""
    rows = [[head, "answers", "agree", "both accept", "ours stricter", "ours looser"]]
    for name in dict.fromkeys(name for name, _ in counts):
        accept, reject, *differ = (
            counts[name, result]
            for result in ("both accept", "both reject", "ours stricter", "ours looser")
        )
        agree = accept + reject
        rows.append([name, *(f"{n:,}" for n in (agree + sum(differ), agree, accept, *differ))])
    print(table(rows), end="\n\n")


def main() -> int:
    check = load_checker()
    by_category, by_kind, by_cause, examples = Counter(), Counter(), Counter(), {}
    for category in CATEGORIES:
        for id, kind, ours, theirs in compare(category, check):
            result = verdict(ours, theirs)
            by_category[category, result] += 1
            by_kind[re.sub("(in an? [a-z]+: )+", r"\1", kind), result] += 1
            if bool(ours) != bool(theirs):
                why = cause(kind, ours, theirs) or "UNKNOWN"
                by_cause[result, why] += 1
                examples.setdefault(why, f"{id}, {kind}: {ours or theirs}")
    print_counts("category", by_category)
    print_counts("kind of answer", by_kind)
    for (result, why), count in by_cause.most_common():
        print(f"{count} {result}: {why}\n    {examples[why][:400]}")
    print(f"{by_category.total():,} answers, {by_cause.total()} differences")
    return int("UNKNOWN" in examples)


if __name__ == "__main__":
    sys.exit(main())
