"""A tiny model that was taught what to answer, and the suite it answers: fixture `taught`.

It speaks through Qwen3's manner of chat template (tests/templates/qwen3.jinja), for which mlx-lm
infers the json_tools parser, and answers word by word: right and wrong calls in the format of the
training data, a JSON call, a call cut off, prose.
"""

import json
import shutil

import pytest

from chat_format import encode, open_tokenizer, render_prompt
from conftest import ROOT
from suite import messages_of


def call(code: str) -> str:
    return (
        f"<tool_call><function=execute_code>\n<parameter=code>\n{code}\n</parameter>\n"
        "</function></tool_call>"
    )


# id -> (what is answered, score, strict score); the tool asked for is always hover
ANSWERS = {
    "right": (f"Let me see. {call('print(hover(1))')}", 1.0, 1.0),
    "comment": (call("# hover\nprint(1)"), 1.0, 0.1),
    "wrong": (call("hoover(1)"), 0.1, 0.1),
    "cut": ("<tool_call><function=execute_code>\n<parameter=code>\nhover(", 0.5, 0.0),
    "prose": ("I would use hover.", 0.5, 0.0),
    "nothing": ("No.", 0.0, 0.0),
}
AS_JSON = '<tool_call>\n{"name": "hover", "arguments": {"path": "a"}}\n</tool_call> done'


def suite_of(ids) -> dict:
    """A suite whose prompts are just their ids."""
    alike = {"category": "lsp", "expected_tool": "hover", "keywords": ["hover"]}
    alike |= {"multi": False, "max_tokens": 120}
    prompts = [{"id": id, "prompt": id, **alike} for id in ids]
    return {"name": "taught", "system": "Use tools.", "prompts": prompts}


def teach(folder, answers: dict[str, str]) -> None:
    """Train the model in `folder` until it answers each prompt with its answer; save it."""
    import mlx.core as mx
    import mlx.nn as nn
    from mlx.optimizers import Adam
    from mlx.utils import tree_flatten
    from mlx_lm import load

    model, _ = load(str(folder))
    tokenizer = open_tokenizer(folder)
    suite = suite_of(answers)
    prompts = [messages_of(suite, prompt) for prompt in suite["prompts"]]
    starts = encode(tokenizer, [render_prompt(tokenizer, prompt) for prompt in prompts])
    ends = [ids + [tokenizer.eos_token_id] for ids in encode(tokenizer, list(answers.values()))]
    rows = [start + end for start, end in zip(starts, ends, strict=True)]
    width = max(map(len, rows))
    tokens = mx.array([row + [0] * (width - len(row)) for row in rows])
    pairs = list(zip(starts, rows, strict=True))
    weights = mx.array([[len(s) <= n < len(row) for n in range(1, width)] for s, row in pairs])

    def loss(model):
        losses = nn.losses.cross_entropy(model(tokens[:, :-1]), tokens[:, 1:])
        return (losses * weights).sum() / weights.sum()

    optimizer = Adam(3e-3)
    step = nn.value_and_grad(model, loss)
    for _ in range(600):
        value, gradients = step(model)
        optimizer.update(model, gradients)
        mx.eval(model.parameters(), optimizer.state)
        if value.item() < 0.003:
            break
    assert value.item() < 0.03, "the tiny model has not learned its answers"
    learned = dict(tree_flatten(model.parameters()))
    mx.save_safetensors(str(folder / "model.safetensors"), learned, {"format": "mlx"})


def set_parser(folder, parser: str | None) -> None:
    """Name a tool parser in a model's files, or leave it to mlx-lm to infer one."""
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text())
    config.pop("tool_parser_type", None)
    path.write_text(json.dumps(config | ({"tool_parser_type": parser} if parser else {})))


def put_into_cache(model, cache):
    """Give the hub's cache a copy of `model`, which mlx_lm server lists there as org/decoy."""
    folder = cache / "models--org--decoy"
    snapshot = shutil.copytree(model, folder / "snapshots/abc")
    (snapshot / "model.safetensors.index.json").write_text("{}")  # else it is not listed
    (folder / "refs").mkdir()
    (folder / "refs/main").write_text("abc")
    return cache


@pytest.fixture(scope="session")
def taught(tiny_model, tmp_path_factory):
    """Folder of the model; its files name no parser, so that json_tools is inferred."""
    folder = shutil.copytree(tiny_model, tmp_path_factory.mktemp("taught") / "model")
    path = folder / "tokenizer_config.json"
    template = (ROOT / "tests/templates/qwen3.jinja").read_text()
    path.write_text(json.dumps(json.loads(path.read_text()) | {"chat_template": template}))
    teach(folder, {id: text for id, (text, *_) in ANSWERS.items()} | {"json": AS_JSON})
    return folder


@pytest.fixture(scope="session")
def served_well(taught, tmp_path_factory):
    """The same model with the parser that keeps its calls, as quantize leaves it."""
    folder = shutil.copytree(taught, tmp_path_factory.mktemp("served") / "model")
    set_parser(folder, "qwen3_coder")
    return folder
