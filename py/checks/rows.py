"""What does every training row become, token by token?

For every row, the prompt that evaluation would send for it (chat_format.render_prompt) must be an
exact token prefix of what training sees: Phase 26 lost 60 points to a prompt that was not. The
same text must become the same tokens with the reference's tokenizer. That the reference's template
words things differently is only worth a warning: the trained model never sees that template.
"""

import contextlib
import unicodedata
from collections import defaultdict

from chat_format import encode, format_prompt, render_masked, render_prompt, render_row
from checks import finding
from client import split_thinking
from rows import batches
from show import CONTEXT, differing_prompt, differing_text, differing_tokens, last_tokens, some
from suite import messages_of

QUANTILES = {"shortest": 0.0, "median": 0.5, "95%": 0.95, "longest": 1.0}
# problem -> (id, level, what is looked at, what rows with it do, what is said of none, fix)
PROBLEMS = {
    "tokens": (
        "tokenizer.rows",
        "fail",
        "training rows encoded with both tokenizers",
        "become other tokens",
        "{rows}, the same tokens at the same places",
        "choose a BASE_MODEL with REFERENCE_MODEL's tokenizer",
    ),
    "wording": (
        "template.wording",
        "warn",
        "training rows through both chat templates",
        "are worded differently",
        "{rows}, the same text",
        "none needed between families of one tokenizer; a score is comparable, a prompt is not",
    ),
    "prefix": (
        "template.prefix",
        "fail",
        "evaluation's prompt as the beginning of what training sees",
        "begin otherwise",
        "{rows}, token by token, with enable_thinking=false",
        "training and evaluation would format differently: mend these rows, or BASE_MODEL's"
        " chat template",
    ),
    "content": (
        "template.content",
        "fail",
        "what the messages say, in the rendered rows",
        "lose a part",
        "{rows} with all of it",
        "the chat template leaves out or changes what the rows say: mend it",
    ),
    "answer": (
        "template.answer",
        "fail",
        "what a model that has learned a row would answer, up to the first end token",
        "would be answered otherwise",
        "{rows}, word by word",
        "template, end tokens or decoder change the answer: mend them in BASE_MODEL's files",
    ),
    "end": (
        "template.end",
        "fail",
        "a token that ends the answer, in every row",
        "hold no end token ({ends})",
        "all have: {ends}",
        "the model would never learn to stop: mend eos_token in tokenizer_config.json, or"
        " eos_token_id in config.json, of BASE_MODEL",
    ),
}
COMPARED = ("tokens", "wording")  # with the reference


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
    problems, lengths, supervised, largest = defaultdict(list), [], 0, 0

    def note(problem: str, place: str, describe, *args):
        """Note a row under a problem; only the first is described, which takes time."""
        noted = problems[problem]
        noted.append(place if noted else f"{place}: {describe(*args)}")

    for batch in batches(rows):
        rendered = (render_all(base, *row) for row in batch)
        texts, prompts, masks = map(list, zip(*rendered, strict=True))
        seen, asked, masked = (encode(base, side) for side in (texts, prompts, masks))
        for (place, messages), text, ids, prompt, hidden in zip(
            batch, texts, seen, asked, masked, strict=True
        ):
            lengths.append(len(ids))
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
    lengths.sort()
    last = len(lengths) - 1
    spread = {name: lengths[int(share * last)] for name, share in QUANTILES.items()}
    facts = {
        "train_tokens": sum(lengths),
        "supervised_tokens": supervised,
        "largest_id": largest,
        "row_tokens": spread,
    }
    found = row_findings(problems, len(lengths), base, reference)
    return [*found, length_finding(problems["cut"], len(lengths), spread, limit)], facts


def row_findings(problems: dict, count: int, base, reference) -> list[dict]:
    """A finding on each of PROBLEMS; `problems` has the rows with each, the first described."""
    rows, found = f"{count:,} rows", []
    ends = ", ".join(sorted(base.decode([id]) for id in base.eos_token_ids)) or "none at all"
    for problem, (id, level, what, bad, good, fix) in PROBLEMS.items():
        if problem in COMPARED and not reference:
            continue
        evidence = good.format(rows=rows, ends=ends)
        if places := problems[problem]:
            evidence = f"{len(places):,} of {rows} {bad.format(ends=ends)}; {places[0]}"
        found.append(finding(id, level if places else "ok", what, evidence, fix))
    return found


def render_all(base, place: str, messages: list[dict]) -> tuple[str, str, str]:
    """A row's texts: what training sees, what evaluation would send, what --mask-prompt hides."""
    with named(place):
        return (
            render_row(base, messages),
            render_prompt(base, messages[:-1]),
            render_masked(base, messages),
        )


@contextlib.contextmanager
def named(place: str):
    """Where the base's template refuses messages, say which."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{place}: BASE_MODEL: {error}") from error


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
    for prompt in suite["prompts"]:
        with named(prompt["id"]):
            longest = max(longest, len(format_prompt(base, messages_of(suite, prompt))))
    evidence = f"{len(suite['prompts']):,} prompts, at most {longest:,} tokens"
    return [finding("suite.render", "ok", "the suite's prompts through the template", evidence)]


def length_finding(cut: list[str], count: int, spread: dict, limit: int) -> dict:
    """How long are the rows, and how many of them would be cut at MAX_SEQ_LENGTH?"""
    level = "ok"
    evidence = ", ".join(f"{name} {length:,}" for name, length in spread.items())
    evidence += f", limit {limit:,}"
    if cut:
        level = "fail" if 2 * len(cut) > count else "warn"
        evidence += f"; cut {len(cut):,}: {some(cut)}"
    fits = -(-spread["longest"] // 32) * 32  # mlx-lm pads to a multiple of 32
    fix = f"set MAX_SEQ_LENGTH={fits}, or shorten these rows"
    what = "tokens per row against MAX_SEQ_LENGTH"
    return finding("data.lengths", level, what, evidence, fix)


def rendered_by_reference(reference, messages: list[dict]) -> str:
    """The row as the reference words it; its refusal is a wording too."""
    try:
        return render_row(reference, messages)
    except ValueError as error:
        return str(error)
