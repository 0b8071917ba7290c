"""A validation row is asked as it stands, and an answer is right when it makes the same calls."""

import pytest

from experiment import CALL, row, write_rows
from score import calls_in_text
from validation import mark, rows_to_ask, summarize_calls

TOOLS = {"read_file": {}, "hover": {}}
READ = CALL.format(tool="read_file", n=1)


@pytest.fixture
def data(tmp_path):
    """A folder with six validation rows: a leaked one, one without a call, four with one."""
    leaked = row(1, READ)
    write_rows(tmp_path / "train.jsonl", [leaked, row(9, "no call")])
    later = row(4, "Which one?", READ, "Done.")
    rows = [leaked, row(2, "no call"), row(3, READ), later, row(5, READ), row(6, READ)]
    write_rows(tmp_path / "valid.jsonl", rows)
    return tmp_path


def test_rows_are_asked_up_to_their_first_call_and_not_if_training_has_seen_them(data):
    rows, left_out = rows_to_ask(data, 0, TOOLS)
    assert [entry["id"] for entry in rows] == ["valid:3", "valid:4", "valid:5", "valid:6"]
    assert left_out == 1 and all(entry["wanted"] == READ for entry in rows)
    roles = [message["role"] for message in rows[1]["messages"]]
    assert roles == ["system", "user", "assistant", "user"]


def test_a_bound_takes_rows_evenly(data):
    rows, left_out = rows_to_ask(data, 2, TOOLS)
    assert [entry["id"] for entry in rows] == ["valid:3", "valid:5"] and left_out == 1


def test_rows_that_chose_the_checkpoint_are_not_asked(data):
    rows, left_out = rows_to_ask(data, 0, TOOLS, chosen=2)
    assert [entry["id"] for entry in rows] == ["valid:4", "valid:6"] and left_out == 3
    assert rows_to_ask(data, 0, TOOLS, chosen=0) == ([], 5)


def answer(code: str) -> str:
    return READ.replace('result = read_file("src/1.py")\nprint(result)', code)


WANTED = answer('for path in hover("a", 1, name="x"):\n    print(read_file(path))')


@pytest.mark.parametrize(
    ("text", "marks"),
    [
        (WANTED, "format tools arguments"),
        (
            answer("a = hover('a', 1, name='x')\nread_file(b)\nprint(len(a))"),
            "format tools arguments",
        ),
        (answer("p = 'a'\nhover(p, 1, name='x')\nread_file(b)"), "format tools arguments"),
        (answer("p = 'b'\nhover(p, 1, name='x')\nread_file(b)"), "format tools"),
        (answer("hover('a', 1, name='x')\nfor b in ['c']: read_file(b)"), "format tools"),
        (answer("hover('a', 2, name='x')\nread_file(b)"), "format tools"),
        (answer("hover('a', 1, 'x')\nread_file(b)"), "format tools"),
        (answer("read_file(b)\nhover('a', 1, name='x')"), "format"),
        (answer("hover('a', 1, name='x')\nread_file(b)\nhoover()"), "format"),
        (answer("# hover('a', 1, name='x')\nread_file(b)"), "format"),
        (WANTED.replace("execute_code", "read_file"), ""),
        ("I would call hover and read_file.", ""),
        ("", ""),
    ],
)
def test_an_answer_is_right_when_it_makes_the_same_calls(text, marks):
    asked = {"id": "valid:1", "messages": [{"role": "user", "content": "?"}], "tools": []}
    asked["wanted"] = WANTED
    answer = {"text": text, "calls": calls_in_text(text), "finish_reason": "stop"}
    got = mark(asked, answer, TOOLS)
    assert " ".join(name for name in ("format", "tools", "arguments") if got[name]) == marks
    assert got["wanted"] == ["hover('a', 1, name='x')", "read_file(_)"]


def test_the_totals_have_the_interval_of_wilson():
    marked = [{"format": True, "tools": n < 9, "arguments": n < 8} for n in range(10)]
    totals = summarize_calls(marked, 3)
    assert (totals["n"], totals["left_out"], totals["tools"], totals["arguments"]) == (
        10,
        3,
        0.9,
        0.8,
    )
    # (0.8 + 1.92/10 -+ 1.96 * sqrt(0.8*0.2/10 + 3.8416/400)) / (1 + 3.8416/10)
    assert totals["ci95"] == [0.4902, 0.9433]
    assert summarize_calls([], 0)["ci95"] is None
