"""Format sizes, lists and differences for a line that a person reads."""

import textwrap

from pydantic import ValidationError

WIDTH = 80  # columns of a terminal
CONTEXT = 24  # characters shown on each side of a difference
TOKENS_SHOWN = 4


def size(count: int) -> str:
    """Bytes as GB or MB."""
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.0f} MB"


def some(items: list[str], limit: int = 3) -> str:
    """The first `limit` of `items`, and how many more there are."""
    more = f" and {len(items) - limit} more" if len(items) > limit else ""
    return "; ".join(items[:limit]) + more


def in_columns(head: str, text: str) -> str:
    """`head`, then `text` in a column of its own, wrapped to the width of a terminal."""
    width = WIDTH - len(head)
    lines = textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
    return head + ("\n" + " " * len(head)).join(lines or [""])


def explain(error: ValidationError) -> str:
    """The first thing that pydantic found wrong: "messages[1].content: Input should be ..."."""
    problem = error.errors()[0]
    where = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in problem["loc"])
    text = problem["msg"].removeprefix("Value error, ").replace(" at line 1 column", " at column")
    if problem["type"].endswith(("literal_error", "_type")):
        text += f", not {problem['input']!r:.40}"
    return f"{where.lstrip('.')}: {text}" if where else text


def common_length(a, b) -> int:
    """How many leading items two sequences share."""
    shared = min(len(a), len(b))
    return next((n for n in range(shared) if a[n] != b[n]), shared)


def differing_text(ours: str, theirs: str) -> str:
    """The first place where two texts differ, with a little context on both sides."""
    at = common_length(ours, theirs)
    start = max(0, at - CONTEXT)
    return f"{ours[start : at + CONTEXT]!r} here, {theirs[start : at + CONTEXT]!r} there"


def differing_prompt(tokenizer, row: list[int], prompt: list[int]) -> str:
    """The first place where a prompt differs from its row, as text."""
    at = common_length(row, prompt)
    ours, theirs = (tokenizer.decode(ids[at : at + TOKENS_SHOWN]) for ids in (row, prompt))
    return f"at token {at} training sees {ours!r}, evaluation sends {theirs!r}"


def last_tokens(tokenizer, ids: list[int]) -> str:
    return f"ends with {tokenizer.decode(ids[-TOKENS_SHOWN:])!r}"


def special_places(tokenizer, ids: list[int]) -> list[int]:
    """The places of special and other added tokens in `ids`."""
    special = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    return [place for place, id in enumerate(ids) if id in special]


def differing_tokens(here, there, ours: list[int], theirs: list[int]) -> str:
    """The first difference of two encodings of one text, and whether special tokens moved."""
    at = common_length(ours, theirs)
    tokens = [
        f"{tokenizer.decode(ids[at : at + 1])!r} ({ids[at]})" if at < len(ids) else "the end"
        for tokenizer, ids in ((here, ours), (there, theirs))
    ]
    moved = special_places(here, ours) != special_places(there, theirs)
    return (
        f"token {at} is {tokens[0]} here, {tokens[1]} there;"
        f" special tokens {'moved' if moved else 'in place'}"
    )
