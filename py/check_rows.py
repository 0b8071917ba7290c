"""What does every training row become, token by token?

For every row, the prompt that evaluation would send for it (chat_format.render_prompt) must be an
exact token prefix of what training sees: Phase 26 lost 60 points to a prompt that was not. The
same text must become the same tokens with the reference's tokenizer. That the reference's template
words things differently is only worth a warning: the trained model never sees that template.
"""

import unicodedata
from collections import Counter

from chat_format import encode, render_masked, render_prompt, render_row
from client import split_thinking
from finding import finding
from rows import batches
from show import (
    CONTEXT,
    differing_prompt,
    differing_text,
    differing_tokens,
    last_tokens,
)
from suite import messages_of

SHOWN = 3  # rows named for each problem
QUANTILES = {"shortest": 0.0, "median": 0.5, "95%": 0.95, "longest": 1.0}
PROBLEMS = ("prefix", "end", "answer", "content", "tokens", "wording", "cut")


def check_splits(base, reference, train, valid, limit: int) -> tuple[list[dict], dict]:
    """The findings of both splits, and the facts of train: valid counts where only it fails."""
    found, facts = check_rows(base, reference, train, limit)
    others, _ = check_rows(base, reference, valid, limit)
    failed = {entry["id"]: entry for entry in others if entry["level"] == "fail"}
    return [e if e["level"] == "fail" else failed.get(e["id"], e) for e in found], facts


def check_rows(base, reference, rows, limit: int) -> tuple[list[dict], dict]:
    """All findings about rendered rows, in one pass; `rows` yields (place, messages).

    `reference` may be None, then nothing is compared with it. `limit` is MAX_SEQ_LENGTH. The
    facts count tokens: `supervised_tokens` come after the part that --mask-prompt hides. Raises
    ValueError with the place of a row that the base's chat template refuses.
    """
    problems = {name: {"count": 0, "places": []} for name in PROBLEMS}
    lengths, supervised, largest = Counter(), 0, 0

    def note(problem: str, place: str, describe, *args):
        """Count a row under a problem; the first few are named, the first is described."""
        noted = problems[problem]
        if not noted["count"]:
            noted["places"].append(f"{place}: {describe(*args)}")
        elif noted["count"] < SHOWN:
            noted["places"].append(place)
        noted["count"] += 1

    for batch in batches(rows):
        texts = [rendered(render_row, base, *row) for row in batch]
        seen = encode(base, texts)
        asked = encode(base, [rendered(ask_row, base, *row) for row in batch])
        masked = encode(base, [rendered(render_masked, base, *row) for row in batch])
        for (place, messages), text, ids, prompt, hidden in zip(
            batch, texts, seen, asked, masked, strict=True
        ):
            lengths[len(ids)] += 1
            largest = max(largest, *ids)
            supervised += max(0, min(len(ids), limit) - len(hidden))
            check_answer(base, place, messages, ids, prompt, note)
            if lost := lost_content(messages, text):
                note("content", place, "no {!r}".format, lost)
            if len(ids) > limit:
                note("cut", place, "{:,} tokens".format, len(ids))
        if reference:
            for (place, messages), text, ids, theirs in zip(
                batch, texts, seen, encode(reference, texts), strict=True
            ):
                if ids != theirs:
                    note("tokens", place, differing_tokens, base, reference, ids, theirs)
                if text != (other := rendered_by_reference(reference, messages)):
                    note("wording", place, differing_text, text, other)
    facts = {
        "train_tokens": sum(length * count for length, count in lengths.items()),
        "supervised_tokens": supervised,
        "largest_id": largest,
        "row_tokens": {name: quantile(lengths, share) for name, share in QUANTILES.items()},
    }
    compared = reference_findings(problems, lengths.total()) if reference else []
    return compared + base_findings(problems, base, lengths, limit, facts), facts


def check_answer(base, place: str, messages: list[dict], ids: list[int], prompt: list, note):
    """Would a model that has learned this row, asked by evaluation, give the row's answer?

    It would go on from the prompt up to the first end token.
    """
    if ids[: len(prompt)] != prompt:
        return note("prefix", place, differing_prompt, base, ids, prompt)
    rest = ids[len(prompt) :]
    end = next((n for n, id in enumerate(rest) if id in base.eos_token_ids), None)
    if end is None:
        return note("end", place, last_tokens, base, ids)
    wanted, given = answer_of(messages[-1]["content"]), answer_of(base.decode(rest[:end]))
    if wanted != given:
        note("answer", place, differing_text, given, wanted)


def answer_of(text: str) -> str:
    """The text without thinking, in the form that tokenizers may normalize it to."""
    return unicodedata.normalize("NFC", split_thinking(text)[1]).strip()


def lost_content(messages: list[dict], text: str) -> str:
    """The beginning of the first message that the rendered `text` lacks; "" when it has all."""
    for message in messages[:-1]:
        content = message["content"].strip()
        if content not in text and "</think>" not in content:
            return content[:CONTEXT]
    return ""


def check_suite(base, suite: dict) -> list[dict]:
    """Can every prompt of the suite be asked? Raises ValueError for one that can't."""
    longest = 0
    for batch in batches(suite["prompts"]):
        texts = [
            rendered(render_prompt, base, prompt["id"], messages_of(suite, prompt))
            for prompt in batch
        ]
        longest = max(longest, *map(len, encode(base, texts)))
    evidence = f"{len(suite['prompts']):,} prompts, at most {longest:,} tokens"
    return [finding("suite.render", "ok", "the suite's prompts through the template", evidence)]


def reference_findings(problems: dict, count: int) -> list[dict]:
    """What the comparison with the reference found."""
    return [
        finding(
            "tokenizer.rows",
            "fail" if problems["tokens"]["count"] else "ok",
            "training rows encoded with both tokenizers",
            counted(problems["tokens"], count, "become other tokens")
            or f"{count:,} rows, the same tokens at the same places",
            "choose a BASE_MODEL with REFERENCE_MODEL's tokenizer",
        ),
        finding(
            "template.wording",
            "warn" if problems["wording"]["count"] else "ok",
            "training rows through both chat templates",
            counted(problems["wording"], count, "are worded differently")
            or f"{count:,} rows, the same text",
            "none needed between families of one tokenizer; a score is comparable, a prompt is not",
        ),
    ]


def base_findings(problems: dict, base, lengths: Counter, limit: int, facts: dict) -> list[dict]:
    """What the base model's own rendering showed."""
    count, spread, cut = lengths.total(), facts["row_tokens"], problems["cut"]
    ends = ", ".join(sorted(base.decode([id]) for id in base.eos_token_ids)) or "none at all"

    def level(problem: str) -> str:
        return "fail" if problems[problem]["count"] else "ok"

    return [
        finding(
            "template.prefix",
            level("prefix"),
            "evaluation's prompt as the beginning of what training sees",
            counted(problems["prefix"], count, "begin otherwise")
            or f"{count:,} rows, token by token, with enable_thinking=false",
            "training and evaluation would format differently: mend these rows, or BASE_MODEL's"
            " chat template",
        ),
        finding(
            "template.content",
            level("content"),
            "what the messages say, in the rendered rows",
            counted(problems["content"], count, "lose a part") or f"{count:,} rows with all of it",
            "the chat template leaves out or changes what the rows say: mend it",
        ),
        finding(
            "template.answer",
            level("answer"),
            "what a model that has learned a row would answer, up to the first end token",
            counted(problems["answer"], count, "would be answered otherwise")
            or f"{count:,} rows, word by word",
            "template, end tokens or decoder change the answer: mend them in BASE_MODEL's files",
        ),
        finding(
            "template.end",
            level("end"),
            "a token that ends the answer, in every row",
            counted(problems["end"], count, f"hold no end token ({ends})") or f"all have: {ends}",
            "the model would never learn to stop: mend eos_token in tokenizer_config.json, or"
            " eos_token_id in config.json, of BASE_MODEL",
        ),
        finding(
            "data.lengths",
            "ok" if not cut["count"] else "fail" if 2 * cut["count"] > count else "warn",
            "tokens per row against MAX_SEQ_LENGTH",
            ", ".join(f"{name} {value:,}" for name, value in spread.items())
            + f", limit {limit:,}"
            + (f"; cut {cut['count']:,}: {'; '.join(cut['places'])}" if cut["count"] else ""),
            f"set MAX_SEQ_LENGTH={-(-spread['longest'] // 32) * 32}, or shorten these rows",
        ),
    ]


def counted(problem: dict, count: int, what: str) -> str:
    """'2 of 40 rows <what>; <the first>', or "" when there are none."""
    if not problem["count"]:
        return ""
    return f"{problem['count']:,} of {count:,} rows {what}; {problem['places'][0]}"


def quantile(lengths: Counter, share: float) -> int:
    """The length that `share` of the rows do not exceed."""
    rank, seen = share * (lengths.total() - 1), 0
    for length in sorted(lengths):
        seen += lengths[length]
        if seen > rank:
            return length
    return 0


def ask_row(tokenizer, messages: list[dict]) -> str:
    """The prompt that evaluation would send for a row: all but its last answer."""
    return render_prompt(tokenizer, messages[:-1])


def rendered(render, tokenizer, place: str, messages: list[dict]) -> str:
    """One rendered text. Raises ValueError beginning with the row's place."""
    try:
        return render(tokenizer, messages)
    except ValueError as error:
        raise ValueError(f"{place}: BASE_MODEL: {error}") from error


def rendered_by_reference(reference, messages: list[dict]) -> str:
    """The row as the reference words it; its refusal is a wording too."""
    try:
        return render_row(reference, messages)
    except ValueError as error:
        return str(error)
