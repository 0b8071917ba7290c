"""Every input that would ruin a run is stopped by the check that is there for it, in one line.

Each case breaks one thing in an experiment that passes (see `experiment`), and names the check that
must stop it. preflight runs in this process: the same main() that make calls.
"""

import json
import shutil

import pytest

from experiment import CALL, configure, edit_json, gold, row, write_rows


def test_the_experiment_passes_before_it_is_broken(check):
    status, error, findings, facts = check()
    assert (status, error) == (0, "")
    assert {finding["level"] for finding in findings.values()} == {"ok"}
    assert all(set(f) == {"id", "level", "what", "evidence", "fix"} for f in findings.values())
    assert facts["train_rows"] == 20 and facts["tool_calls"] == 20


# --- how each thing is broken: a function of the experiment's folder


def tokenizer(change, model="base"):
    return lambda folder: edit_json(folder / model / "tokenizer.json", change)


def tokenizer_config(change, models=("base",)):
    def apply(folder):
        for model in models:
            edit_json(folder / model / "tokenizer_config.json", change)

    return apply


def template(old: str, new: str, models=("base", "reference")):
    def change(config):
        assert old in config["chat_template"]
        config["chat_template"] = config["chat_template"].replace(old, new)

    return tokenizer_config(change, models)


def swap_ids(tokenizer):
    vocabulary = tokenizer["model"]["vocab"]
    first, second = list(vocabulary)[40:42]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]


def move_special_token(tokenizer):
    start, end = tokenizer["added_tokens"][1:3]
    start["content"], end["content"] = end["content"], start["content"]
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["<|im_start|>"], vocabulary["<|im_end|>"] = 2, 1


def rename_token(tokenizer):
    vocabulary = tokenizer["model"]["vocab"]
    name = list(vocabulary)[-1]
    merge = tokenizer["model"]["merges"].pop()
    vocabulary["never" + "".join(merge)] = vocabulary.pop(name)


def drop_merge(tokenizer):
    del tokenizer["model"]["merges"][7]


def swap_merges(tokenizer):
    merges = tokenizer["model"]["merges"]
    merges[3], merges[4] = merges[4], merges[3]


def flag(name):
    def change(tokenizer):
        tokenizer["added_tokens"][2][name] = not tokenizer["added_tokens"][2][name]

    return change


def drop_added_token(tokenizer):
    del tokenizer["added_tokens"][2]
    del tokenizer["model"]["vocab"]["<|im_end|>"]


def add_token(tokenizer):
    extra = dict(tokenizer["added_tokens"][2], content="<extra>", id=5000)
    tokenizer["added_tokens"].append(extra)


def line(number: int, content: bytes, split="train"):
    """Replace one line of a split, counted from 1."""

    def apply(folder):
        path = folder / f"data/{split}.jsonl"
        lines = path.read_bytes().splitlines(keepends=True)
        lines[number - 1] = content + b"\n"
        path.write_bytes(b"".join(lines))

    return apply


def messages(*pairs, **extra):
    rows = {"messages": [{"role": role, "content": content} for role, content in pairs]}
    return json.dumps(rows | extra).encode()


def data_file(change, split="train"):
    def apply(folder):
        path = folder / f"data/{split}.jsonl"
        path.write_bytes(change(path.read_bytes()))

    return apply


def written(name: str, content: str):
    return lambda folder: (folder / name).write_text(content)


def removed(name: str):
    def apply(folder):
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return apply


def settings(**changes):
    return lambda folder: configure(folder, **changes)


def pinned(text: str):
    def apply(folder):
        (folder / "sums").write_text(text)
        configure(folder, CHECKSUMS=folder / "sums")

    return apply


def config_json(**changes):
    return lambda folder: edit_json(folder / "base/config.json", lambda config: config | changes)


def refuse(words: str) -> str:
    """A piece of a template that refuses a message with these words."""
    return f"{{% if '{words}' in m['content'] %}}{{{{ raise_exception('no') }}}}{{% endif %}}"


def newline_id(folder) -> int:
    return json.loads((folder / "base/tokenizer.json").read_text())["model"]["vocab"]["Ċ"]


def huge_model(folder):
    config_json(hidden_size=65536, intermediate_size=262144, vocab_size=10_000_000)(folder)
    configure(folder, TRAINABLE=23.07)


USER, SHORT = ("user", "hi"), ("assistant", "yes")
LOST_CALL = "<tool_call><function=execute_code>print(1)</tool_call>"
BAD_CODE = gold(0).replace("result = ", "result = = ")
OTHER_TOOL = CALL.format(tool="unknown_tool", n=1)

# what is broken: (how, the check that stops it, what its line says, exit status)
BROKEN = {
    # the tokenizer
    "two ids swapped": (tokenizer(swap_ids), "tokenizer.vocabulary", " here, ", 1),
    "a special id moved": (
        *(tokenizer(move_special_token), "tokenizer.special_tokens"),
        *("BASE_MODEL: <|im_start|> has id 2, not 1", 1),
    ),
    "a token renamed": (tokenizer(rename_token), "tokenizer.vocabulary", "missing there", 1),
    "a merge missing": (tokenizer(drop_merge), "tokenizer.merges", "merge 7: ", 1),
    "two merges swapped": (tokenizer(swap_merges), "tokenizer.merges", "merge 3: ", 1),
    "lstrip changed": (tokenizer(flag("lstrip")), "tokenizer.added_tokens", "lstrip True here", 1),
    "special changed": (tokenizer(flag("special")), "tokenizer.added_tokens", "special False", 1),
    "an added token missing": (
        *(tokenizer(drop_added_token), "tokenizer.special_tokens"),
        *("BASE_MODEL: <|im_end|>", 1),
    ),
    "an added token more": (
        *(tokenizer(add_token), "tokenizer.added_tokens", "<extra>: missing there", 1),
    ),
    "another normalizer": (
        *(tokenizer(lambda t: t | {"normalizer": {"type": "NFC"}}), "tokenizer.normalizer"),
        *('{"type": "NFC"} here, none there', 1),
    ),
    "another pre-tokenizer": (
        tokenizer(lambda t: t["pre_tokenizer"].update(add_prefix_space=True)),
        *("tokenizer.pre_tokenizer", ".add_prefix_space: true here, false there", 1),
    ),
    "another eos": (
        tokenizer_config(lambda c: c | {"eos_token": "<|endoftext|>"}),
        *("tokenizer.bos_eos_pad", '.eos_token: "<|endoftext|>" here, "<|im_end|>" there', 1),
    ),
    "a pad token more": (
        tokenizer_config(lambda c: c | {"pad_token": "<|endoftext|>"}),
        *("tokenizer.bos_eos_pad", '.pad_token: "<|endoftext|>" here, none there', 1),
    ),
    "tokenizer.json cut off": (
        lambda folder: (folder / "base/tokenizer.json").write_text('{"version": "1.0", "mod'),
        *("model.base_model", "the tokenizer cannot be read", 2),
    ),
    "tokenizer_config.json cut off": (
        written("base/tokenizer_config.json", "{"),
        *("model.base_model", "tokenizer_config.json:1: not JSON", 2),
    ),
    "no config.json": (
        removed("base/config.json"),
        "model.base_model",
        "config.json: No such file",
        2,
    ),
    "no base": (removed("base"), "model.base_model", "base: no such model directory", 2),
    "no reference": (
        *(removed("reference"), "model.reference_model"),
        *("reference: no such model directory", 2),
    ),
    "a model that mlx-lm has not": (
        *(config_json(model_type="perceptron"), "plan.model", "Model type perceptron", 2),
    ),
    "special tokens malformed": (
        *(written("special.json", '{"tokens": []}'), "tokenizer.special_tokens"),
        *("'tokens' must be an object of ids", 2),
    ),
    "another decoder": (
        tokenizer(lambda t: t | {"decoder": {"type": "Fuse"}}),
        *("tokenizer.decoder", "here", 1),
    ),
    "a range of ids that is none": (
        *(
            written("special.json", '{"tokens": {}, "equal_ids": [-5, 2]}'),
            "tokenizer.special_tokens",
        ),
        *("'equal_ids' must be [first, last], from 0 upwards", 2),
    ),
    "special tokens nested too deep": (
        *(written("special.json", "[" * 200_000), "tokenizer.special_tokens"),
        *("special.json: not usable as JSON", 2),
    ),
    "fewer embeddings than tokens": (
        *(config_json(vocab_size=300), "model.vocabulary", "the embedding has 300 rows", 1),
    ),
    "a quantization without bits": (
        config_json(quantization={"group_size": 64}),
        *("plan.model", "'quantization' must have 'bits' and 'group_size'", 2),
    ),
    "a size that is none": (
        *(config_json(hidden_size=2**31), "plan.model", "describes no model that mlx-lm has", 2),
    ),
    "an end token that is none": (config_json(eos_token_id=-1), "template.render", "Error: ", 2),
    # the chat template
    "an end token that answers hold": (
        lambda folder: (folder / "base/generation_config.json").write_text(
            json.dumps({"eos_token_id": [2, newline_id(folder)]})
        ),
        *("template.answer", "20 of 20 rows would be answered otherwise", 1),
    ),
    "a template that leaves out the answers": (
        template("m['content']", "(m['content'] if m['role'] != 'assistant' else '')"),
        *("template.answer", "20 of 20 rows would be answered otherwise", 1),
    ),
    "a template that leaves out the requests": (
        template("m['content']", "(m['content'] if m['role'] != 'user' else '')"),
        *("template.content", "20 of 20 rows lose a part; train.jsonl:1: no 'request 0", 1),
    ),
    "a template that changes the requests": (
        template("m['content']", "(m['content'] | upper if m['role'] == 'user' else m['content'])"),
        *("template.content", "20 of 20 rows lose a part", 1),
    ),
    "a template that ends answers early": (
        template("m['content']", "(m['content'] if m['role'] != 'assistant' else '<|im_end|>')"),
        *("template.answer", "would be answered otherwise", 1),
    ),
    "a template that divides by zero": (
        template("{% endfor %}", "{% endfor %}{{ 1 // 0 }}"),
        *("template.render", "the chat template refuses the messages", 2),
    ),
    "a template that refuses a validation row": (
        template("{% for m in messages %}", "{% for m in messages %}" + refuse("request 22")),
        *("template.render", "valid.jsonl:3: BASE_MODEL: the chat template refuses", 2),
    ),
    "a template that refuses the suite": (
        template("{% for m in messages %}", "{% for m in messages %}" + refuse("use hover")),
        *("suite.render", "hover: BASE_MODEL: the chat template refuses the messages", 2),
    ),
    "one space more after the role": (
        template("'<|im_start|>assistant\n'", "'<|im_start|>assistant \n'"),
        *("template.prefix", "at token ", 1),
    ),
    "a think block in the prompt only": (
        template("'<|im_start|>assistant\n'", "'<|im_start|>assistant\n<think>\n\n'"),
        *("template.prefix", "evaluation sends", 1),
    ),
    "thinking switched on in the prompt only": (
        template("'<|im_start|>assistant\n'", "'<|im_start|>assistant\n' ~ enable_thinking"),
        *("template.prefix", "evaluation sends", 1),
    ),
    "no end token": (
        template("m['content'] + '<|im_end|>\n'", "m['content'] + '\n'"),
        *("template.end", "hold no end token (<|im_end|>)", 1),
    ),
    "no template": (
        tokenizer_config(lambda c: {k: v for k, v in c.items() if k != "chat_template"}),
        *("template.render", "the chat template refuses the messages", 2),
    ),
    "a template with a syntax error": (
        template("{% endfor %}", "", ["base"]),
        *("template.render", "train.jsonl:1: BASE_MODEL: the chat template refuses", 2),
    ),
    "a template that refuses a role": (
        template(
            "{% for m in messages %}",
            "{% for m in messages %}{% if m.role == 'system' %}"
            "{{ raise_exception('no system role') }}{% endif %}",
            ["base"],
        ),
        *("template.render", "no system role", 2),
    ),
    # the rows
    "an unknown role": (
        *(line(3, messages(("robot", "hi"), SHORT)), "data.rows.train"),
        *("train.jsonl:3: unknown role 'robot'", 2),
    ),
    "two requests in a row": (
        *(line(3, messages(USER, USER, SHORT)), "data.rows.train"),
        *("train.jsonl:3: turns must alternate", 2),
    ),
    "a late system prompt": (
        *(line(3, messages(USER, SHORT, ("system", "x"))), "data.rows.train"),
        *("train.jsonl:3: turns must alternate", 2),
    ),
    "no answer": (line(3, messages(USER)), "data.rows.train", "end with the assistant", 2),
    "an empty answer": (
        *(line(3, messages(USER, ("assistant", " "))), "data.rows.train"),
        *("the assistant's content is empty", 2),
    ),
    "a number for content": (
        *(line(3, messages(USER, ("assistant", 3))), "data.rows.train"),
        *("train.jsonl:3: the assistant's content must be a string", 2),
    ),
    "half a surrogate pair": (
        *(line(3, messages(USER, ("assistant", "a\ud800"))), "data.rows.train"),
        *("half a surrogate pair at character 1", 2),
    ),
    "a row with tools": (
        *(line(3, messages(USER, SHORT, tools=[])), "data.rows.train", "not 'tools'", 2),
    ),
    "a message with tool_calls": (
        line(3, b'{"messages": [{"role": "user", "content": "a", "tool_calls": []}]}'),
        *("data.rows.train", "not 'tool_calls'", 2),
    ),
    "a list for a row": (line(3, b"[]"), "data.rows.train", 'expected {"messages"', 2),
    "bad UTF-8": (line(3, b'{"messages": "\xff"}'), "data.rows.train", "not UTF-8 at byte 14", 2),
    "JSON cut off": (line(20, b'{"messages": ['), "data.rows.train", "train.jsonl:20: not JSON", 2),
    "JSON nested too deep": (line(3, b"[" * 200_000), "data.rows.train", "train.jsonl:3: not", 2),
    "a blank line": (line(3, b""), "data.rows.train", "train.jsonl:3: not JSON", 2),
    "a byte order mark": (
        data_file(lambda data: b"\xef\xbb\xbf" + data),
        *("data.rows.train", "train.jsonl:1: begins with a byte order mark", 2),
    ),
    "Windows line ends": (
        data_file(lambda data: data.replace(b"\n", b"\r\n"), "valid"),
        *("data.rows.valid", "valid.jsonl:1: Windows line end", 2),
    ),
    "a carriage return in a row": (
        line(3, messages(USER, SHORT).replace(b", ", b",\r ", 1)),
        *("data.rows.train", "train.jsonl:3: Windows line end", 2),
    ),
    "an empty file": (data_file(lambda _: b""), "data.rows.train", "train.jsonl: empty file", 2),
    "no file": (removed("data/valid.jsonl"), "data.rows.valid", "valid.jsonl: no such file", 2),
    "a row missing": (
        data_file(lambda data: data[: data[:-1].rindex(b"\n") + 1]),
        *("data.rows.train", "19 rows, TRAIN_ROWS=20", 1),
    ),
    "a row more": (
        data_file(lambda data: data + data[: data.index(b"\n") + 1], "valid"),
        *("data.rows.valid", "5 rows, VALID_ROWS=4", 1),
    ),
    "other bytes than the pinned ones": (
        *(
            pinned("".join("0" * 64 + f"  data/{s}.jsonl\n" for s in ("train", "valid"))),
            "data.checksum.train",
        ),
        *("not the same file", 1),
    ),
    "a list of checksums of other files": (
        pinned("0" * 64 + "  data/trian.jsonl\n"),
        *("data.checksum.train", "sums: lists no train.jsonl", 2),
    ),
    "a malformed list of checksums": (
        *(pinned("train.jsonl\n"), "data.checksum.train", "sums:1: expected SHA256", 2),
    ),
    # what the server and the scorer make of the calls
    "a call that no parser reads": (
        line(3, messages(USER, ("assistant", LOST_CALL))),
        *("served.parser", "qwen3_coder, which the server would use, keeps 19 of 20", 1),
    ),
    "no call in training": (
        lambda folder: write_rows(folder / "data/train.jsonl", [row(n, "Yes.") for n in range(20)]),
        *("served.parser", "the training rows hold no tool call", 1),
    ),
    "calls in earlier turns only": (
        lambda folder: write_rows(
            folder / "data/train.jsonl", [row(n, gold(n), "Done.") for n in range(20)]
        ),
        *("data.masked_calls", "20 of 20 rows with a call have it in an earlier turn only", 1),
    ),
    "a gold call that is no Python": (
        line(2, messages(USER, ("assistant", BAD_CODE)), "valid"),
        *("instrument.gold", "valid.jsonl:2: ", 1),
    ),
    "a gold call of no known tool": (
        line(2, messages(USER, ("assistant", OTHER_TOOL)), "valid"),
        *("instrument.gold", "valid.jsonl:2: ", 1),
    ),
    "no gold call": (
        lambda folder: write_rows(folder / "data/valid.jsonl", [row(n, "Yes.") for n in range(4)]),
        *("instrument.gold", "no tool call", 1),
    ),
    # suite, tools, config
    "a malformed suite": (written("suite.json", "{}"), "suite.schema", "'name' must be", 2),
    "malformed tools": (written("tools.json", "{}"), "tools.schema", "'tools' must be", 2),
    "a suite with a prompt that is none": (
        lambda folder: edit_json(
            folder / "suite.json", lambda suite: suite["prompts"][0].update(prompt="\ud800")
        ),
        *("suite.schema", "prompt 1: 'prompt' is empty or holds half a surrogate pair", 2),
    ),
    "an accumulation that never ends": (
        settings(GRAD_ACCUMULATION=11),
        *("config.settings", "GRAD_ACCUMULATION=11: more than ITERS", 2),
    ),
    "a batch larger than the validation split": (
        settings(BATCH_SIZE=5, ITERS=4),
        *("config.settings", "BATCH_SIZE=5: more than VALID_ROWS=4", 2),
    ),
    "a rate with a lost minus": (
        *(settings(LEARNING_RATE="1e4"), "config.settings", "expected above 0 to 1", 2),
    ),
    "answers that are cut off": (
        *(settings(MAX_SEQ_LENGTH=45), "data.lengths", "limit 45; cut 20: train.jsonl:1: ", 1),
    ),
    "twice the iterations": (
        *(settings(ITERS=20), "plan.epochs", "20 iterations x 2 rows / 20 rows = 2, declared 1", 1),
    ),
    "epochs off by two percent": (settings(EPOCHS=1.02), "plan.epochs", "declared 1.02", 1),
    "half the batch": (settings(BATCH_SIZE=1), "plan.epochs", "= 0.5, declared 1", 1),
    "half the layers": (settings(NUM_LAYERS=1), "plan.coverage", "= 50%, declared 100%", 1),
    "half the rank": (settings(LORA_RANK=4), "plan.trainable", "0.008192M, declared 0.016384M", 1),
    "a smaller model of the family": (
        *(config_json(intermediate_size=64), "plan.trainable", "declared 0.016384M", 1),
    ),
    "more layers than there are": (
        *(settings(NUM_LAYERS=3), "config.settings", "NUM_LAYERS=3: the model has 2 layers", 2),
    ),
    "seven bits": (settings(Q_BITS=7), "config.settings", "Q_BITS=7: expected one of", 2),
    "no rate": (settings(LEARNING_RATE=0), "config.settings", "LEARNING_RATE=0: expected", 2),
    "a rate that is no number": (
        *(settings(LEARNING_RATE="nan"), "config.settings", "LEARNING_RATE=nan: expected", 2),
    ),
    "a model larger than the disk": (huge_model, "resources.disk", "GB needed (fused 3,136", 1),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_broken_is_stopped_by_its_check_in_one_line(experiment, check, case):
    break_it, id, evidence, expected_status = BROKEN[case]
    break_it(experiment)
    status, error, findings, _ = check()
    assert status == expected_status, error
    assert findings[id]["level"] == "fail", findings[id]
    assert evidence in findings[id]["evidence"]
    assert len(error.splitlines()) == 1 and error.startswith(f"preflight: {id}: ")
    assert "Traceback" not in error
