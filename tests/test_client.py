"""All of an answer is read, whatever the server makes of it; what cannot be read is said."""

import json

import pytest

from client import check_response, read_answer
from score import score_answer

HOVER = {"keywords": ["hover"], "multi": False}


def response(message=None, finish_reason="stop", **changes):
    message = {"role": "assistant", "content": None} | (message or {})
    choice = {"message": message, "finish_reason": finish_reason}
    usage = {"prompt_tokens": 1, "completion_tokens": 1}
    return {"choices": [choice], "usage": usage} | changes


def with_arguments(arguments):
    call = {"function": {"name": "execute_code", "arguments": arguments}}
    return response({"tool_calls": [call]}, "tool_calls")


def strict(answer):
    return score_answer(HOVER, answer["text"], answer["calls"])["strict_score"]


@pytest.mark.parametrize("arguments", [{"code": "hover(1)"}, json.dumps({"code": "hover(1)"})])
def test_arguments_count_as_a_string_or_as_an_object(arguments):
    answer = read_answer(with_arguments(arguments))
    assert strict(answer) == 1.0
    assert "hover(1)" in answer["text"]  # nothing that was said is lost from the result


def test_arguments_that_were_cut_off_stay_in_the_text():
    answer = read_answer(with_arguments('{"code": "hover('))
    assert strict(answer) == 0.1 and '{\\"code\\": \\"hover(' in answer["text"]


@pytest.mark.parametrize(
    "text",
    [
        '<tool_call>{"name": "execute_code", "arguments": {"code": "x=\'</think>\'; hover(x)"}}'
        "</tool_call>",
        "<think>\nhm</think>\n<tool_call><function=execute_code>\n<parameter=code>\nhover(1)\n"
        "</parameter>\n</function></tool_call>",
    ],
)
def test_a_closing_think_tag_in_a_call_is_part_of_the_call(text):
    assert strict(read_answer(response({"content": text}))) == 1.0


def test_half_a_surrogate_pair_does_not_stop_the_run():
    answer = read_answer(response({"content": "hover \ud800"}))
    assert answer["text"] == "hover ?"
    call = {"function": {"name": "hover\ud800", "arguments": '{"path": "\\ud800"}'}}
    answer = read_answer(response({"tool_calls": [call]}, "tool_calls"))
    assert answer["calls"] == [{"name": "hover?", "arguments": {"path": "?"}}]


@pytest.mark.parametrize(
    "odd",
    [
        {},
        [],
        None,
        response({"content": ["parts"]}),
        response({"content": 3}),
        response({"tool_calls": ["call"]}),
        response({"tool_calls": {"a": 1}}),
        response({"tool_calls": [{"function": "f"}]}),
        response(finish_reason=None),
        response(usage={}),
        response(usage={"prompt_tokens": "1", "completion_tokens": 1}),
        response(choices=[]),
        response(choices=[{"message": "x", "finish_reason": "stop"}]),
    ],
)
def test_what_is_no_chat_completion_is_refused(odd):
    with pytest.raises(ValueError, match="the answer is no chat completion"):
        check_response(odd)
