"""served.py says what a real `mlx_lm server` says: held to one, with a model that was taught to."""

import shutil

import pytest

from chat_format import TEMPLATE_ARGUMENTS, open_tokenizer
from client import ask, choose_model, read_answer, split_thinking
from served import make_machine, served_response
from server import ServerError, start_server
from suite import messages_of
from taught import ANSWERS, AS_JSON, set_parser, suite_of

TEXTS = {id: text for id, (text, *_) in ANSWERS.items()} | {"json": AS_JSON}


def without_ids(message: dict) -> dict:
    """The parts of a message that a text determines: what is said, and what is called."""
    calls = [call["function"] for call in message.get("tool_calls") or []]
    return {"content": message["content"], "calls": calls}


@pytest.fixture(scope="module", params=["qwen3_coder", None])
def answered(request, taught, tmp_path_factory):
    """(parser, tokenizer, {id: the real server's response}) with a parser named, or inferred."""
    model = tmp_path_factory.mktemp("model") / "model"
    shutil.copytree(taught, model)
    set_parser(model, request.param)
    suite = suite_of(TEXTS)
    responses = {}
    with start_server(model, 0, model.parent / "server.log") as server:
        body = {"model": choose_model(server), "max_tokens": 120, "temperature": 0}
        body |= {"logprobs": True, "chat_template_kwargs": TEMPLATE_ARGUMENTS}
        for prompt in suite["prompts"]:
            request_body = body | {"messages": messages_of(suite, prompt)}
            responses[prompt["id"]], _ = ask(server, request_body, 60)
    return request.param or "json_tools", open_tokenizer(model), responses


@pytest.mark.parametrize("id", TEXTS)
def test_served_response_is_what_the_server_says(answered, id):
    parser, tokenizer, responses = answered
    assert tokenizer.init_kwargs["tool_parser_type"] == parser
    real = responses[id]["choices"][0]
    machine = make_machine(tokenizer, parser)
    ours = served_response(tokenizer, machine, parser, TEXTS[id])["choices"][0]
    assert without_ids(ours["message"]) == without_ids(real["message"])
    assert ours["finish_reason"] == real["finish_reason"]
    ids = [entry["id"] for entry in real["logprobs"]["content"]]
    assert tokenizer.decode(ids).removesuffix("<|im_end|>") == TEXTS[id]


def test_a_call_that_the_server_drops_stops_the_evaluation(answered):
    """With Qwen3's template the parser that mlx-lm infers drops the calls that training teaches."""
    parser, tokenizer, responses = answered
    dropped, right = ("json", "json_tools") if parser == "qwen3_coder" else ("right", "qwen3_coder")
    with pytest.raises(ServerError, match=f"tool parser \\({parser}\\) dropped 1") as stopped:
        read_answer(responses[dropped], tokenizer)
    assert f'set "tool_parser_type": "{right}"' in str(stopped.value)
    kept = "right" if parser == "qwen3_coder" else "json"
    answer = read_answer(responses[kept], tokenizer)
    assert (answer["text"], len(answer["calls"])) == (TEXTS[kept], 1)
    assert answer["finish_reason"] == "tool_calls"


@pytest.mark.parametrize(
    ("text", "thinking", "answer"),
    [
        ("Yes.", "", "Yes."),
        ("<think>\nhm\n</think>\n\nYes.", "hm", "Yes."),
        ("hm\n</think>\n\nYes.", "hm", "Yes."),
        ("<think>\n\n</think>\n\nYes.", "", "Yes."),
        ("<think>\nfor ever", "for ever", ""),
    ],
)
def test_thinking_is_kept_apart(text, thinking, answer):
    assert split_thinking(text) == (thinking, answer)
