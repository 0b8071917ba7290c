"""What an answer is worth: Phase 33b's rule, and the strict one that counts only real calls."""

import pytest

from score import called_names, calls_in_text, score_answer

SINGLE = {"keywords": ["git_status"], "multi": False}
MULTI = {"keywords": ["goto_definition", "read_file", "pytest_run"], "multi": True}


def executed(code):
    return (
        f"<tool_call><function=execute_code>\n<parameter=code>\n{code}\n</parameter>\n"
        "</function></tool_call>"
    )


DIRECT = (
    "<tool_call><function=git_status>\n<parameter=path>\n.\n</parameter>\n</function></tool_call>"
)
AS_JSON = '<tool_call>{"name": "execute_code", "arguments": {"code": "git_status()"}}</tool_call>'


@pytest.mark.parametrize(
    ("text", "score", "strict", "format"),
    [
        (executed('result = git_status(".")\nprint(result)'), 1.0, 1.0, "execute_code"),
        ("Sure.\n" + executed("print(git_status('.'))"), 1.0, 1.0, "execute_code"),
        (AS_JSON, 1.0, 1.0, "execute_code"),
        (DIRECT, 0.5, 0.5, "direct"),
        ("You can use git_status for that.", 0.5, 0.0, "none"),
        ("```python\ngit_status('.')\n```", 0.5, 0.0, "none"),
        (executed("print(git_log('.'))"), 0.1, 0.1, "execute_code"),
        (executed("# git_status\nprint(1)"), 1.0, 0.1, "execute_code"),
        (executed("print('git_status')"), 1.0, 0.1, "execute_code"),
        (executed("git_status("), 1.0, 0.1, "execute_code"),
        ("<tool_call><function=execute_code>\n<parameter=code>\ngit_status(", 0.5, 0.0, "none"),
        ("I cannot help.", 0.0, 0.0, "none"),
        ("", 0.0, 0.0, "none"),
    ],
)
def test_one_tool(text, score, strict, format):
    result = score_answer(SINGLE, text, calls_in_text(text))
    assert (result["score"], result["strict_score"], result["format"]) == (score, strict, format)


@pytest.mark.parametrize(
    ("text", "score", "strict"),
    [
        (executed("goto_definition()\nread_file()\npytest_run()"), 1.0, 1.0),
        (executed("goto_definition()\nread_file()"), 2 / 3 + 0.1, 2 / 3 + 0.1),
        (executed("# goto_definition, read_file, pytest_run\npass"), 1.0, 0.1),
        ("goto_definition then read_file", 2 / 3, 0.0),
        ("nothing", 0.0, 0.0),
    ],
)
def test_several_tools(text, score, strict):
    result = score_answer(MULTI, text, calls_in_text(text))
    assert result["score"] == pytest.approx(score)
    assert result["strict_score"] == pytest.approx(strict)


def test_any_accepted_name_counts():
    prompt = {"keywords": ["cst_rename", "cst_rename_direct"], "multi": False}
    text = executed("cst_rename_direct('a.py', 'x', 'y')")
    assert score_answer(prompt, text, calls_in_text(text))["strict_score"] == 1.0


def test_calls_in_two_blocks_are_all_read():
    text = executed("a()") + "\n" + executed("b()")
    assert [call["arguments"]["code"] for call in calls_in_text(text)] == ["a()", "b()"]


def test_called_names_come_in_source_order_and_code_is_not_run():
    code = "result = second(first())\nraise SystemExit\nthird(x=fourth())"
    assert called_names(code) == ["second", "first", "third", "fourth"]
    assert called_names("x = ") == []
