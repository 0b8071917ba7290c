"""What one answer is worth.

`score` is the rule Phase 33b was scored by: for one tool, 1.0 when execute_code was called and
a keyword stands in its code, 0.5 for a keyword without execute_code, 0.1 for execute_code
without a keyword, else 0; for several tools, the share of the keywords found, plus 0.1 for
execute_code, at most 1. It gives 0.5 to prose that only names a tool, so `strict_score` stands
beside it: the same scale, but a tool counts only where it is really called. The code is parsed
with `ast` and never run.
"""

import ast
import json
import re

from mlx_lm.tool_parsers import json_tools, qwen3_coder

PASS_SCORE = 0.5
EXECUTE_CODE = "execute_code"
TOOL_CALL = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)


def calls_in_text(text: str) -> list[dict]:
    """Every whole tool call written in `text`, as {"name", "arguments"} in order.

    Reads both formats that Qwen models write, with mlx-lm's own parsers; a call cut off in the
    middle is no call.
    """
    calls = []
    for body in TOOL_CALL.findall(text):
        for parser in (qwen3_coder, json_tools):
            try:
                call = parser.parse_tool_call(body.strip())
            except ValueError:
                continue
            if isinstance(call, dict) and isinstance(call.get("arguments"), dict):
                calls.append(call)
                break
    return calls


def calls_from_server(tool_calls: list[dict]) -> list[dict]:
    """The `tool_calls` of an OpenAI-style message, as {"name", "arguments"}."""
    calls = []
    for call in tool_calls:
        function = call.get("function", {})
        try:
            arguments = json.loads(function.get("arguments") or "{}")
        except ValueError:
            arguments = {}
        calls.append({"name": function.get("name", ""), "arguments": arguments})
    return calls


def code_of(calls: list[dict]) -> list[str]:
    """The program of every execute_code call."""
    return [
        str(call["arguments"].get("code", "")) for call in calls if call["name"] == EXECUTE_CODE
    ]


def called_names(code: str) -> list[str]:
    """Names of the functions that `code` calls, in source order; [] if it does not parse."""
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError):
        return []
    calls = [
        node for node in ast.walk(tree) if isinstance(node, ast.Call) and hasattr(node.func, "id")
    ]
    calls.sort(key=lambda node: (node.lineno, node.col_offset))
    return [node.func.id for node in calls]


def rate(multi: bool, wanted: int, found: int, executed: bool) -> float:
    """The scale both scores share: `found` of `wanted` tools, with or without execute_code."""
    if multi:
        return min(1.0, found / wanted + (0.1 if executed else 0.0))
    if found:
        return 1.0 if executed else 0.5
    return 0.1 if executed else 0.0


def score_answer(prompt: dict, text: str, calls: list[dict]) -> dict:
    """Score one answer to a suite's `prompt`.

    `text` is all the model wrote, `calls` its tool calls. Returns score, strict_score, format
    ("execute_code" | "direct" | "none"), tools_called and keywords_found.
    """
    codes = code_of(calls)
    direct = [call["name"] for call in calls if call["name"] != EXECUTE_CODE]
    called = [name for code in codes for name in called_names(code)]
    searched = "\n".join(codes) if codes else text
    keywords = prompt["keywords"]
    found = [keyword for keyword in keywords if keyword in searched]
    really = [keyword for keyword in keywords if keyword in (called if codes else direct)]
    return {
        "score": rate(prompt["multi"], len(keywords), len(found), bool(codes)),
        "strict_score": rate(prompt["multi"], len(keywords), len(really), bool(codes)),
        "format": EXECUTE_CODE if codes else "direct" if direct else "none",
        "tools_called": called + direct,
        "keywords_found": found,
    }
