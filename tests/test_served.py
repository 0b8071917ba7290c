"""served.py says what a real `mlx_lm server` says: held to one, with a model that was taught to.

A tiny model is trained here until it answers four prompts word by word: with a call in the
format of the training data, with a JSON call, with a call cut off, and with prose. A real server
then answers for it, once with each parser.
"""

import json
import shutil

import pytest

from chat_format import TEMPLATE_ARGUMENTS, encode, open_tokenizer, render_prompt
from client import ask, find_model_id, read_answer
from served import make_machine, served_response
from server import ModelServer, ServerError

CALL = (
    "<tool_call><function=execute_code>\n<parameter=code>\nprint(1)\n</parameter>\n"
    "</function></tool_call>"
)
ANSWERS = {
    "tagged": f"Let me see. {CALL}",
    "json": '<tool_call>\n{"name": "hover", "arguments": {"path": "a"}}\n</tool_call> done',
    "cut": "<tool_call><function=execute_code>\n<parameter=code>\nprint(",
    "prose": "I would use hover.",
}


def teach(folder, answers: dict[str, str]) -> None:
    """Train the model in `folder` until it answers each prompt with its answer; save it."""
    import mlx.core as mx
    import mlx.nn as nn
    from mlx.optimizers import Adam
    from mlx.utils import tree_flatten
    from mlx_lm import load

    model, tokenizer = load(str(folder))
    prompts = [[{"role": "user", "content": prompt}] for prompt in answers]
    starts = encode(tokenizer, [render_prompt(tokenizer, prompt) for prompt in prompts])
    ends = [ids + [tokenizer.eos_token_id] for ids in encode(tokenizer, list(answers.values()))]
    rows = [start + end for start, end in zip(starts, ends, strict=True)]
    width = max(map(len, rows))
    tokens = mx.array([row + [0] * (width - len(row)) for row in rows])
    weights = mx.array(
        [
            [float(len(start) <= n < len(row)) for n in range(1, width)]
            for start, row in zip(starts, rows, strict=True)
        ]
    )

    def loss(model):
        losses = nn.losses.cross_entropy(model(tokens[:, :-1]), tokens[:, 1:])
        return (losses * weights).sum() / weights.sum()

    optimizer = Adam(3e-3)
    step = nn.value_and_grad(model, loss)
    for _ in range(400):
        value, gradients = step(model)
        optimizer.update(model, gradients)
        mx.eval(model.parameters(), optimizer.state)
        if value.item() < 0.005:
            break
    assert value.item() < 0.05, "the tiny model has not learned its answers"
    mx.save_safetensors(
        str(folder / "model.safetensors"),
        dict(tree_flatten(model.parameters())),
        {"format": "mlx"},
    )


@pytest.fixture(scope="module")
def taught(tiny_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("taught") / "model"
    shutil.copytree(tiny_model, folder)
    teach(folder, ANSWERS)
    return folder


def set_parser(folder, parser):
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"tool_parser_type": parser}))


def without_ids(message: dict) -> dict:
    """The parts of a message that a text determines: what is said, and what is called."""
    calls = [call["function"] for call in message.get("tool_calls") or []]
    return {"content": message["content"], "calls": calls}


@pytest.fixture(scope="module", params=["qwen3_coder", "json_tools"])
def answered(request, taught, tmp_path_factory):
    """(parser, tokenizer, {prompt: the real server's response}) with one parser."""
    set_parser(taught, request.param)
    log = tmp_path_factory.mktemp("server") / "server.log"
    with ModelServer(taught, 0, log) as server:
        served_id = find_model_id(server.url, taught)
        request_body = {
            "model": served_id,
            "max_tokens": 120,
            "temperature": 0,
            "logprobs": True,
            "chat_template_kwargs": TEMPLATE_ARGUMENTS,
        }
        responses = {
            prompt: ask(
                server, request_body | {"messages": [{"role": "user", "content": prompt}]}, 60
            )
            for prompt in ANSWERS
        }
    responses = {prompt: response for prompt, (response, _) in responses.items()}
    return request.param, open_tokenizer(taught), responses


@pytest.mark.parametrize("prompt", ANSWERS)
def test_served_response_is_what_the_server_says(answered, prompt):
    parser, tokenizer, responses = answered
    real = responses[prompt]["choices"][0]
    machine = make_machine(tokenizer, parser)
    ours = served_response(tokenizer, machine, parser, ANSWERS[prompt])["choices"][0]
    assert without_ids(ours["message"]) == without_ids(real["message"])
    assert ours["finish_reason"] == real["finish_reason"]
    ids = [entry["id"] for entry in real["logprobs"]["content"]]
    assert tokenizer.decode(ids).removesuffix("<|im_end|>") == ANSWERS[prompt]


def test_a_call_that_the_server_drops_stops_the_evaluation(answered):
    parser, tokenizer, responses = answered
    dropped = "json" if parser == "qwen3_coder" else "tagged"
    with pytest.raises(ServerError, match=f"tool parser \\({parser}\\) dropped 1") as stopped:
        read_answer(responses[dropped], tokenizer)
    right = "json_tools" if parser == "qwen3_coder" else "qwen3_coder"
    assert f'set "tool_parser_type": "{right}"' in str(stopped.value)
    kept = "tagged" if parser == "qwen3_coder" else "json"
    answer = read_answer(responses[kept], tokenizer)
    assert (answer["text"], len(answer["calls"])) == (ANSWERS[kept], 1)
    assert answer["finish_reason"] == "tool_calls"
