"""What a check found: an entry of preflight.json, and how it looks in a terminal."""

import textwrap

WIDTH = 80  # columns


def finding(id: str, level: str, what: str, evidence: str, fix: str = "") -> dict:
    """One check's entry. `level` is "ok", "warn" or "fail"; `fix` is dropped where all is well."""
    return {
        "id": id,
        "level": level,
        "what": what,
        "evidence": evidence,
        "fix": "" if level == "ok" else fix,
    }


def some(items: list[str], limit: int = 3) -> str:
    """The first `limit` of `items` and how many more there are, for a line of evidence."""
    more = f" and {len(items) - limit} more" if len(items) > limit else ""
    return "; ".join(items[:limit]) + more


def size(count: int) -> str:
    """Bytes as GB or MB."""
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.0f} MB"


def in_columns(head: str, text: str) -> str:
    """`head`, then `text` in a column of its own, wrapped to the width of a terminal."""
    lines = textwrap.wrap(
        text, WIDTH - len(head), break_long_words=False, break_on_hyphens=False
    ) or [""]
    return head + ("\n" + " " * len(head)).join(lines)
