"""Will the server return the calls that training teaches, and does the scorer value them right?

`mlx_lm server` reads a model's answers with the tool parser that the tokenizer's files name or
suggest. For Qwen3's template it suggests one that reads none of the 1,074 calls of Phase 33b's
rows: a perfect model would have scored near zero. So every call of the training rows goes through
that parser. If it loses any, the others are tried.
"""

import re

from arguments import named_calls
from calls import EXECUTE_CODE, called_names
from checks import finding
from client import read_answer
from rows import assistant_texts
from score import calls_in_text, code_of, score_answer
from served import make_machine, parse_calls, served_response, split_text, tags, tool_parsers
from server import ServerError
from show import some
from tools import schemas_of

NAME = re.compile(r"[A-Za-z_][\w.-]*")
PLAIN = ("json_tools", "qwen3_coder")  # tried before others, which fall back on their formats
NO_TOOL = "some_other_function"
NO_TOOL_CALLED = "a call of no tool in TOOLS"
# Known answers, made of the calls in the validation rows -> what the scorer must do with them
INSTRUMENT = {
    "gold": "score 1.0 in all scales",
    "prose": "score 0 in the strict scale as prose",
    "direct": "score 0.5 as direct calls, where a program is wanted",
    "wrong_tool": "score 0.1 with another tool",
    "wrong_argument": "score 0 in the exact scale with another argument",
}


def count_calls(text: str, pair: tuple[str, str]) -> int:
    """How many whole tool calls between the tags `pair` stand in `text`."""
    start, end = map(re.escape, pair)
    return len(re.findall(f"{start}.*?{end}", text, re.DOTALL))


def find_tags(rows: list) -> tuple[tuple[str, str], int]:
    """(the tags of a known parser that stand around most calls, how many calls these are).

    The tags of other parsers may stand in prose, or in the code of a call.
    """
    pairs = sorted({tags(name) for name in tool_parsers()})
    counts = dict.fromkeys(pairs, 0)
    for _, text in assistant_texts(rows):
        for pair in pairs:
            counts[pair] += count_calls(text, pair)
    pair = max(pairs, key=counts.get)
    return pair, counts[pair]


def is_function(call: dict) -> bool:
    """Has a parsed call the name of a function, and arguments by name?"""
    return bool(NAME.fullmatch(str(call.get("name")))) and call["arguments"].startswith("{")


def count_kept(tokenizer, parser: str, rows: list, pair: tuple[str, str]) -> tuple[int, list[str]]:
    """(how many calls between `pair` the parser keeps, the places of the rows that lose one).

    Some parsers do not fail on another's format, and return the whole text as a name. Such a call
    is lost, too.
    """
    machine, total, losing = make_machine(tokenizer, parser), 0, []
    for place, text in assistant_texts(rows):
        if written := count_calls(text, pair):
            calls = parse_calls(parser, split_text(machine, text)[1])
            kept = sum(is_function(call["function"]) for call in calls)
            total += kept
            if kept < written:
                losing.append(place)
    return total, losing


def check_parser(tokenizer, rows: list) -> tuple[list[dict], dict]:
    """Which parser keeps every tool call of the training rows? The facts name it."""
    pair, total = find_tags(rows)
    inferred = tokenizer.init_kwargs.get("tool_parser_type")
    facts = {"tool_calls": total, "tool_parser_inferred": inferred, "tool_parser": inferred}
    what = "tool calls of the training rows through the server's parser"
    if not total:
        evidence = "the training rows hold no tool call that mlx-lm can read"
        fix = "rows that call tools are what this recipe trains on"
        return [finding("served.parser", "fail", what, evidence, fix)], facts
    kept, losing = {}, {}
    for name in dict.fromkeys((inferred, *PLAIN, *tool_parsers())):
        if name and (name == inferred or tags(name) == pair):
            kept[name], losing[name] = count_kept(tokenizer, name, rows, pair)
            if kept[name] == total:
                break
    best = max(kept, key=kept.get)
    facts["calls_kept_inferred"] = kept.get(inferred, 0)
    evidence = f"the server would use no parser and return none of {total:,} as calls"
    if inferred:
        evidence = f"{inferred}, which the server would use, keeps {kept[inferred]:,} of {total:,}"
    level, fix = "ok", ""
    if kept[best] < total:
        level, fix = "fail", "write these calls in one format that mlx_lm.tool_parsers reads"
        evidence += f"; {best}, the best, loses calls in {some(losing[best])}"
    elif best != inferred:
        level = "warn"  # without a fix: nothing is to be done
        evidence += f"; {best} keeps all, and quantize names it in q5"
        facts["tool_parser"] = best
    return [finding("served.parser", level, what, evidence, fix)], facts


def tools_called(text: str) -> list[str]:
    """Every function that an answer calls: those in the code of execute_code, then by tool call."""
    calls = calls_in_text(text)
    in_code = [name for code in code_of(calls) for name in called_names(code)]
    return in_code + [call["name"] for call in calls]


def acceptable(value):
    """A value as the answers of a suite have it: each key of an object has a list of values."""
    if isinstance(value, dict):
        return {key: [acceptable(item)] for key, item in value.items()}
    return [acceptable(item) for item in value] if isinstance(value, list) else value


def known_answers(text: str, schemas: dict[str, dict], call_format: str):
    """Yield (case of INSTRUMENT, answer, prompt, scores): what a row's answer `text` can test.

    The scores are score, strict_score and exact_score; None stands for any.
    """
    calls = named_calls(calls_in_text(text), schemas)
    answers = [{"name": c["name"], "arguments": acceptable(c["arguments"])} for c in calls]
    known = schemas.keys() - {EXECUTE_CODE}
    tools = [name for name in dict.fromkeys(tools_called(text)) if name in known]
    prompt = {"keywords": tools, "multi": len(tools) > 1, "answers": answers}
    gold = prompt if tools else prompt | {"keywords": [NO_TOOL_CALLED]}
    yield "gold", text, gold, (1.0, 1.0, 1.0)
    for tool in tools[:1]:
        one = prompt | {"keywords": [tool], "multi": False}
        yield "prose", f"I would call {tool}() for that.", one, (None, 0.0, 0.0)
        if call_format == "program":
            yield "direct", text.replace(EXECUTE_CODE, tool), one, (0.5, 0.5, 0.0)
        end = "(?!>)" if call_format == "program" else ""  # not the tag of a parameter
        other = re.sub(rf"\b{re.escape(tool)}\b{end}", NO_TOOL, text)
        yield "wrong_tool", other, one, (0.1, 0.1, 0.0)
    for n, answer in enumerate(answers):
        for key in list(answer["arguments"])[:1]:
            other = answer | {"arguments": answer["arguments"] | {key: ["?!"]}}
            others = [*answers[:n], other, *answers[n + 1 :]]
            yield "wrong_argument", text, prompt | {"answers": others}, (None, None, 0.0)


def wrong_scores(answer: dict, prompt: dict, scores: tuple, *how) -> str:
    """What scores an answer gets, if they are not these; else ""."""
    got = score_answer(prompt, answer["text"], answer["calls"], *how)
    found = [got[key] for key in ("score", "strict_score", "exact_score")]
    pairs = zip(scores, found, strict=True)
    if all(score is None or abs(score - value) < 1e-9 for score, value in pairs):
        return ""
    shown = f"{found[0]:.2f}, strict {found[1]:.2f}, exact {found[2]:.0f}"
    reason = f" ({got['reason']})" if got["reason"] else ""
    return f"{shown} for {', '.join(prompt['keywords'])}{reason}"


def check_instrument(
    tokenizer, parser: str, rows: list, schemas: dict[str, dict], call_format: str
) -> list[dict]:
    """Does the scorer give known answers the scores they deserve, through the server's parser?"""
    machine, count = make_machine(tokenizer, parser), 0
    wrong = {case: [] for case in INSTRUMENT if (case, call_format) != ("direct", "json")}
    for place, row in rows:
        own = schemas | schemas_of(row.get("tools", []))  # another row's may have the same name
        if call_format == "program":  # TOOLS may have other signatures than the rows' programs
            own = dict.fromkeys(own, {})
        texts = [text for _, text in assistant_texts([(place, row)])]
        texts = [text for text in texts if count_calls(text, tags(parser))]
        count += len(texts)
        known = [case for text in texts for case in known_answers(text, own, call_format)]
        for case, said, prompt, scores in known:
            try:
                answer = read_answer(served_response(tokenizer, machine, parser, said), tokenizer)
                problem = wrong_scores(answer, prompt, scores, own, call_format)
            except ServerError as error:
                problem = str(error)
            if problem:
                wrong[case].append(f"{place}: {problem}")
    findings = []
    for case, places in wrong.items():
        level, evidence = "ok", f"{count:,} known answers {INSTRUMENT[case]}"
        if not count:
            level, evidence = "fail", "the validation rows hold no tool call to test with"
        if places:
            level, evidence = "fail", some(places, 2)
        what = "known answers through the server's parser and the scorer"
        fix = "a live answer would be scored wrongly too: mend the row, or the scorer"
        findings.append(finding(f"instrument.{case}", level, what, evidence, fix))
    return findings
