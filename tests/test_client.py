"""All of an answer is read, in whatever form a server returns it. The rest is an error."""

import pytest

from client import Completion, read_answer
from files import check
from score import score_answer
from server import ServerError
from taught import call

HOVER = {"keywords": ["hover"], "multi": False}
BY_NAME = '{"name": "execute_code", "arguments": {"code": "x=\'</think>\'; hover(x)"}}'


def response(message=None, finish_reason="stop", **changes):
    message = {"role": "assistant", "content": None} | (message or {})
    choice = {"message": message, "finish_reason": finish_reason}
    usage = {"prompt_tokens": 1, "completion_tokens": 1}
    return {"choices": [choice], "usage": usage} | changes


def calling(arguments, name="execute_code"):
    return {"tool_calls": [{"function": {"name": name, "arguments": arguments}}]}


@pytest.mark.parametrize(
    ("message", "strict", "said"),
    [
        (calling({"code": "hover(1)"}), 1.0, "hover(1)"),
        (calling('{"code": "hover(1)"}'), 1.0, "hover(1)"),
        (calling('{"code": "hover('), 0.1, '{\\"code\\": \\"hover('),  # cut off
        ({"content": f"<tool_call>{BY_NAME}</tool_call>"}, 1.0, "</think>"),
        ({"content": f"<think>\nhm</think>\n{call('hover(1)')}"}, 1.0, "hover(1)"),
    ],
)
def test_a_call_counts_however_it_comes_and_stays_in_the_text(message, strict, said):
    answer = read_answer(response(message))
    assert score_answer(HOVER, answer["text"], answer["calls"])["strict_score"] == strict
    assert said in answer["text"]


def test_a_call_that_another_server_swallows_stops_the_run():
    with pytest.raises(ServerError, match="with a tool call that it does not return"):
        read_answer(response({"content": "Let me see."}, "tool_calls"))


def test_half_a_surrogate_pair_does_not_stop_the_run():
    assert read_answer(response({"content": "hover \ud800"}))["text"] == "hover ?"
    answer = read_answer(response(calling('{"path": "\\ud800"}', "hover\ud800")))
    assert answer["calls"] == [{"name": "hover?", "arguments": {"path": "?"}}]


@pytest.mark.parametrize(
    "odd",
    [
        {},
        response({"content": ["parts"]}),
        response({"tool_calls": ["call"]}),
        response({"tool_calls": [{"function": "f"}]}),
        response(finish_reason=None),
        response(usage={}),
        response(usage={"prompt_tokens": "1", "completion_tokens": 1}),
        response(choices=[]),
    ],
)
def test_what_is_no_chat_completion_is_refused(odd):
    with pytest.raises(ValueError, match="^no chat completion: "):
        check(odd, Completion, "no chat completion")
