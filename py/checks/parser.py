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


def count_kept(tokenizer, parsers: list[str], rows, pair: tuple[str, str]) -> dict[str, dict]:
    """{parser: {kept, size, losing}} for some parsers and the calls between `pair`, in one pass.

    `kept` calls come back as those of a function: some parsers do not fail on another's format, but
    return the whole text as a name. `size` is the length of their arguments, `losing` the places
    of the first rows that lose one.
    """
    machines = {tags(name): make_machine(tokenizer, name) for name in parsers}
    counts = {name: {"kept": 0, "size": 0, "losing": []} for name in parsers}
    for place, text in answers(rows):
        written = count_calls(text, pair)
        if not written:
            continue
        split = {own: split_text(machine, text)[1] for own, machine in machines.items()}
        for name, count in counts.items():
            calls = [call["function"] for call in parse_calls(name, split[tags(name)])]
            kept = [call for call in calls if is_function(call)]
            count["kept"] += len(kept)
            count["size"] += sum(len(call["arguments"]) for call in kept)
            if len(kept) < written and len(count["losing"]) < 3:
                count["losing"].append(place)
    return counts


def check_parser(tokenizer, train) -> tuple[list[dict], dict]:
    """Which parser keeps every tool call of the training rows? The facts name it.

    `train()` gives the rows as (place, messages), each time from the first.
    """
    pair, total = find_tags(train())
    inferred = tokenizer.init_kwargs.get("tool_parser_type")
    what = "tool calls of the training rows through the server's parser"
    facts = {"tool_calls": total, "tool_parser_inferred": inferred, "tool_parser": inferred}
    if not total:
        fix = "rows that call tools are what this recipe trains on"
        evidence = "the training rows hold no tool call in a format that mlx-lm reads"
        return [finding("served.parser", "fail", what, evidence, fix)], facts
    kept = 0
    if inferred:
        kept = count_kept(tokenizer, [inferred], train(), pair)[inferred]["kept"]
    facts["calls_kept_inferred"] = kept
    if kept == total:
        evidence = f"{inferred} keeps {kept:,} of {total:,}"
        return [finding("served.parser", "ok", what, evidence)], facts
    names = dict.fromkeys((*PLAIN, *tool_parsers()))
    candidates = [name for name in names if tags(name) == pair and name != inferred]
    counts = count_kept(tokenizer, candidates, train(), pair)
    best = max(counts, key=lambda name: (counts[name]["kept"], counts[name]["size"]))
    lost = (
        f"{inferred}, which the server would use, keeps {kept:,} of {total:,}"
        if inferred
        else f"the server would use no parser and return none of {total:,} as calls"
    )
    if counts[best]["kept"] < total:
        evidence = f"{lost}; the best other, {best}, loses calls in {counts[best]['losing']}"
        fix = "write the calls of these rows in one format that mlx_lm.tool_parsers reads"
        return [finding("served.parser", "fail", what, evidence, fix)], facts
    facts["tool_parser"] = best
    fix = f"nothing to do: quantize writes tool_parser_type {best} into q5's tokenizer_config.json"
    return [finding("served.parser", "warn", what, f"{lost}; {best} keeps all", fix)], facts


def tools_called(text: str) -> list[str]:
    """Every function that an answer calls: those in the code of execute_code, then by tool call."""
    calls = calls_in_text(text)
    in_code = [name for code in code_of(calls) for name in called_names(code)]
    return in_code + [call["name"] for call in calls]


def check_instrument(tokenizer, parser: str, rows, tools: set[str]) -> list[dict]:
    """Does the scorer give known answers the worth they have, through the server's parser?

    The known answers are made of the gold calls of the validation rows: as they are (1.0 in both
    scales), as prose that names the tool (0 in the strict one), as a direct call of the tool
    (0.5), and in the right format with another tool (0.1).
    """
    machine, known = make_machine(tokenizer, parser), tools - {EXECUTE_CODE}
    right = {
        "gold": "score 1.0 in both scales",
        "prose": "score 0 in the strict scale as prose",
        "direct": "score 0.5 as direct calls",
        "wrong_tool": "score 0.1 with another tool in the code",
    }
    wrong, count = {case: [] for case in right}, 0

    def expect(case: str, place: str, text: str, wanted: list[str], *scores: float | None):
        """Note under `case` when the answer's scores are not these; None stands for any."""
        keywords = {"multi": len(wanted) > 1, "keywords": wanted}
        try:
            response = served_response(tokenizer, machine, parser, text)
            answer = read_answer(response, tokenizer)
        except ServerError as error:
            wrong[case].append(f"{place}: {error}")
            return
        got = score_answer(keywords, answer["text"], answer["calls"])
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
    return [
        finding(
            f"instrument.{case}",
            "fail" if wrong[case] or not count else "ok",
            "known answers through the server's parser and the scorer",
            some(wrong[case], 2)
            if wrong[case]
            else f"{count:,} gold calls {text}"
            if count
            else "the validation rows hold no tool call to calibrate with",
            "a live answer would be scored wrongly too: mend the row, or the scorer",
        )
        for case, text in right.items()
    ]
