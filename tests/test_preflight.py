"""What preflight warns of, what it counts, and what it leaves behind."""

import json
import re
import subprocess
import sys

from chat_format import encode, open_tokenizer, render
from checks import plan as check_plan
from conftest import ROOT
from experiment import (
    CALL,
    SYSTEM,
    TOOLS,
    configure,
    edit_json,
    gold,
    row,
    template,
    tokenizer_config,
    write_rows,
)
from rows import read_rows


def train(folder, rows):
    write_rows(folder / "data/train.jsonl", rows)


def test_a_tool_that_training_hardly_calls_is_a_warning(experiment, check):
    train(experiment, [row(n, CALL.format(tool=TOOLS[n > 1], n=n)) for n in range(20)])
    status, _, findings, _ = check()
    assert status == 0
    assert findings["data.tools"]["level"] == "warn"
    assert "hover: 0 calls; read_file: 2 calls" in findings["data.tools"]["evidence"]


def test_a_tool_that_only_the_system_prompt_names_is_a_warning(experiment, check):
    system = f"{SYSTEM} Tools: hover(path), fly_away(path)."
    edit_json(experiment / "suite.json", lambda suite: suite | {"system": system})
    _, _, findings, _ = check()
    assert "training never uses fly_away" in findings["data.unused_tools"]["evidence"]
    assert findings["data.system_prompts"]["level"] == "warn"
    evidence = findings["data.system_prompts"]["evidence"]
    assert evidence.startswith(
        "0 of 20 training rows have the suite's system prompt; 20 rows have "
    )


def test_shared_prompts_are_counted_and_listed(experiment, check):
    write_rows(experiment / "data/valid.jsonl", [row(n, gold(n)) for n in (18, 19, 20, 21)])
    edit_json(
        experiment / "suite.json", lambda s: s["prompts"][1].update(prompt="request 3, turn 0")
    )
    _, _, findings, facts = check()
    assert findings["data.leaks.valid"]["evidence"].startswith("2 of 4: ")
    assert findings["data.leaks.suite"]["evidence"].startswith("1 of 3: git_status = ")
    assert findings["data.leaks.valid"]["level"] == findings["data.leaks.suite"]["level"] == "warn"
    assert [entry.split(":")[-1] for entry in facts["valid_prompts_in_train"]] == ["19", "20"]


def test_a_row_that_would_be_cut_is_a_warning(experiment, check):
    rows = [row(n, gold(n)) for n in range(19)] + [row(19, "many words " * 200)]
    train(experiment, rows)
    _, _, findings, facts = check(MAX_SEQ_LENGTH=512)
    longest = facts["row_tokens"]["longest"]
    assert findings["data.lengths"]["level"] == "warn"
    assert "cut 1: train.jsonl:20: " in findings["data.lengths"]["evidence"]
    limit = int(findings["data.lengths"]["fix"].split("=")[1].split(",")[0])
    assert longest <= limit < longest + 32
    assert check(MAX_SEQ_LENGTH=limit)[2]["data.lengths"]["level"] == "ok"


def test_calls_outside_the_loss_are_counted_and_expand_turns_trains_them(experiment, check):
    rows = [row(n, gold(n), "Done.") for n in range(8)] + [row(n, gold(n)) for n in range(8, 20)]
    train(experiment, rows)
    _, _, findings, facts = check()
    assert "8 of 20 rows with a call" in findings["data.masked_calls"]["evidence"]
    assert facts["calls_outside_loss"] == 8 and findings["data.masked_calls"]["level"] == "warn"

    status, _, findings, facts = check(EXPAND_TURNS=1)
    assert (status, facts["train_rows"]) == (1, 28)
    evidence = findings["plan.epochs"]["evidence"]
    assert evidence == "10 iterations x 2 rows / 28 rows = 0.7143, declared 1"
    status, _, findings, facts = check(EXPAND_TURNS=1, ITERS=14)
    assert status == 0 and facts["calls_outside_loss"] == 0
    assert findings["data.masked_calls"]["level"] == "ok"


def test_supervised_tokens_are_those_that_mlx_lm_does_not_mask(experiment, check):
    from mlx_lm.tuner.datasets import ChatDataset

    train(experiment, [row(n, gold(n), "Done.") for n in range(20)])
    _, _, _, facts = check()
    tokenizer = open_tokenizer(experiment / "base")
    dataset = ChatDataset([], tokenizer, mask_prompt=True)
    rows = [row for _, row in read_rows(experiment / "data/train.jsonl")]
    processed = [dataset.process(row) for row in rows]
    assert facts["train_tokens"] == sum(len(tokens) for tokens, _ in processed)
    assert facts["supervised_tokens"] == sum(len(tokens) - at for tokens, at in processed)
    assert [encode(tokenizer, [render(tokenizer, r["messages"])])[0] for r in rows] == [
        tokens for tokens, _ in processed
    ]


def test_another_wording_of_the_reference_is_shown_in_context(experiment, check):
    template("'role'] +", "'role'] ~ ':' ~", ["reference"])(experiment)
    _, _, findings, _ = check()
    wording = findings["template.wording"]
    assert wording["level"] == "warn"
    assert wording["evidence"] == (
        "20 of 20 rows are worded differently; train.jsonl:1: "
        "'<|im_start|>system\\nYou are a careful assis' here, "
        "'<|im_start|>system:\\nYou are a careful assi' there"
    )


def test_a_loss_without_weights_is_a_warning_and_with_strict_a_failure(check):
    status, _, findings, _ = check(SAVE_EVERY=10)
    assert status == 0 and findings["plan.checkpoints"]["level"] == "warn"
    assert "validated after every 5 and" in findings["plan.checkpoints"]["evidence"]
    status, error, findings, _ = check(SAVE_EVERY=10, STRICT=1)
    assert status == 1 and findings["plan.checkpoints"]["level"] == "fail"
    assert error == "preflight: failed checks: plan.checkpoints; see above\n"


def test_a_parser_that_loses_calls_is_replaced_by_the_one_that_loses_none(experiment, check):
    parser = {"tool_parser_type": "json_tools"}
    tokenizer_config(lambda config: config | parser, ("base", "reference"))(experiment)
    status, _, findings, facts = check(STRICT=1)  # nothing is to be done about this warning
    assert status == 0 and findings["served.parser"]["level"] == "warn"
    assert "keeps 0 of 20; qwen3_coder keeps all" in findings["served.parser"]["evidence"]
    assert facts["tool_parser_inferred"] == "json_tools"
    assert (facts["tool_parser"], facts["tool_calls"]) == ("qwen3_coder", 20)


def test_what_is_harmless_raises_no_alarm(experiment, check):
    """A default left out of a file, another format's tag in code, end tokens in another file."""
    edit_json(
        experiment / "base/tokenizer.json", lambda t: t["pre_tokenizer"].pop("use_regex") and None
    )
    tricky = gold(0).replace("print(result)", 'print("<function name=x>[TOOL_CALLS]<tool>")')
    train(experiment, [row(n, tricky if n == 5 else gold(n)) for n in range(20)])
    edit_json(experiment / "base/config.json", lambda c: c.pop("eos_token_id") and None)
    (experiment / "base/generation_config.json").write_text('{"eos_token_id": 2}')
    status, error, _, _ = check()
    assert (status, error) == (0, "")


def test_json_calls_are_kept_by_the_json_parser(experiment, check):
    body = {"name": "execute_code", "arguments": {"code": "hover('a')"}}
    call = f"<tool_call>\n{json.dumps(body)}\n</tool_call>"
    for split, count in (("train", 20), ("valid", 4)):
        write_rows(experiment / f"data/{split}.jsonl", [row(n, call) for n in range(count)])
    status, _, findings, facts = check()
    assert status == 0 and facts["tool_parser"] == "json_tools"
    assert findings["instrument.gold"]["level"] == "ok"


def test_a_wrong_scorer_fails_the_instrument_check(check, monkeypatch):
    import score

    monkeypatch.setattr(score, "rate", lambda *_: 1.0)
    status, error, findings, _ = check()
    assert status == 1 and findings["instrument.gold"]["level"] == "ok"
    assert "instrument.prose, instrument.direct, instrument.wrong_tool; see" in error


def test_a_model_that_is_not_here_is_named_and_the_rest_is_checked(check):
    status, _, findings, _ = check(REFERENCE_MODEL="org/nowhere")
    reference = findings["model.reference_model"]
    assert status == 2 and reference["evidence"].startswith("org/nowhere: no such folder, and")
    assert findings["served.parser"]["level"] == findings["plan.epochs"]["level"] == "ok"
    assert "tokenizer.rows" not in findings


def test_the_disk_of_the_hubs_cache_is_looked_at_too(tmp_path, monkeypatch):
    snapshot = tmp_path / "models--org--name/snapshots/abc"
    snapshot.mkdir(parents=True)
    monkeypatch.setattr(check_plan, "HF_HUB_CACHE", str(tmp_path))
    (found,) = check_plan.check_download(snapshot, {"base_bytes": 10**18})
    assert (found["id"], found["level"]) == ("resources.download", "fail")
    (found,) = check_plan.check_download(None, {"base_bytes": 1000})
    assert found["level"] == "ok" and found["evidence"].startswith("0 MB to come from the hub")
    (snapshot / "model.safetensors").write_bytes(b"x" * 1000)
    assert check_plan.check_download(snapshot, {"base_bytes": 1000}) == []
    assert check_plan.check_download(tmp_path, {"base_bytes": 1000}) == []


def test_the_table_shows_what_is_not_ok_and_fits_a_terminal(experiment):
    configure(experiment, EPOCHS=2, SAVE_EVERY=10, TARGETS="nowhere.json")
    words = ["--config", experiment / "x.env", "--out", experiment]
    command = [sys.executable, ROOT / "py/preflight.py", *words]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.stderr == "preflight: failed checks: config.results, plan.epochs; see above\n"
    lines = run.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split(":")[0] for line in lines if not line.startswith(" ")][:3] == [
        "warn  plan.checkpoints",
        "fail  config.results",
        "fail  plan.epochs",
    ]
    assert any(line.startswith("      -> set EPOCHS=1 ") for line in lines)
    assert re.match(r"\d+ checks ok, 1 warned, 2 failed, ", lines[-2])
    assert "left out" in lines[-1]


def test_programs_may_have_arguments_that_the_signatures_in_tools_lack(experiment, check):
    tools = [{"name": tool, "signature": f"{tool}(file: str)"} for tool in TOOLS]
    (experiment / "tools.json").write_text(json.dumps({"tools": tools}))
    answers = [gold(n).replace('.py")', '.py", 3, staged=True)') for n in range(24)]
    rows = [row(n, answer) for n, answer in enumerate(answers)]
    train(experiment, rows[:20])
    write_rows(experiment / "data/valid.jsonl", rows[20:])
    assert check()[0] == 0


def test_strange_calls_in_training_are_a_warning(experiment, check):
    answers = [
        gold(0).replace("execute_code", "exec_code"),
        gold(1).replace("result = ", "result = = "),
        gold(2).replace("<tool_call>", "<toolcall>"),
        "Use execute_code for that.",
    ]
    answers.append(CALL.format(tool="read_fil", n=4))
    train(experiment, [row(n, (answers + [gold(n)] * 20)[n]) for n in range(20)])
    evidence = check()[2]["data.calls"]["evidence"]
    assert "functions that are no tool: train.jsonl:5 calls read_fil; 1 calls of exec" in evidence
    assert "code that is not Python: train.jsonl:2" in evidence
    assert "text like a call that is none: train.jsonl:3; train.jsonl:4" in evidence


def test_a_category_that_targets_or_suite_lacks_is_a_warning(experiment, check):
    targets = {"overall": 0.8, "categories": {"text_tool": 0.8}}
    (experiment / "targets.json").write_text(json.dumps({"targets": targets}))
    found = check()[2]["suite.categories"]
    assert found["level"] == "warn"
    assert found["evidence"] == "no prompt of text_tool; no target for text_tools"


def test_another_experiments_folder_is_refused(experiment, check):
    (experiment / "build").mkdir()
    (experiment / "build/.phase40-build").write_text("phase39\n")
    status, _, findings, _ = check()
    assert status == 1
    assert findings["config.build"]["evidence"] == "it holds the experiment phase39, this is demo"
    (experiment / "build/.phase40-build").write_text("demo\n")
    assert check()[0] == 0


def test_auto_states_the_number_instead_of_holding_it_to_one(experiment, check):
    auto = dict.fromkeys("TRAIN_ROWS VALID_ROWS EPOCHS COVERAGE TRAINABLE".split(), "auto")
    train(experiment, [row(n, gold(n)) for n in range(17)])
    status, error, findings, facts = check(NUM_LAYERS=1, ITERS=20, **auto)
    assert (status, error) == (0, "")
    assert (facts["train_rows"], facts["valid_rows"]) == (17, 4)
    assert findings["plan.epochs"]["evidence"] == "20 iterations x 2 rows / 17 rows = 2.353"
    assert findings["plan.coverage"]["evidence"].endswith("= 50%")
    status, _, findings, _ = check(BATCH_SIZE=5, **auto)
    evidence = findings["data.rows.valid"]["evidence"]
    assert status == 2 and evidence.startswith("BATCH_SIZE=5: more than the 4 rows of")


def test_advice_is_never_the_value_that_was_just_rejected(check):
    fix = check(ITERS=28, EPOCHS=2.76)[2]["plan.epochs"]["fix"]
    assert fix == "set EPOCHS=2.8 if that is the plan"  # 27 make 2.7 and 28 make 2.8
    fix = check(ITERS=28, EPOCHS=3)[2]["plan.epochs"]["fix"]
    assert fix == "set EPOCHS=2.8 if that is the plan, else ITERS=30"
    assert check(ITERS=30, EPOCHS=3)[0] == 0


def test_rows_are_left_for_the_evaluation_when_some_choose_the_checkpoint(check):
    status, _, found, _ = check(SELECT="calls", SELECT_ROWS=3)
    assert status == 0 and found["data.select"]["level"] == "ok"
    assert "1 are left for the evaluation" in found["data.select"]["evidence"]
    assert check(SELECT="calls", SELECT_ROWS=4)[2]["data.select"]["level"] == "warn"
    assert "data.select" not in check(SELECT="loss")[2]
