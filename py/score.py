"""Score one answer.

`score` follows the rule of Phase 33b. For one tool it is 1.0 if execute_code was called and its
code contains a keyword, 0.5 for a keyword without execute_code, 0.1 for execute_code without a
keyword, else 0. For several tools it is the share of the keywords found, plus 0.1 for execute_code,
at most 1. A keyword is looked for as text: prose gets 0.5, and `cst_find_pattern` is found in
`cst_find_pattern_all()`.

`strict_score` has the same scale, but a tool counts only if it is really called (calls.py), and
several tools only in the order that was asked for.

With CALL_FORMAT=json the rows have no execute_code: a call by name then counts as one in code does.

`exact_score` is for prompts with `answers`: 1 if the calls have the right names and arguments, else
0 with a `reason` (exact.py). A prompt that has no keywords has this one as all its scores.
"""

import json
import re

from mlx_lm.tool_parsers import json_tools, qwen3_coder

from arguments import named_calls
from calls import EXECUTE_CODE, called_names, invented
from exact import reason
from rows import assistant_texts
from tools import schemas_of

PARSERS = {"qwen3_coder": qwen3_coder, "json_tools": json_tools}  # Qwen models write both formats
TOOL_CALL = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)


def parsed_calls(text: str, tools: list | None = None) -> list[tuple[str, dict]]:
    """(name of the parser, {"name", "arguments"}) of every whole tool call in `text`, in order.

    In one of the two formats every argument is text. The schemas in `tools` give it a type.
    """
    found = [parse_call(body.strip(), tools) for body in TOOL_CALL.findall(text)]
    return [call for call in found if call]


def parse_call(body: str, tools: list | None) -> tuple[str, dict] | None:
    """The same for the text between the tags of one call. None if it is no call."""
    for name, parser in PARSERS.items():
        try:
            call = parser.parse_tool_call(body, tools)
        except Exception:  # of many kinds, where a schema is odd or a value is
            continue
        match call:
            case {"name": str(), "arguments": dict()}:
                return name, call
    return None


def calls_in_text(text: str, tools: list | None = None) -> list[dict]:
    """Every whole tool call in `text`, as {"name", "arguments"}, in order."""
    return [call for _, call in parsed_calls(text, tools)]


def calls_from_server(tool_calls: list[dict]) -> list[dict]:
    """The `tool_calls` of an OpenAI-style message, as {"name", "arguments"}."""
    calls = []
    for call in tool_calls:
        arguments = call["function"].get("arguments") or {}
        if isinstance(arguments, str):  # OpenAI's format; some servers send the object itself
            try:
                arguments = json.loads(arguments)
            except (ValueError, RecursionError):
                arguments = {"cut off": arguments}
        if not isinstance(arguments, dict):
            arguments = {"arguments": arguments}
        calls.append({"name": str(call["function"].get("name") or ""), "arguments": arguments})
    return calls


def code_of(calls: list[dict]) -> list[str]:
    """The program of every execute_code call."""
    return [
        str(call["arguments"].get("code", "")) for call in calls if call["name"] == EXECUTE_CODE
    ]


def format_of(calls: list[dict]) -> str:
    """ "execute_code", "direct" or "none": how an answer calls its tools."""
    if code_of(calls):
        return EXECUTE_CODE
    return "direct" if calls else "none"


def call_format(rows) -> str:
    """ "program" if most calls in these rows are programs, else "json"."""
    calls = [call for _, text in assistant_texts(rows) for call in calls_in_text(text)]
    programs = len(code_of(calls))
    return "json" if len(calls) > 2 * programs else "program"


def in_order(wanted: list[str], called: list[str]) -> int:
    """The length of the longest common subsequence of the two."""
    best = [0] * (len(called) + 1)  # best[n] is that of `wanted` so far and the first n of `called`
    for name in wanted:
        previous = best.copy()
        for n, other in enumerate(called, start=1):
            best[n] = previous[n - 1] + 1 if other == name else max(previous[n], best[n - 1])
    return best[-1]


def rate(prompt: dict, found: int, executed: bool) -> float:
    """The scale of both scores, from the number of keywords found."""
    if prompt["multi"]:
        return min(1.0, found / len(prompt["keywords"]) + (0.1 if executed else 0.0))
    if found:
        return 1.0 if executed else 0.5
    return 0.1 if executed else 0.0


def strict_score(prompt: dict, called: list[str], direct: list[str], executed: bool) -> float:
    """The score that counts only real calls.

    `called` are the calls in the code, `direct` the tool calls other than execute_code.
    """
    keywords = prompt["keywords"]
    if prompt["multi"]:
        return rate(prompt, in_order(keywords, called if executed else direct), executed)
    in_code = len(set(keywords) & set(called))
    alone = len(set(keywords) & set(direct))
    return max(rate(prompt, in_code, executed), rate(prompt, alone, False))


def score_answer(
    prompt: dict,
    text: str,
    calls: list[dict],
    schemas: dict[str, dict] | None = None,
    call_format: str = "program",
) -> dict:
    """Score one answer to a suite's `prompt`: its whole `text`, and its tool `calls`.

    `schemas` has the tools, with the JSON schema of each one's arguments; those of the prompt come
    to it. `format` is that of format_of(). `invented` lists the names that the answer calls and
    that are neither a tool nor defined.
    """
    schemas = (schemas or {}) | schemas_of(prompt.get("tools", []))
    codes = code_of(calls)
    direct = [call["name"] for call in calls if call["name"] != EXECUTE_CODE]
    called = [name for code in codes for name in called_names(code)]
    made_up = [name for code in codes for name in invented(code, schemas)]
    made_up += [name for name in direct if name not in schemas]
    scored, found = {}, []
    if prompt.get("answers") is not None:
        named = named_calls(calls, schemas)
        wrong = reason(named, prompt["answers"], schemas, prompt.get("loose", False))
        if wrong == "no call" and "<tool_call>" in text:
            wrong = "a call that cannot be read"
        scored = dict.fromkeys(("score", "strict_score", "exact_score"), 0.0 if wrong else 1.0)
        scored["reason"] = wrong
    if prompt.get("keywords"):
        programs, names = codes, called
        if call_format == "json":  # there a call by name is what a program is elsewhere
            programs, names = [json.dumps(call, ensure_ascii=False) for call in calls], direct
        searched = "\n".join(programs) if programs else text
        found = [keyword for keyword in prompt["keywords"] if keyword in searched]
        scored["score"] = rate(prompt, len(found), bool(programs))
        scored["strict_score"] = strict_score(prompt, names, direct, bool(programs))
    return scored | {
        "format": format_of(calls),
        "tools_called": called + direct,
        "invented": list(dict.fromkeys(made_up)),
        "keywords_found": found,
    }
