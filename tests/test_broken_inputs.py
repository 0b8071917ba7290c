"""Every input that would ruin a run is stopped by the check that is there for it, in one line.

Each case breaks one thing in an experiment that passes (see `experiment`), and names the check that
must stop it. preflight runs in this process: the same main() that make calls.
"""

import json

import pytest

from breaking import (
    add_token,
    assert_stopped,
    config_json,
    data_file,
    drop_added_token,
    drop_merge,
    flag,
    huge_model,
    line,
    messages,
    move_special_token,
    newline_id,
    pinned,
    rename_token,
    settings,
    swap_ids,
    swap_merges,
    template,
    tokenizer,
    tokenizer_config,
)
from experiment import CALL, gold, row, write_rows

USER, SHORT = ("user", "hi"), ("assistant", "yes")
LOST_CALL = "<tool_call><function=execute_code>print(1)</tool_call>"
BAD_CODE = gold(0).replace("result = ", "result = = ")
OTHER_TOOL = CALL.format(tool="unknown_tool", n=1)

# what is broken: (how, what is said: the check and words of its evidence)
RUINOUS = {
    # the tokenizer
    "two ids swapped": (tokenizer(swap_ids), "tokenizer.vocabulary: here,"),
    "a special id moved": (
        tokenizer(move_special_token),
        "tokenizer.special_tokens: BASE_MODEL: <|im_start|> has id 2, not 1",
    ),
    "a token renamed": (tokenizer(rename_token), "tokenizer.vocabulary: missing there"),
    "a merge missing": (tokenizer(drop_merge), "tokenizer.merges: merge 7:"),
    "two merges swapped": (tokenizer(swap_merges), "tokenizer.merges: merge 3:"),
    "lstrip changed": (
        tokenizer(flag("lstrip")),
        "tokenizer.added_tokens: <|im_end|>: [2, 'lstrip', 'special'] here",
    ),
    "special changed": (
        tokenizer(flag("special")),
        "tokenizer.added_tokens: <|im_end|>: [2] here, [2, 'special'] there",
    ),
    "an added token missing": (
        tokenizer(drop_added_token),
        "tokenizer.special_tokens: BASE_MODEL: <|im_end|>",
    ),
    "an added token more": (
        tokenizer(add_token),
        "tokenizer.added_tokens: <extra>: [600, 'special'] here, missing there",
    ),
    "another normalizer": (
        tokenizer(lambda t: t | {"normalizer": {"type": "NFC"}}),
        "tokenizer.normalizer: type: NFC here, missing there",
    ),
    "another pre-tokenizer": (
        tokenizer(lambda t: t["pre_tokenizer"].update(add_prefix_space=True)),
        "tokenizer.pre_tokenizer: add_prefix_space: True here, False there",
    ),
    "another eos": (
        tokenizer_config(lambda c: c | {"eos_token": "<|endoftext|>"}),
        "tokenizer.bos_eos_pad: eos_token: <|endoftext|> here, <|im_end|> there",
    ),
    "a pad token more": (
        tokenizer_config(lambda c: c | {"pad_token": "<|endoftext|>"}),
        "tokenizer.bos_eos_pad: pad_token: <|endoftext|> here, None there",
    ),
    "another decoder": (
        tokenizer(lambda t: t | {"decoder": {"type": "Fuse"}}),
        "tokenizer.decoder: here",
    ),
    "fewer embeddings than tokens": (
        config_json(vocab_size=300),
        "model.vocabulary: the embedding has 300 rows",
    ),
    # the chat template
    "an end token that answers hold": (
        lambda folder: (folder / "base/generation_config.json").write_text(
            json.dumps({"eos_token_id": [2, newline_id(folder)]})
        ),
        "template.answer: 20 of 20 rows would be answered otherwise",
    ),
    "a template that leaves out the answers": (
        template("m['content']", "(m['content'] if m['role'] != 'assistant' else '')"),
        "template.answer: 20 of 20 rows would be answered otherwise",
    ),
    "a template that leaves out the requests": (
        template("m['content']", "(m['content'] if m['role'] != 'user' else '')"),
        "template.content: 20 of 20 rows lose a part; train.jsonl:1: no 'request 0",
    ),
    "a template that changes the requests": (
        template("m['content']", "(m['content'] | upper if m['role'] == 'user' else m['content'])"),
        "template.content: 20 of 20 rows lose a part",
    ),
    "a template that ends answers early": (
        template("m['content']", "(m['content'] if m['role'] != 'assistant' else '<|im_end|>')"),
        "template.answer: would be answered otherwise",
    ),
    "one space more after the role": (
        template("'<|im_start|>assistant\n'", "'<|im_start|>assistant \n'"),
        "template.prefix: at token",
    ),
    "a think block in the prompt only": (
        template("'<|im_start|>assistant\n'", "'<|im_start|>assistant\n<think>\n\n'"),
        "template.prefix: evaluation sends",
    ),
    "thinking switched on in the prompt only": (
        template("'<|im_start|>assistant\n'", "'<|im_start|>assistant\n' ~ enable_thinking"),
        "template.prefix: evaluation sends",
    ),
    "no end token": (
        template("m['content'] + '<|im_end|>\n'", "m['content'] + '\n'"),
        "template.end: hold no end token (<|im_end|>)",
    ),
    # the rows
    "a row missing": (
        data_file(lambda data: data[: data[:-1].rindex(b"\n") + 1]),
        "data.rows.train: 19 rows, TRAIN_ROWS=20",
    ),
    "a row more": (
        data_file(lambda data: data + data[: data.index(b"\n") + 1], "valid"),
        "data.rows.valid: 5 rows, VALID_ROWS=4",
    ),
    "other bytes than the pinned ones": (
        pinned("".join("0" * 64 + f"  data/{s}.jsonl\n" for s in ("train", "valid"))),
        "data.checksum.train: not the same file",
    ),
    # what the server and the scorer make of the calls
    "a call that no parser reads": (
        line(3, messages(USER, ("assistant", LOST_CALL))),
        "served.parser: qwen3_coder, which the server would use, keeps 19 of 20",
    ),
    "no call in training": (
        lambda folder: write_rows(folder / "data/train.jsonl", [row(n, "Yes.") for n in range(20)]),
        "served.parser: the training rows hold no tool call",
    ),
    "calls in earlier turns only": (
        lambda folder: write_rows(
            folder / "data/train.jsonl", [row(n, gold(n), "Done.") for n in range(20)]
        ),
        "data.masked_calls: 20 of 20 rows with a call have it in an earlier turn only",
    ),
    "a gold call that is no Python": (
        line(2, messages(USER, ("assistant", BAD_CODE)), "valid"),
        "instrument.gold: valid.jsonl:2:",
    ),
    "a gold call of no known tool": (
        line(2, messages(USER, ("assistant", OTHER_TOOL)), "valid"),
        "instrument.gold: valid.jsonl:2:",
    ),
    "no gold call": (
        lambda folder: write_rows(folder / "data/valid.jsonl", [row(n, "Yes.") for n in range(4)]),
        "instrument.gold: no tool call",
    ),
    # suite, tools, config
    "answers that are cut off": (
        settings(MAX_SEQ_LENGTH=45),
        "data.lengths: limit 45; cut 20: train.jsonl:1:",
    ),
    "twice the iterations": (
        settings(ITERS=20),
        "plan.epochs: 20 iterations x 2 rows / 20 rows = 2, declared 1",
    ),
    "epochs off by two percent": (settings(EPOCHS=1.02), "plan.epochs: declared 1.02"),
    "half the batch": (settings(BATCH_SIZE=1), "plan.epochs: = 0.5, declared 1"),
    "half the layers": (settings(NUM_LAYERS=1), "plan.coverage: = 50%, declared 100%"),
    "half the rank": (settings(LORA_RANK=4), "plan.trainable: 0.008192M, declared 0.016384M"),
    "a smaller model of the family": (
        config_json(intermediate_size=64),
        "plan.trainable: declared 0.016384M",
    ),
    "a model larger than the disk": (huge_model, "resources.disk: GB needed (fused 3,136"),
}


def test_the_experiment_passes_before_it_is_broken(check):
    status, error, findings, facts = check()
    assert (status, error) == (0, "")
    assert {finding["level"] for finding in findings.values()} == {"ok"}
    assert all(set(f) == {"id", "level", "what", "evidence", "fix"} for f in findings.values())
    assert facts["train_rows"] == 20 and facts["tool_calls"] == 20


@pytest.mark.parametrize("case", RUINOUS)
def test_what_would_ruin_the_run_is_stopped_by_its_check_in_one_line(experiment, check, case):
    breaking, says = RUINOUS[case]
    breaking(experiment)
    assert_stopped(check(), says, status=1)
