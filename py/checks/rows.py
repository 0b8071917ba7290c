"""What does every training row become, token by token?"""

import unicodedata
from collections import defaultdict

from chat_format import encode, format_prompt, render, render_prompt, written
from checks import finding
from client import split_thinking
from show import CONTEXT, differing_text, differing_tokens, first_difference, some
from suite import messages_of

QUANTILES = {"shortest": 0.0, "median": 0.5, "95%": 0.95, "longest": 1.0}


def check_splits(base, reference, train, valid, limit: int) -> tuple[list[dict], dict]:
    """The findings and the facts of train. If valid alone fails a check, its finding counts."""
    found, facts = check_rows(base, reference, train, limit)
    others, _ = check_rows(base, reference, valid, limit)
    failed = {entry["id"]: entry for entry in others if entry["level"] == "fail"}
    return [e if e["level"] == "fail" else failed.get(e["id"], e) for e in found], facts


def check_rows(base, reference, rows: list, limit: int) -> tuple[list[dict], dict]:
    """All findings about rendered rows, and facts that count tokens. `limit` is MAX_SEQ_LENGTH.

    Raises ValueError with the place of a row that the base's chat template refuses.
    """
    problems = defaultdict(list)  # id of a finding -> "place: evidence" of each bad row
    lengths, supervised, largest = [], 0, 0
    for place, row in rows:
        text, asked, hidden = at(place, render_row, base, row)
        ids, prompt, masked = encode(base, [text, asked, hidden])
        lengths.append(len(ids))
        largest = max(largest, *ids)
        supervised += max(0, min(len(ids), limit) - len(masked))
        if len(ids) > limit:
            problems["data.lengths"].append(f"{place}: {len(ids):,} tokens")
        different = problems_with_reference(base, reference, row, text, ids)
        for id, evidence in (*different, *problems_of_row(base, row, asked, ids, prompt)):
            problems[id].append(f"{place}: {evidence}")
    lengths.sort()
    spread = {name: lengths[int(share * (len(rows) - 1))] for name, share in QUANTILES.items()}
    facts = {
        "train_tokens": sum(lengths),
        "supervised_tokens": supervised,  # after the part that --mask-prompt hides
        "largest_id": largest,
        "row_tokens": spread,
    }
    found = row_findings(problems, len(rows), base)
    return [*found, length_finding(problems["data.lengths"], len(rows), spread, limit)], facts


def at(place: str, function, *arguments):
    """function(*arguments); if the chat template refuses the messages, the error names `place`."""
    try:
        return function(*arguments)
    except ValueError as error:
        raise ValueError(f"{place}: BASE_MODEL: {error}") from error


def render_row(base, row: dict) -> tuple[str, str, str]:
    """A row's texts: what training sees, what evaluation would send, what --mask-prompt hides."""
    before, tools = row["messages"][:-1], row.get("tools")
    text, asked = render(base, row["messages"], tools), render_prompt(base, before, tools)
    return text, asked, render(base, before, tools, add_generation_prompt=True)


def written_rows(base, rows: list) -> list:
    """All rows with their answers as text. Raises ValueError with the place of a refused row."""
    return [(place, at(place, written, base, row)) for place, row in rows]


def problems_with_reference(base, reference, row: dict, text: str, ids: list[int]):
    """Yield (id of a finding, evidence) where the reference makes something else of a row."""
    [theirs] = encode(reference, [text])
    if ids != theirs:
        yield "tokenizer.rows", differing_tokens(base, reference, ids, theirs)
    try:
        wording = render(reference, row["messages"], row.get("tools"))
    except ValueError as refusal:
        wording = str(refusal)
    if text != wording:
        yield "template.wording", differing_text(text, wording)


def problems_of_row(base, row: dict, asked: str, ids: list[int], prompt: list[int]):
    """Yield (id of a finding, evidence) for each problem of a row.

    Evaluation sends `prompt`, the tokens of `asked`, and the model writes up to the first end
    token. If it has learned the row, that must be the row's answer.
    """
    for content in said_before(row):
        if content not in asked and "</think>" not in content:
            yield "template.content", f"no {content[:CONTEXT]!r}"
            break
    if ids[: len(prompt)] != prompt:
        start = first_difference(ids, prompt)
        ours, theirs = (base.decode(tokens[start : start + 4]) for tokens in (ids, prompt))
        evidence = f"at token {start} training sees {ours!r}, evaluation sends {theirs!r}"
        yield "template.prefix", evidence
        return
    answer = ids[len(prompt) :]
    end = next((n for n, id in enumerate(answer) if id in base.eos_token_ids), None)
    if end is None:
        yield "template.end", f"ends with {base.decode(ids[-4:])!r}"
        return
    last, given = row["messages"][-1], said(base.decode(answer[:end]))
    wanted = said(last.get("content") or "")
    names = [call["function"]["name"] for call in last.get("tool_calls", [])]
    lost = [name for name in names if given.count(name) < names.count(name)]
    # Calls follow the text. served.parser and instrument.gold read them.
    right = given.startswith(wanted) if names else given == wanted
    if not right:
        yield "template.answer", differing_text(given, wanted)
    elif lost:
        yield "template.answer", f"a call of {lost[0]} is left out"


def said_before(row: dict):
    """Yield each text that the prompt of a row's last answer must hold."""
    yield from (tool["function"]["name"] for tool in row.get("tools", []))
    for message in row["messages"][:-1]:
        yield (message.get("content") or "").strip()
        yield from (call["function"]["name"] for call in message.get("tool_calls", []))


def said(text: str) -> str:
    """The text without thinking, in the Unicode form that tokenizers may normalize it to."""
    return unicodedata.normalize("NFC", split_thinking(text)[1]).strip()


def row_findings(problems: dict, count: int, base):
    """Yield a finding on each problem; `problems` has the rows with it."""
    ends = ", ".join(sorted(base.decode([id]) for id in base.eos_token_ids)) or "none at all"
    # id: (what is looked at, what a bad row does, fix)
    table = {
        "tokenizer.rows": (
            "training rows become the same tokens with both tokenizers",
            "become other tokens",
            "choose a BASE_MODEL with REFERENCE_MODEL's tokenizer",
        ),
        "template.wording": (
            "training rows become the same text with both chat templates",
            "are worded differently",
            "",  # nothing is to be done: scores can be compared
        ),
        "template.prefix": (
            "training rows begin with evaluation's prompt, with enable_thinking=false",
            "begin otherwise",
            "training and evaluation would format differently: mend these rows (arguments as an"
            " object, not as text), or BASE_MODEL's chat template",
        ),
        "template.content": (
            "rendered rows hold all that their messages say",
            "lose a part",
            "the chat template leaves out or changes what the rows say: mend it",
        ),
        "template.answer": (
            "a model that has learned a row would give its answer, up to the first end token",
            "would be answered otherwise",
            "template, end tokens or decoder change the answer: mend them in BASE_MODEL's files",
        ),
        "template.end": (
            f"every row has a token that ends the answer ({ends})",
            f"hold no end token ({ends})",
            "the model would never learn to stop: mend eos_token in tokenizer_config.json, or"
            " eos_token_id in config.json, of BASE_MODEL",
        ),
    }
    for id, (what, bad, fix) in table.items():
        level, evidence = "ok", f"{count:,} rows"
        if places := problems[id]:
            level = "warn" if id == "template.wording" else "fail"
            evidence = f"{len(places):,} of {count:,} rows {bad}; {places[0]}"
        yield finding(id, level, what, evidence, fix)


def length_finding(cut: list[str], count: int, spread: dict, limit: int) -> dict:
    """How long are the rows, and how many of them would be cut at MAX_SEQ_LENGTH?"""
    lengths = ", ".join(f"{name} {length:,}" for name, length in spread.items())
    level, evidence = "ok", f"{lengths}, limit {limit:,}"
    if cut:
        level = "fail" if 2 * len(cut) > count else "warn"
        evidence += f"; cut {len(cut):,}: {some(cut)}"
    fits = -(-spread["longest"] // 32) * 32  # mlx-lm pads to a multiple of 32
    fix = f"set MAX_SEQ_LENGTH={fits}, or shorten these rows"
    return finding("data.lengths", level, "tokens per row against MAX_SEQ_LENGTH", evidence, fix)


def check_suite(base, suite: dict) -> list[dict]:
    """Can every prompt of the suite be asked? Raises ValueError for one that can't."""
    prompts = suite["prompts"]
    longest = max(
        len(at(p["id"], format_prompt, base, messages_of(suite, p), p["tools"])) for p in prompts
    )
    evidence = f"{len(prompts):,} prompts, at most {longest:,} tokens"
    return [finding("suite.render", "ok", "the suite's prompts through the template", evidence)]
