"""Format sizes, lists and differences for a line that a person reads."""

import textwrap

from pydantic import ValidationError

WIDTH = 80  # columns of a terminal
CONTEXT = 24  # characters shown on each side of a difference


def size(count: int) -> str:
    """Bytes as GB or MB."""
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.0f} MB"


def some(items: list[str], limit: int = 3) -> str:
    """The first `limit` of `items`, and how many more there are."""
    more = f" and {len(items) - limit} more" if len(items) > limit else ""
    return "; ".join(items[:limit]) + more


def in_columns(head: str, text: str) -> str:
    """`head`, then `text` in a column of its own, wrapped to the width of a terminal."""
    indent = {"initial_indent": head, "subsequent_indent": " " * len(head)}
    return textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False, **indent)


def table(rows: list) -> str:
    """A Markdown table with aligned columns. The first row is its head."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    head, *others = rows
    lines = []
    for row in (head, ["-" * width for width in widths], *others):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def explain(error: ValidationError) -> str:
    """What pydantic found wrong: "messages[1].content: Input should be ..."."""
    problems = error.errors()
    # Of a value that is a list or a word, only what is wrong with the list is of interest.
    lists = [problem for problem in problems if problem["type"] != "literal_error"] or problems
    return some([explain_one(problem) for problem in lists])


def explain_one(problem: dict) -> str:
    """One of pydantic's findings: its place, and what is wrong there."""
    keys = [key for key in problem["loc"] if "[" not in str(key)]  # the name of a type
    where = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys)
    text = problem["msg"].removeprefix("Value error, ").replace(" at line 1 column", " at column")
    if problem["type"].endswith(("literal_error", "_type")):
        text += f", not {problem['input']!r:.40}"
    return f"{where.lstrip('.')}: {text}" if where else text


def first_difference(a, b) -> int:
    """The first place where two sequences differ."""
    shared = min(len(a), len(b))
    return next((n for n in range(shared) if a[n] != b[n]), shared)


def differing_text(ours: str, theirs: str) -> str:
    """The first difference of two texts, with a little context on both sides."""
    at = first_difference(ours, theirs)
    start, end = max(0, at - CONTEXT), at + CONTEXT
    return f"{ours[start:end]!r} here, {theirs[start:end]!r} there"


def differing_tokens(here, there, ours: list[int], theirs: list[int]) -> str:
    """The first difference of two encodings of one text, by the tokenizers `here` and `there`."""
    at = first_difference(ours, theirs)
    tokens = [
        f"{tokenizer.decode(ids[at : at + 1])!r} ({ids[at]})" if at < len(ids) else "the end"
        for tokenizer, ids in ((here, ours), (there, theirs))
    ]
    return f"token {at} is {tokens[0]} here, {tokens[1]} there"
