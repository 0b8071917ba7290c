"""Every input that would ruin a run is stopped by its check, which is named in one line.

Each case breaks one thing in an experiment that passes, and has what preflight must say of it:
"id of the check: words of its evidence".
"""

import json
import shutil

import pytest

from experiment import (
    CALL,
    configure,
    edit_json,
    gold,
    row,
    template,
    tokenizer_config,
    write_rows,
)

USER, SHORT = ("user", "hi"), ("assistant", "yes")
LOST_CALL = "<tool_call><function=execute_code>print(1)</tool_call>"
BAD_CODE = gold(0).replace("result = ", "result = = ")
OTHER_TOOL = CALL.format(tool="unknown_tool", n=1)


def tokenizer(change):
    return lambda folder: edit_json(folder / "base/tokenizer.json", change)


def config_json(**changes):
    return lambda folder: edit_json(folder / "base/config.json", lambda config: config | changes)


def settings(**changes):
    return lambda folder: configure(folder, **changes)


def written(name: str, content: str):
    return lambda folder: (folder / name).write_text(content)


def pinned(text: str):
    def change(folder):
        (folder / "sums").write_text(text)
        configure(folder, CHECKSUMS=folder / "sums")

    return change


def removed(name: str):
    def change(folder):
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return change


def data_file(change, split="train"):
    def change_file(folder):
        path = folder / f"data/{split}.jsonl"
        path.write_bytes(change(path.read_bytes()))

    return change_file


def line(number: int, content: bytes, split="train"):
    """Replace one line of a split, counted from 1."""

    def change(data):
        lines = data.splitlines(keepends=True)
        lines[number - 1] = content + b"\n"
        return b"".join(lines)

    return data_file(change, split)


def messages(*pairs, **extra):
    rows = {"messages": [{"role": role, "content": content} for role, content in pairs]}
    return json.dumps(rows | extra).encode()


def dialog(*pairs, **extra):
    """Make line 3 of the training rows these messages."""
    return line(3, messages(*pairs, **extra))


def answer(content, split="train"):
    """Give line 2 of a split this answer."""
    return line(2, messages(USER, ("assistant", content)), split)


def all_rows(split: str, answers: list):
    rows = [row(n, *turns) for n, turns in enumerate(answers)]
    return lambda folder: write_rows(folder / f"data/{split}.jsonl", rows)


def select_calls(change):
    """SELECT=calls, and a change of the rows."""

    def both(folder):
        change(folder)
        configure(folder, SELECT="calls")

    return both


def without_down_proj(folder):
    """A base model whose layers the recipes of mlx-lm do not know."""
    shape = {"n_ctx": 64, "n_embd": 64, "n_head": 2, "n_layer": 2, "n_positions": 64}
    config_json(model_type="gpt2", layer_norm_epsilon=1e-5, **shape)(folder)
    configure(folder, Q_RECIPE="mixed_4_6")


def content_of(role: str, new: str):
    """Change what the chat template makes of the messages of a role."""
    return template("m['content']", f"({new} if m['role'] == '{role}' else m['content'])")


def prompt_end(new: str):
    """Change the end of what the chat template puts before an answer that is asked for."""
    return template("'<|im_start|>assistant\n'", f"'<|im_start|>assistant{new}'")


def refuse(words: str):
    """The chat template refuses messages that have these words."""
    loop = "{% for m in messages %}"
    refusal = f"{{% if '{words}' in m['content'] %}}{{{{ raise_exception('no') }}}}{{% endif %}}"
    return template(loop, loop + refusal)


def swap_ids(tokenizer):
    vocabulary = tokenizer["model"]["vocab"]
    first, second = list(vocabulary)[40:42]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]


def move_special(tokenizer):
    start, end = tokenizer["added_tokens"][1:3]
    start["content"], end["content"] = end["content"], start["content"]
    tokenizer["model"]["vocab"] |= {"<|im_start|>": 2, "<|im_end|>": 1}


def rename_token(tokenizer):
    vocabulary = tokenizer["model"]["vocab"]
    merge = tokenizer["model"]["merges"].pop()
    vocabulary["never" + "".join(merge)] = vocabulary.pop(list(vocabulary)[-1])


def swap_merges(tokenizer):
    merges = tokenizer["model"]["merges"]
    merges[3], merges[4] = merges[4], merges[3]


def flag(name):
    def change(tokenizer):
        tokenizer["added_tokens"][2][name] = not tokenizer["added_tokens"][2][name]

    return tokenizer(change)


def drop_added_token(tokenizer):
    del tokenizer["added_tokens"][2]
    del tokenizer["model"]["vocab"]["<|im_end|>"]


def add_token(tokenizer):
    extra = dict(tokenizer["added_tokens"][2], content="<extra>", id=5000)
    tokenizer["added_tokens"].append(extra)


def answers_hold_an_end_token(folder):
    newline = json.loads((folder / "base/tokenizer.json").read_text())["model"]["vocab"]["Ċ"]
    ends = json.dumps({"eos_token_id": [2, newline]})
    (folder / "base/generation_config.json").write_text(ends)


def huge_model(folder):
    config_json(hidden_size=65536, intermediate_size=262144, vocab_size=10_000_000)(folder)
    configure(folder, TRAINABLE=23.07)


# what must be said of it, and what is broken; these end with exit status 1
RUINOUS = [
    # the tokenizer
    ("tokenizer.vocabulary: here,", tokenizer(swap_ids)),
    ("tokenizer.vocabulary: missing there", tokenizer(rename_token)),
    ("tokenizer.merges: merge 3:", tokenizer(swap_merges)),
    ("tokenizer.special_tokens: BASE_MODEL: <|im_start|> has id 2, not 1", tokenizer(move_special)),
    ("tokenizer.special_tokens: BASE_MODEL: <|im_end|>", tokenizer(drop_added_token)),
    ("tokenizer.added_tokens: <|im_end|>: [2, 'lstrip', 'special'] here", flag("lstrip")),
    ("tokenizer.added_tokens: <|im_end|>: [2] here, [2, 'special'] there", flag("special")),
    ("tokenizer.added_tokens: <extra>: [600, 'special'] here, missing there", tokenizer(add_token)),
    (
        "tokenizer.normalizer: type: NFC here, missing there",
        tokenizer(lambda t: t.update(normalizer={"type": "NFC"})),
    ),
    (
        "tokenizer.pre_tokenizer: add_prefix_space: True here, False there",
        tokenizer(lambda t: t["pre_tokenizer"].update(add_prefix_space=True)),
    ),
    ("tokenizer.decoder: here", tokenizer(lambda t: t.update(decoder={"type": "Fuse"}))),
    (
        "tokenizer.bos_eos_pad: eos_token: <|endoftext|> here, <|im_end|> there",
        tokenizer_config(lambda c: c | {"eos_token": "<|endoftext|>"}),
    ),
    (
        "tokenizer.bos_eos_pad: pad_token: <|endoftext|> here, None there",
        tokenizer_config(lambda c: c | {"pad_token": "<|endoftext|>"}),
    ),
    ("model.vocabulary: the embedding has 300 rows", config_json(vocab_size=300)),
    # the chat template
    ("template.answer: 20 of 20 rows would be answered otherwise", answers_hold_an_end_token),
    ("template.answer: would be answered otherwise", content_of("assistant", "'<|im_end|>'")),
    (
        "template.content: 20 of 20 rows lose a part; train.jsonl:1: no 'request 0",
        content_of("user", "''"),
    ),
    ("template.content: 20 of 20 rows lose a part", content_of("user", "m['content'] | upper")),
    ("template.prefix: at token", prompt_end(" \n")),
    ("template.prefix: evaluation sends", prompt_end("\n<think>\n\n")),
    ("template.prefix: evaluation sends", prompt_end("\n' ~ enable_thinking ~ '")),
    ("template.end: hold no end token (<|im_end|>)", template("'<|im_end|>\n'", "'\n'")),
    # the rows
    (
        "data.rows.train: 19 rows, TRAIN_ROWS=20",
        data_file(lambda data: data[: data[:-1].rindex(b"\n") + 1]),
    ),
    (
        "data.rows.valid: 5 rows, VALID_ROWS=4",
        data_file(lambda data: data + data[: data.index(b"\n") + 1], "valid"),
    ),
    (
        "data.checksum.train: not the same file",
        pinned("".join("0" * 64 + f"  data/{s}.jsonl\n" for s in ("train", "valid"))),
    ),
    ("data.lengths: limit 45; cut 20: train.jsonl:1:", settings(MAX_SEQ_LENGTH=45)),
    (
        "data.select: 0 of 4; training has seen 4 more",
        select_calls(all_rows("valid", [[gold(n)] for n in range(4)])),
    ),
    # what the server and the scorer make of the calls
    ("served.parser: qwen3_coder, which the server would use, keeps 19 of 20", answer(LOST_CALL)),
    ("served.parser: the training rows hold no tool call", all_rows("train", [["Yes."]] * 20)),
    (
        "data.masked_calls: 20 of 20 rows with a call have it in an earlier turn only",
        all_rows("train", [(gold(n), "Done.") for n in range(20)]),
    ),
    ("instrument.gold: valid.jsonl:2:", answer(BAD_CODE, "valid")),
    ("instrument.gold: valid.jsonl:2:", answer(OTHER_TOOL, "valid")),
    ("instrument.gold: no tool call", all_rows("valid", [["Yes."]] * 4)),
    # the plan
    ("plan.epochs: 20 iterations x 2 rows / 20 rows = 2, declared 1", settings(ITERS=20)),
    ("plan.epochs: declared 1.02", settings(EPOCHS=1.02)),
    ("plan.coverage: = 50%, declared 100%", settings(NUM_LAYERS=1)),
    ("plan.trainable: 0.008192M, declared 0.016384M", settings(LORA_RANK=4)),
    ("plan.trainable: declared 0.016384M", config_json(intermediate_size=64)),
    ("resources.disk: GB needed (fused 3,136", huge_model),
]

# These cannot be used at all, and end with exit status 2.
UNUSABLE = [
    # the models
    ("model.base_model: base: no such model folder", removed("base")),
    ("model.reference_model: reference: no such model folder", removed("reference")),
    ("model.base_model: config.json: No such file", removed("base/config.json")),
    ("model.base_model: the tokenizer cannot be read", written("base/tokenizer.json", "{")),
    (
        "model.base_model: tokenizer_config.json:1: not JSON",
        written("base/tokenizer_config.json", "{"),
    ),
    ("plan.model: Model type perceptron", config_json(model_type="perceptron")),
    (
        "plan.model: 'quantization' must have 'bits' and 'group_size'",
        config_json(quantization={"group_size": 64}),
    ),
    # the chat template
    (
        "template.render: the chat template refuses the messages",
        tokenizer_config(lambda c: {k: v for k, v in c.items() if k != "chat_template"}),
    ),
    (
        "template.render: train.jsonl:1: BASE_MODEL: the chat template refuses",
        template("{% endfor %}", "", ["base"]),
    ),
    ("template.render: valid.jsonl:3: BASE_MODEL: the chat template refuses", refuse("request 22")),
    ("suite.render: hover: BASE_MODEL: the chat template refuses the messages", refuse("hover")),
    # the rows
    (
        "data.rows.train: train.jsonl:3: messages[0].role: Input should be 'system', ",
        dialog(("robot", "hi"), SHORT),
    ),
    ("data.rows.train: train.jsonl:3: messages: turns must alternate", dialog(USER, USER, SHORT)),
    (
        "data.rows.train: train.jsonl:3: messages: turns must alternate",
        dialog(USER, SHORT, ("system", "x")),
    ),
    ("data.rows.train: end with assistant, not ['user']", dialog(USER)),
    ("data.rows.train: messages[1].content: is empty", answer(" ")),
    (
        "data.rows.train: train.jsonl:2: messages[1].content: Input should be a valid string",
        answer(3),
    ),
    # half a surrogate pair
    ("data.rows.train: Invalid JSON: unexpected end of hex escape", answer("a\ud800")),
    ("data.rows.train: weight: Extra inputs are not permitted", dialog(USER, SHORT, weight=1)),
    (
        "data.rows.train: messages[0].weight: Extra inputs",
        line(3, b'{"messages": [{"role": "user", "content": "a", "weight": 0}]}'),
    ),
    ("data.rows.train: invalid unicode code point at column 15", line(3, b'{"messages": "\xff"}')),
    ("data.rows.train: train.jsonl:20: Invalid JSON", line(20, b'{"messages": [')),
    ("data.rows.train: train.jsonl:3: Invalid JSON: recursion limit", line(3, b"[" * 200_000)),
    (
        "data.rows.train: train.jsonl:1: begins with a byte order mark",
        data_file(lambda data: b"\xef\xbb\xbf" + data),
    ),
    (
        "data.rows.valid: valid.jsonl:1: Windows line end",
        data_file(lambda data: data.replace(b"\n", b"\r\n"), "valid"),
    ),
    (
        "data.rows.train: train.jsonl:3: Windows line end",
        line(3, messages(USER, SHORT).replace(b", ", b",\r ", 1)),
    ),
    ("data.rows.train: train.jsonl: empty file", data_file(lambda _: b"")),
    ("data.rows.valid: valid.jsonl: no such file", removed("data/valid.jsonl")),
    (
        "data.checksum.train: sums: has no line for train.jsonl",
        pinned("0" * 64 + "  data/trian.jsonl\n"),
    ),
    ("data.checksum.train: sums: has no line for train.jsonl", pinned("train.jsonl\n")),
    # the other inputs
    (
        "tokenizer.special_tokens: special.json: tokens: Input should be a valid dictionary",
        written("special.json", '{"tokens": []}'),
    ),
    (
        "tokenizer.special_tokens: equal_ids[0]: Input should be greater than or equal to 0",
        written("special.json", '{"tokens": {}, "equal_ids": [-5, 2]}'),
    ),
    (
        "tokenizer.special_tokens: special.json: equal_ids: expected the first id, then the last",
        written("special.json", '{"tokens": {}, "equal_ids": [2, 0]}'),
    ),
    ("plan.model: Q_RECIPE=mixed_4_6: not for this model; set Q_RECIPE=none", without_down_proj),
    ("suite.schema: suite.json: name: Field required", written("suite.json", "{}")),
    ("suite.schema: suite.json:1: not JSON", written("suite.json", "[")),
    ("suite.schema: suite.json: expected a JSON object", written("suite.json", "[]")),
    ("tools.schema: tools.json: tools: Field required", written("tools.json", "{}")),
    ("config.results: nowhere.json: No such file", settings(TARGETS="nowhere.json")),
    ("config.results: : Field required", settings(BASELINE="data/suite.json")),
]

# What is said of a setting, which stands at its beginning.
SETTINGS = (
    "Q_BITS=7: expected one of 2, 3, 4, 5, 6, 8",
    "Q_BITS=abc: expected one of",
    "Q_RECIPE=mixed_5_6: expected one of none, mixed_2_6",
    "LR_SCHEDULE=cosin: expected one of constant, cosine_decay",
    "SELECT=best: expected one of loss, calls",
    "SELECT_ROWS=-1: expected 0 or more",
    "EXPAND_TURNS=yes: expected one of 0, 1",
    "LEARNING_RATE=fast: expected a number",
    "LEARNING_RATE=0: expected above 0 to 1",
    "LEARNING_RATE=nan: expected above 0 to 1",
    "LORA_SCALE=inf: expected above 0",
    "EVAL_TEMPERATURE=hot: expected a number",
    "EVAL_CONCURRENCY=1025: expected 1 to 1,024",
    "EVAL_TIMEOUT=0.0001: expected 0.001 to 1,000,000",
    "ITERS=auto: expected a whole number",
    "EVAL_PORT=99999: expected 0 to 65,535",
    "TRAIN_ROWS=0: expected 1 or more",
    "BATCH_SIZE=1.5: expected a whole number",
    "BATCH_SIZE=5: more than VALID_ROWS=4",
    "GRAD_ACCUMULATION=11: more than ITERS",
    "VAL_BATCHES=0: expected -1 for all of the set",
    "NUM_LAYERS=3: the model has 2 layers",
)


def assert_stopped(run: tuple, says: str, status: int) -> None:
    """The run ended with `status`, and one line on stderr names the check that says so."""
    found_status, error, findings, _ = run
    id, _, evidence = says.partition(": ")
    assert found_status == status, error
    assert findings[id]["level"] == "fail", findings[id]
    assert evidence in findings[id]["evidence"], findings[id]
    assert len(error.splitlines()) == 1 and id in error, error


def test_the_experiment_passes_before_it_is_broken(experiment, check):
    status, error, findings, facts = check()
    assert (status, error) == (0, "")
    assert {finding["level"] for finding in findings.values()} == {"ok"}
    assert all(set(f) == {"id", "level", "what", "evidence", "fix"} for f in findings.values())
    assert facts["train_rows"] == 20 and facts["tool_calls"] == 20
    report = json.loads((experiment / "preflight.json").read_text())
    assert list(report) == ["schema", "checks", "facts"] and report["schema"] == 1


@pytest.mark.parametrize(("says", "break_it"), RUINOUS)
def test_what_would_ruin_the_run_is_stopped_by_its_check(experiment, check, says, break_it):
    break_it(experiment)
    assert_stopped(check(), says, status=1)


@pytest.mark.parametrize(("says", "break_it"), UNUSABLE)
def test_what_cannot_be_used_is_named(experiment, check, says, break_it):
    break_it(experiment)
    assert_stopped(check(), says, status=2)


@pytest.mark.parametrize("says", SETTINGS)
def test_a_setting_that_no_step_can_use_is_named(check, says):
    key, value = says.partition(": ")[0].split("=")
    assert_stopped(check(**{key: value}), f"config.settings: {says}", status=2)
