"""Will the server return the calls that training teaches, and does the scorer value them right?

`mlx_lm server` reads a model's answers with the tool parser that the tokenizer's files name or
suggest. Of the 1,074 calls in Phase 33b's rows the parser suggested by Qwen3's template reads
none: a perfect model would have scored near zero. So every call of the training rows goes through
that parser, and when it loses any, through the others.
"""

import re
from collections import Counter

from calls import called_names
from checks import finding
from client import read_answer
from score import EXECUTE_CODE, calls_in_text, code_of, score_answer
from served import make_machine, parse_calls, served_response, split_text, tags, tool_parsers
from server import ServerError
from show import some

NAME = re.compile(r"[A-Za-z_][\w.-]*")
PLAIN = ("json_tools", "qwen3_coder")  # before others that fall back on one of these formats
NO_TOOL = "some_other_function"
# A case of known answers -> what they must do. They are made of the validation rows' gold calls.
INSTRUMENT = {
    "gold": "score 1.0 in both scales",
    "prose": "score 0 in the strict scale as prose",
    "direct": "score 0.5 as direct calls",
    "wrong_tool": "score 0.1 with another tool in the code",
}


def answers(rows):
    """(place, text) of every assistant message of the rows; `rows` yields (place, messages)."""
    for place, messages in rows:
        for message in messages:
            if message["role"] == "assistant":
                yield place, message["content"]


def count_calls(text: str, pair: tuple[str, str]) -> int:
    """How many whole tool calls between the tags `pair` stand in `text`."""
    start, end = map(re.escape, pair)
    return len(re.findall(f"{start}.*?{end}", text, re.DOTALL))


def find_tags(rows) -> tuple[tuple[str, str] | None, int]:
    """(the tags that the rows write their tool calls between, how many calls there are).

    Of the formats that mlx-lm knows: another's tag may stand in prose or in the code of a call.
    """
    pairs = {tags(name) for name in tool_parsers()}
    counts = Counter()
    for _, text in answers(rows):
        counts.update({pair: n for pair in pairs if (n := count_calls(text, pair))})
    pair = max(sorted(counts), key=counts.get, default=None)
    return pair, counts[pair]


def is_function(call: dict) -> bool:
    """Has a parsed call the name of a function and an object of arguments?"""
    return bool(NAME.fullmatch(str(call.get("name")))) and call["arguments"].startswith("{")


def count_kept(tokenizer, parser: str, rows, pair: tuple[str, str]) -> tuple[int, list[str]]:
    """(how many calls between `pair` the parser keeps, the places of the first rows that lose one).

    A call is kept when it comes back as that of a function: some parsers do not fail on another's
    format, but return the whole text as a name.
    """
    machine, total, losing = make_machine(tokenizer, parser), 0, []
    for place, text in answers(rows):
        if written := count_calls(text, pair):
            calls = parse_calls(parser, split_text(machine, text)[1])
            kept = sum(is_function(call["function"]) for call in calls)
            total += kept
            if kept < written and len(losing) < 3:
                losing.append(place)
    return total, losing


def check_parser(tokenizer, train) -> tuple[list[dict], dict]:
    """Which parser keeps every tool call of the training rows? The facts name it.

    `train()` gives the rows as (place, messages), each time from the first.
    """
    pair, total = find_tags(train())
    inferred = tokenizer.init_kwargs.get("tool_parser_type")
    facts = {"tool_calls": total, "tool_parser_inferred": inferred, "tool_parser": inferred}

    def found(level: str, evidence: str, fix: str = "") -> tuple[list[dict], dict]:
        what = "tool calls of the training rows through the server's parser"
        return [finding("served.parser", level, what, evidence, fix)], facts

    if not total:
        fix = "rows that call tools are what this recipe trains on"
        return found("fail", "the training rows hold no tool call that mlx-lm can read", fix)
    kept = count_kept(tokenizer, inferred, train(), pair)[0] if inferred else 0
    facts["calls_kept_inferred"] = kept
    if kept == total:
        return found("ok", f"{inferred} keeps {kept:,} of {total:,}")
    lost = f"the server would use no parser and return none of {total:,} as calls"
    if inferred:
        lost = f"{inferred}, which the server would use, keeps {kept:,} of {total:,}"
    best = (0, "", [])
    for name in dict.fromkeys((*PLAIN, *tool_parsers())):
        if tags(name) != pair or name == inferred:
            continue
        kept, losing = count_kept(tokenizer, name, train(), pair)
        if kept == total:
            facts["tool_parser"] = name
            fix = f"nothing to do: quantize names {name} in q5's tokenizer_config.json"
            return found("warn", f"{lost}; {name} keeps all", fix)
        best = max(best, (kept, name, losing))
    if best[0]:
        lost += f"; the best other, {best[1]}, loses calls in {some(best[2])}"
    return found("fail", lost, "write these calls in one format that mlx_lm.tool_parsers reads")


def tools_called(text: str) -> list[str]:
    """Every function that an answer calls: those in the code of execute_code, then by tool call."""
    calls = calls_in_text(text)
    in_code = [name for code in code_of(calls) for name in called_names(code)]
    return in_code + [call["name"] for call in calls]


def check_instrument(tokenizer, parser: str, rows, tools: set[str]) -> list[dict]:
    """Does the scorer give known answers the worth they have, through the server's parser?"""
    machine, known = make_machine(tokenizer, parser), tools - {EXECUTE_CODE}
    wrong, count = {case: [] for case in INSTRUMENT}, 0

    def expect(case: str, place: str, text: str, wanted: list[str], *scores: float | None):
        """Note under `case` when the answer's scores are not these; None stands for any."""
        try:
            answer = read_answer(served_response(tokenizer, machine, parser, text), tokenizer)
        except ServerError as error:
            wrong[case].append(f"{place}: {error}")
            return
        prompt = {"multi": len(wanted) > 1, "keywords": wanted}
        got = score_answer(prompt, answer["text"], answer["calls"])
        pairs = zip(scores, (got["score"], got["strict_score"]), strict=True)
        if any(score is not None and abs(score - value) > 1e-9 for score, value in pairs):
            wrong[case].append(
                f"{place}: {got['score']:.2f}, strict {got['strict_score']:.2f}"
                f" for {', '.join(wanted) or 'no known tool'}"
            )

    for place, text in answers(rows):
        if not count_calls(text, tags(parser)):
            continue
        count += 1
        wanted = [name for name in dict.fromkeys(tools_called(text)) if name in known]
        expect("gold", place, text, wanted or ["no known tool"], 1.0, 1.0)
        for tool in wanted[:1]:
            expect("prose", place, f"I would call {tool}() for that.", [tool], None, 0.0)
            direct = text.replace(EXECUTE_CODE, tool)
            expect("direct", place, direct, [tool], 0.5, 0.5)
            other = re.sub(rf"\b{re.escape(tool)}\b(?!>)", NO_TOOL, text)
            expect("wrong_tool", place, other, [tool], 0.1, 0.1)
    findings = []
    for case, right in INSTRUMENT.items():
        level, evidence = "ok", f"{count:,} gold calls {right}"
        if not count:
            level, evidence = "fail", "the validation rows hold no tool call to calibrate with"
        if wrong[case]:
            level, evidence = "fail", some(wrong[case], 2)
        what = "known answers through the server's parser and the scorer"
        fix = "a live answer would be scored wrongly too: mend the row, or the scorer"
        findings.append(finding(f"instrument.{case}", level, what, evidence, fix))
    return findings
