"""Ask the validation rows: does the model make the calls that they make?

A row is asked as it stands, up to its first answer with a call of a tool. The text of that answer
is wanted. A row is left out if training has the same first request: the model has seen the answer.
"""

from pathlib import Path

from arguments import call_text, named_calls
from rows import evenly, first_request, read_rows, text_of
from score import calls_in_text, format_of
from stats import mean, wilson
from tools import schemas_of

MARKS = ("format", "tools", "arguments")  # each one requires the one before
BUDGET = 512  # tokens for an answer, as most prompts of the suite have


def rows_to_ask(
    data: Path, limit: int, schemas: dict[str, dict], chosen: int | None = None
) -> tuple[list[dict], int]:
    """The rows of unseen_calls() in a folder, and how many rows are left out.

    With a `limit` above 0, at most so many rows are taken. `chosen` is SELECT_ROWS if SELECT=calls:
    by these rows the checkpoint was chosen, so their share of right calls would be too high. They
    are left out.
    """
    train, valid = (read_rows(data / f"{split}.jsonl") for split in ("train", "valid"))
    found, left_out = unseen_calls(train, valid, schemas)
    seen = [] if chosen is None else evenly(found, chosen)
    others = [row for row in found if row not in seen]
    return evenly(others, limit), left_out + len(seen)


def unseen_calls(train, valid, schemas: dict[str, dict]) -> tuple[list[dict], int]:
    """([{id, messages, tools, max_tokens, wanted}], how many more training has the prompt of)."""
    trained = {first_request(row) for _, row in train}
    found, left_out = [], 0
    for place, row in valid:
        messages = row["messages"]
        texts = {n: text_of(m) for n, m in enumerate(messages) if m["role"] == "assistant"}
        calling = [n for n, text in texts.items() if named_calls(calls_in_text(text), schemas)]
        if not calling:
            continue
        if first_request(row) in trained:
            left_out += 1
            continue
        turn = calling[0]
        question = {"id": place.replace(".jsonl", ""), "max_tokens": BUDGET}
        question |= {"messages": messages[:turn], "tools": row.get("tools", [])}
        found.append(question | {"wanted": texts[turn]})
    return found, left_out


def mark(row: dict, answer: dict, schemas: dict[str, dict]) -> dict:
    """Which of MARKS an answer gets, and the calls that were wanted and that came."""
    calls = calls_in_text(row["wanted"], row["tools"])
    schemas = schemas | schemas_of(row["tools"])
    wanted, got = named_calls(calls, schemas), named_calls(answer["calls"], schemas)
    same_format = format_of(calls) == format_of(answer["calls"])
    same_tools = same_format and [c["name"] for c in wanted] == [c["name"] for c in got]
    return {
        "id": row["id"],
        "question": row["messages"][-1].get("content") or "",
        "wanted": [call_text(call) for call in wanted],
        "got": [call_text(call) for call in got],
        "format": same_format,
        "tools": same_tools,
        "arguments": same_tools and wanted == got,
        "cut_off": answer.get("finish_reason") == "length",
        "text": answer["text"],
    }


def summarize_calls(marked: list[dict], left_out: int) -> dict:
    """`calls` of eval.json: the share of the rows that has each mark, and every row."""
    return {
        "n": len(marked),
        "left_out": left_out,
        **{name: mean([entry[name] for entry in marked]) for name in MARKS},
        "ci95": wilson(sum(entry["arguments"] for entry in marked), len(marked)),
        "rows": marked,
    }
