"""Ask the validation rows: does the model make the calls that they make?

A row is asked as it stands, up to its first answer with a call of a tool. That answer is the wanted
one. A row is left out if training has the same first request: the model has seen the answer.
"""

import ast
import builtins
import copy
from collections import Counter
from pathlib import Path

from calls import called, invented, parse
from rows import evenly, first_request, read_rows
from score import EXECUTE_CODE, calls_in_text, format_of
from stats import mean, wilson

MARKS = ("format", "tools", "arguments")  # each one requires the one before
BUDGET = 512  # tokens for an answer, as most prompts of the suite have


def rows_to_ask(
    data: Path, limit: int, tools: set[str], chosen: int | None = None
) -> tuple[list[dict], int]:
    """The rows of unseen_calls() in a folder, and how many rows are left out.

    With a `limit` above 0, at most so many rows are taken. `chosen` is SELECT_ROWS if SELECT=calls:
    by these rows the checkpoint was chosen, so their share of right calls would be too high. They
    are left out.
    """
    train, valid = (read_rows(data / f"{split}.jsonl") for split in ("train", "valid"))
    found, left_out = unseen_calls(train, valid, tools)
    seen = [] if chosen is None else evenly(found, chosen)
    others = [row for row in found if row not in seen]
    return evenly(others, limit), left_out + len(seen)


def unseen_calls(train, valid, tools: set[str]) -> tuple[list[dict], int]:
    """([{id, messages, max_tokens, wanted}], how many more have a prompt that is in training).

    A row is up to its first answer that calls a tool. `wanted` is the text of that answer.
    """
    trained = {first_request(messages) for _, messages in train}
    found, left_out = [], 0
    for place, messages in valid:
        turn = first_call(messages, tools)
        if turn is None:
            continue
        if first_request(messages) in trained:
            left_out += 1
            continue
        row = {"id": place.replace(".jsonl", ""), "messages": messages[:turn]}
        found.append(row | {"max_tokens": BUDGET, "wanted": messages[turn]["content"]})
    return found, left_out


def first_call(messages: list[dict], tools: set[str]) -> int | None:
    """The index of the first answer that calls a tool."""
    for turn, message in enumerate(messages):
        calls = calls_in_text(message["content"]) if message["role"] == "assistant" else []
        if tool_calls(calls, tools):
            return turn
    return None


def tool_calls(calls: list[dict], tools: set[str]) -> list[tuple[str, str]]:
    """(name, arguments) of each call of a tool, in order. Calls of invented names are listed too.

    The arguments are Python in one spelling. A variable is its value if that stands in the program,
    else `_`: its name does not matter.
    """
    found = []
    for call in calls:
        if call["name"] == EXECUTE_CODE:
            code = str(call["arguments"].get("code", ""))
            known, values = tools.union(invented(code, tools)), literals(code)
            found += [(name, spell(*rest, values)) for name, *rest in called(code) if name in known]
        else:
            pairs = sorted(call["arguments"].items())
            found.append((call["name"], ", ".join(f"{key}={value!r}" for key, value in pairs)))
    return found


def literals(code: str) -> dict[str, ast.expr]:
    """Name -> value of each variable that is bound once, to a literal or to the items of one."""
    nodes = list(ast.walk(parse(code) or ast.Module([], [])))
    bound = Counter(node.id for node in nodes if is_stored(node))
    values = {}
    for node in nodes:
        match node:
            case ast.Assign([ast.Name(name)], value) | ast.For(ast.Name(name), value):
                if bound[name] == 1 and not any(isinstance(n, ast.Name) for n in ast.walk(value)):
                    values[name] = value
    return values


def is_stored(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)


def spell(positional: list[ast.expr], keywords: dict, values: dict) -> str:
    """The arguments of a call, as Python."""
    named = [ast.keyword(key, value) for key, value in sorted(keywords.items(), key=str)]
    call = copy.deepcopy(ast.Call(ast.Name("f"), positional, named))
    for node in ast.walk(call):
        if isinstance(node, ast.Name) and not hasattr(builtins, node.id):
            node.id = ast.unparse(values[node.id]) if node.id in values else "_"
    return ast.unparse(call)[2:-1]


def mark(row: dict, answer: dict, tools: set[str]) -> dict:
    """Which of MARKS an answer gets, and the calls that were wanted and that came."""
    calls = calls_in_text(row["wanted"])
    wanted, got = tool_calls(calls, tools), tool_calls(answer["calls"], tools)
    same_format = format_of(calls) == format_of(answer["calls"])
    same_tools = same_format and [name for name, _ in wanted] == [name for name, _ in got]
    return {
        "id": row["id"],
        "question": row["messages"][-1]["content"],
        "wanted": [f"{name}({arguments})" for name, arguments in wanted],
        "got": [f"{name}({arguments})" for name, arguments in got],
        "format": same_format,
        "tools": same_tools,
        "arguments": same_tools and wanted == got,
        "cut_off": answer.get("finish_reason") == "length",
        "text": answer["text"],
    }


def summarize_calls(marked: list[dict], left_out: int) -> dict:
    """`calls` of eval.json: the share of the rows that has each mark, and every row."""
    right = sum(entry["arguments"] for entry in marked)
    return {
        "n": len(marked),
        "left_out": left_out,
        **{name: mean([entry[name] for entry in marked]) for name in MARKS},
        "ci95": wilson(right, len(marked)),
        "rows": marked,
    }
