"""How to break the experiment that passes preflight: each gives a function of its folder."""

import json
import shutil

from experiment import configure, edit_json


def tokenizer(change):
    return lambda folder: edit_json(folder / "base/tokenizer.json", change)


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


def assert_stopped(run: tuple, says: str, status: int) -> None:
    """check() gave one line on stderr: from that check, with those words ("check: words")."""
    found_status, error, findings, _ = run
    id, _, evidence = says.partition(": ")
    assert found_status == status, error
    assert findings[id]["level"] == "fail", findings[id]
    assert evidence in findings[id]["evidence"], findings[id]
    assert len(error.splitlines()) == 1 and error.startswith(f"preflight: {id}: "), error
