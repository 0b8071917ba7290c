"""Input that cannot be used at all is a finding of its own, and exit status 2."""

import pytest

from breaking import (
    assert_stopped,
    config_json,
    data_file,
    line,
    messages,
    pinned,
    refuse,
    removed,
    settings,
    template,
    tokenizer_config,
    written,
)
from experiment import edit_json

USER, SHORT = ("user", "hi"), ("assistant", "yes")

# what is broken: (how, what is said: the check and words of its evidence)
UNUSABLE = {
    # the tokenizer
    "tokenizer.json cut off": (
        lambda folder: (folder / "base/tokenizer.json").write_text('{"version": "1.0", "mod'),
        "model.base_model: the tokenizer cannot be read",
    ),
    "tokenizer_config.json cut off": (
        written("base/tokenizer_config.json", "{"),
        "model.base_model: tokenizer_config.json:1: not JSON",
    ),
    "no config.json": (removed("base/config.json"), "model.base_model: config.json: No such file"),
    "no base": (removed("base"), "model.base_model: base: no such model folder"),
    "no reference": (
        removed("reference"),
        "model.reference_model: reference: no such model folder",
    ),
    "a model that mlx-lm has not": (
        config_json(model_type="perceptron"),
        "plan.model: Model type perceptron",
    ),
    "special tokens malformed": (
        written("special.json", '{"tokens": []}'),
        "tokenizer.special_tokens: special.json: tokens: Input should be a valid dictionary",
    ),
    "a range of ids that is none": (
        written("special.json", '{"tokens": {}, "equal_ids": [-5, 2]}'),
        "tokenizer.special_tokens: equal_ids[0]: Input should be greater than or equal to 0",
    ),
    "a range of ids that is upside down": (
        written("special.json", '{"tokens": {}, "equal_ids": [2, 0]}'),
        "tokenizer.special_tokens: special.json: equal_ids: expected the first id, then the last",
    ),
    "special tokens nested too deep": (
        written("special.json", "[" * 200_000),
        "tokenizer.special_tokens: special.json: not usable as JSON",
    ),
    "a quantization without bits": (
        config_json(quantization={"group_size": 64}),
        "plan.model: 'quantization' must have 'bits' and 'group_size'",
    ),
    "a size that is none": (
        config_json(hidden_size=2**31),
        "plan.model: describes no model that mlx-lm has",
    ),
    "an end token that is none": (config_json(eos_token_id=-1), "template.render: Error:"),
    # the chat template
    "a template that divides by zero": (
        template("{% endfor %}", "{% endfor %}{{ 1 // 0 }}"),
        "template.render: the chat template refuses the messages",
    ),
    "a template that refuses a validation row": (
        template("{% for m in messages %}", "{% for m in messages %}" + refuse("request 22")),
        "template.render: valid.jsonl:3: BASE_MODEL: the chat template refuses",
    ),
    "a template that refuses the suite": (
        template("{% for m in messages %}", "{% for m in messages %}" + refuse("use hover")),
        "suite.render: hover: BASE_MODEL: the chat template refuses the messages",
    ),
    "no template": (
        tokenizer_config(lambda c: {k: v for k, v in c.items() if k != "chat_template"}),
        "template.render: the chat template refuses the messages",
    ),
    "a template with a syntax error": (
        template("{% endfor %}", "", ["base"]),
        "template.render: train.jsonl:1: BASE_MODEL: the chat template refuses",
    ),
    "a template that refuses a role": (
        template(
            "{% for m in messages %}",
            "{% for m in messages %}{% if m.role == 'system' %}"
            "{{ raise_exception('no system role') }}{% endif %}",
            ["base"],
        ),
        "template.render: no system role",
    ),
    # the rows
    "an unknown role": (
        line(3, messages(("robot", "hi"), SHORT)),
        "data.rows.train: train.jsonl:3: messages[0].role: Input should be 'system', ",
    ),
    "two requests in a row": (
        line(3, messages(USER, USER, SHORT)),
        "data.rows.train: train.jsonl:3: messages: turns must alternate",
    ),
    "a late system prompt": (
        line(3, messages(USER, SHORT, ("system", "x"))),
        "data.rows.train: train.jsonl:3: messages: turns must alternate",
    ),
    "no answer": (line(3, messages(USER)), "data.rows.train: end with it, not ['user']"),
    "an empty answer": (
        line(3, messages(USER, ("assistant", " "))),
        "data.rows.train: messages[1].content: is empty",
    ),
    "a number for content": (
        line(3, messages(USER, ("assistant", 3))),
        "data.rows.train: train.jsonl:3: messages[1].content: Input should be a valid string",
    ),
    "half a surrogate pair": (
        line(3, messages(USER, ("assistant", "a\ud800"))),
        "data.rows.train: Invalid JSON: unexpected end of hex escape",
    ),
    "a row with tools": (
        line(3, messages(USER, SHORT, tools=[])),
        "data.rows.train: tools: Extra inputs are not permitted",
    ),
    "a message with tool_calls": (
        line(3, b'{"messages": [{"role": "user", "content": "a", "tool_calls": []}]}'),
        "data.rows.train: messages[0].tool_calls: Extra inputs",
    ),
    "a list for a row": (line(3, b"[]"), "data.rows.train: Input should be an object"),
    "bad UTF-8": (
        line(3, b'{"messages": "\xff"}'),
        "data.rows.train: invalid unicode code point at column 15",
    ),
    "JSON cut off": (line(20, b'{"messages": ['), "data.rows.train: train.jsonl:20: Invalid JSON"),
    "JSON nested too deep": (
        line(3, b"[" * 200_000),
        "data.rows.train: train.jsonl:3: Invalid JSON: recursion limit",
    ),
    "a blank line": (line(3, b""), "data.rows.train: train.jsonl:3: Invalid JSON"),
    "a byte order mark": (
        data_file(lambda data: b"\xef\xbb\xbf" + data),
        "data.rows.train: train.jsonl:1: begins with a byte order mark",
    ),
    "Windows line ends": (
        data_file(lambda data: data.replace(b"\n", b"\r\n"), "valid"),
        "data.rows.valid: valid.jsonl:1: Windows line end",
    ),
    "a carriage return in a row": (
        line(3, messages(USER, SHORT).replace(b", ", b",\r ", 1)),
        "data.rows.train: train.jsonl:3: Windows line end",
    ),
    "an empty file": (data_file(lambda _: b""), "data.rows.train: train.jsonl: empty file"),
    "no file": (removed("data/valid.jsonl"), "data.rows.valid: valid.jsonl: no such file"),
    "a list of checksums of other files": (
        pinned("0" * 64 + "  data/trian.jsonl\n"),
        "data.checksum.train: sums: lists no train.jsonl",
    ),
    "a malformed list of checksums": (
        pinned("train.jsonl\n"),
        "data.checksum.train: sums:1: expected SHA256",
    ),
    # suite, tools, config
    "a malformed suite": (
        written("suite.json", "{}"),
        "suite.schema: suite.json: name: Field required",
    ),
    "malformed tools": (
        written("tools.json", "{}"),
        "tools.schema: tools.json: tools: Field required",
    ),
    "a suite with a prompt that is none": (
        lambda folder: edit_json(
            folder / "suite.json", lambda suite: suite["prompts"][0].update(prompt="\ud800")
        ),
        "suite.schema: prompts[0].prompt: 'utf-8' codec can't encode character",
    ),
    "targets that are not there": (
        settings(TARGETS="nowhere.json"),
        "config.results: nowhere.json: No such file",
    ),
    "a baseline that is none": (
        settings(BASELINE="data/suite.json"),
        "config.results: data/suite.json: overall: Field required",
    ),
}

# What is said of a setting, which stands at its beginning.
SETTINGS = (
    "Q_BITS=7: expected one of 2, 3, 4, 5, 6, 8",
    "Q_BITS=abc: expected one of",
    "LR_SCHEDULE=cosin: expected one of constant, cosine_decay",
    "EXPAND_TURNS=yes: expected one of 0, 1",
    "LEARNING_RATE=fast: expected a number",
    "LEARNING_RATE=0: expected above 0 to 1",
    "LEARNING_RATE=1e4: expected above 0 to 1",
    "LEARNING_RATE=nan: expected above 0 to 1",
    "LORA_DROPOUT=nan: expected 0 to 0.999",
    "LORA_SCALE=inf: expected above 0",
    "EVAL_TEMPERATURE=hot: expected a number",
    "EVAL_CONCURRENCY=1025: expected 1 to 1,024",
    "EVAL_TIMEOUT=0.0001: expected 0.001 to 1,000,000",
    "ITERS=auto: expected a whole number",
    "EPOCHS=0: expected above 0",
    "EVAL_PORT=99999: expected 0 to 65,535",
    "TRAIN_ROWS=0: expected 1 or more",
    "BATCH_SIZE=1.5: expected a whole number",
    "BATCH_SIZE=5: more than VALID_ROWS=4",
    "GRAD_ACCUMULATION=11: more than ITERS",
    "VAL_BATCHES=0: expected -1 for all of the set",
    "NUM_LAYERS=3: the model has 2 layers",
)


@pytest.mark.parametrize("case", UNUSABLE)
def test_what_cannot_be_used_is_named_in_one_line(experiment, check, case):
    breaking, says = UNUSABLE[case]
    breaking(experiment)
    assert_stopped(check(), says, status=2)


@pytest.mark.parametrize("says", SETTINGS)
def test_a_setting_that_no_step_can_use_is_named(check, says):
    key, value = says.partition(": ")[0].split("=")
    assert_stopped(check(**{key: value}), f"config.settings: {says}", status=2)
