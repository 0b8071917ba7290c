"""A small experiment that passes preflight, for tests to break: `experiment` and `check`."""

import json
import shutil
import sys

import pytest

import preflight
from conftest import write_config

CALL = (
    '<tool_call><function=execute_code>\n<parameter=code>\nresult = {tool}("src/{n}.py")\n'
    "print(result)\n</parameter>\n</function></tool_call>"
)
TOOLS = ("read_file", "git_status", "hover")
SYSTEM = "You are a careful assistant."


def row(n: int, *turns: str) -> dict:
    """A row whose user asks something of its own, and whose assistant answers with `turns`."""
    messages = [{"role": "system", "content": SYSTEM}]
    for turn, answer in enumerate(turns):
        messages.append({"role": "user", "content": f"request {n}, turn {turn}"})
        messages.append({"role": "assistant", "content": answer})
    return {"messages": messages}


def gold(n: int) -> str:
    return CALL.format(tool=TOOLS[n % len(TOOLS)], n=n)


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def edit_json(path, change):
    """Apply `change` to the JSON value in a file; what it returns, if anything, replaces it."""
    value = json.loads(path.read_text())
    value = change(value) or value
    path.write_text(json.dumps(value))


def tokenizer_config(change, models=("base",)):
    """A function that changes the tokenizer_config.json of these models."""

    def apply(folder):
        for model in models:
            edit_json(folder / model / "tokenizer_config.json", change)

    return apply


def template(old: str, new: str, models=("base", "reference")):
    """A function that replaces a part of the chat template of these models."""

    def change(config):
        assert old in config["chat_template"]
        config["chat_template"] = config["chat_template"].replace(old, new)

    return tokenizer_config(change, models)


@pytest.fixture
def experiment(tiny_model, tmp_path):
    """The folder of an experiment that passes: base, reference, data, suite, tools, x.env."""
    for model in ("base", "reference"):
        (tmp_path / model).mkdir()
        for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
            shutil.copy(tiny_model / name, tmp_path / model)
    # A parser that keeps the calls, so that nothing warns.
    parser = {"tool_parser_type": "qwen3_coder"}
    tokenizer_config(lambda config: config | parser, ["base", "reference"])(tmp_path)
    (tmp_path / "data").mkdir()
    write_rows(tmp_path / "data/train.jsonl", [row(n, gold(n)) for n in range(20)])
    write_rows(tmp_path / "data/valid.jsonl", [row(n, gold(n)) for n in range(20, 24)])
    same = {"category": "text_tools", "multi": False, "max_tokens": 64}
    prompts = [
        {"id": tool, "prompt": f"use {tool}", "expected_tool": tool, "keywords": [tool], **same}
        for tool in TOOLS
    ]
    suite = {"name": "small", "system": SYSTEM, "prompts": prompts}
    (tmp_path / "suite.json").write_text(json.dumps(suite))
    (tmp_path / "tools.json").write_text(json.dumps({"tools": [{"name": t} for t in TOOLS]}))
    special = {"tokens": {"<|im_start|>": 1, "<|im_end|>": 2}, "equal_ids": [0, 2]}
    (tmp_path / "special.json").write_text(json.dumps(special))
    targets = {"overall": 0.8, "categories": {"text_tools": 0.8}}
    (tmp_path / "targets.json").write_text(json.dumps({"targets": targets}))
    configure(tmp_path)
    return tmp_path


def configure(folder, **changes):
    """Write x.env: the passing experiment's settings with `changes`."""
    settings = {"BUILD": folder / "build", "DATA": folder / "data", "SUITE": folder / "suite.json"}
    settings |= {"BASE_MODEL": folder / "base", "REFERENCE_MODEL": folder / "reference"}
    settings |= {"SPECIAL_TOKENS": folder / "special.json", "TOOLS": folder / "tools.json"}
    settings |= {"TARGETS": folder / "targets.json"}
    settings |= {"TRAIN_ROWS": 20, "VALID_ROWS": 4, "ITERS": 10, "BATCH_SIZE": 2, "EPOCHS": 1}
    settings |= {"STEPS_PER_EVAL": 5, "SAVE_EVERY": 5, "NUM_LAYERS": 2, "TRAINABLE": 0.016384}
    write_config(folder / "x.env", **(settings | changes))


@pytest.fixture
def check(experiment, monkeypatch, capsys):
    """check() runs preflight; gives (exit status, stderr, {id: finding}, facts)."""

    def run(**changes):
        if changes:
            configure(experiment, **changes)
        arguments = ["--config", experiment / "x.env", "--out", experiment]
        monkeypatch.setattr(sys, "argv", ["preflight.py", *map(str, arguments)])
        status = preflight.main()
        error = capsys.readouterr().err
        report = json.loads((experiment / "preflight.json").read_text())
        assert (experiment / "preflight.ok").exists() == (status == 0)
        return status, error, {c["id"]: c for c in report["checks"]}, report["facts"]

    return run
