"""The counts say what the answers are, and which tool came in the place of the wanted one."""

import pytest

from counts import called_instead, count_formats, count_tools

TOOLS = {"hover", "read_file", "git_log"}


def answer(wanted: str, *called: str, **changes) -> dict:
    right = float(wanted in called)
    made = {"wanted": [wanted], "tools_called": list(called), "invented": [], "text": "..."}
    made |= {"score": right, "strict_score": right, "finish_reason": "stop"}
    return made | {"format": "execute_code" if called else "none"} | changes


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"format": "execute_code"}, "execute_code"),
        ({"format": "direct"}, "direct"),
        ({}, "prose"),
        ({"finish_reason": "length", "format": "execute_code"}, "cut off at the limit"),
        ({"text": "", "thinking": "Let me see."}, "thinking only"),
    ],
)
def test_each_answer_is_of_one_kind(changes, kind):
    no_answer = answer("hover", score=None)
    assert count_formats([answer("hover", **changes), no_answer]) == {kind: 1}


def test_a_failed_answer_names_the_tools_that_it_calls_instead():
    entry = answer("hover", "print", "read_file", "hoover", "read_file", invented=["hoover"])
    assert called_instead(entry, TOOLS) == ["read_file", "hoover"]
    assert called_instead(answer("hover", "hover", "read_file"), TOOLS) == []


def test_each_wanted_tool_has_what_was_called_in_its_place_in_suite_and_rows():
    prompts = [answer("hover", "print", "hover"), answer("hover", "read_file", "print")]
    prompts += [answer("git_log"), answer("git_log", score=None)]
    row = {"wanted": ["hover('a')", "read_file('b')"], "got": ["hover('c')", "hoover()"]}
    assert [
        (t["wanted"], t["n"], t["right"], t["instead"]) for t in count_tools(prompts, [row], TOOLS)
    ] == [
        ("git_log", 1, 0, {"nothing": 1}),
        ("hover", 3, 2, {"read_file": 1}),
        ("read_file", 1, 0, {"hoover": 1}),
    ]
