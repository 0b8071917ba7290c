"""SELECT=calls: the checkpoint that makes the right calls is kept, though another has a lower loss.

Three checkpoints, each taught on its own: one learns the prose and makes wrong calls, one makes the
right calls and has no prose. The third is the second with less certainty: the same answers, and
another loss.
"""

import shutil

import mlx.core as mx
import pytest
from mlx_lm import load
from mlx_lm.tuner.utils import linear_to_lora_layers

from chat_format import TEMPLATE_ARGUMENTS
from checkpoints import find_checkpoints
from client import ask, choose_model
from conftest import ROOT
from experiment import CALL, write_rows
from files import read_json, sha256_of
from right_calls import BATCH, count_right, generate_answers, rows_of
from server import start_server
from suite import messages_of
from taught import suite_of, teach
from tools import read_schemas
from training import SENTENCES, best, run_training

TOOLS = ROOT / "data/tools.json"
PROSE, RIGHT, UNSURE = 20, 40, 60  # the checkpoints, by iteration
CALLS = {f"file {n}": CALL.format(tool="read_file", n=n) for n in range(BATCH + 1)}
OTHERS = {f"file {n}": CALL.format(tool="read_file", n=n + 1) for n in range(BATCH + 1)}
TALK = {f"talk {n}": " ".join(SENTENCES) for n in range(BATCH + 1)}


def conversations(answers: dict[str, str]) -> list[dict]:
    """A row for each prompt of taught.teach(), with its answer."""
    suite = suite_of(answers)
    rows = []
    for prompt in suite["prompts"]:
        answer = {"role": "assistant", "content": answers[prompt["prompt"]]}
        rows.append({"messages": [*messages_of(suite, prompt), answer]})
    return rows


@pytest.fixture(scope="module")
def taught_weights(tiny_model, tmp_path_factory):
    """{iteration: file with the weights of the whole model}."""
    files = {}
    for iteration, answers in ((PROSE, TALK | OTHERS), (RIGHT, CALLS)):
        folder = shutil.copytree(tiny_model, tmp_path_factory.mktemp("lessons") / "model")
        teach(folder, answers)
        files[iteration] = folder / "model.safetensors"
    unsure = mx.load(str(files[RIGHT]))
    unsure["model.norm.weight"] *= 0.5  # halves the logits: the greatest one stays the greatest
    files[UNSURE] = files[RIGHT].with_name("unsure.safetensors")
    mx.save_safetensors(str(files[UNSURE]), unsure)
    return files


@pytest.fixture
def staging(lora, taught_weights, tmp_path):
    """A training that has ended, with these weights in its checkpoints."""
    asked = conversations(CALLS)
    write_rows(tmp_path / "data/train.jsonl", [asked[-1], *conversations(TALK)])
    write_rows(tmp_path / "data/valid.jsonl", asked + conversations(TALK))
    folder = tmp_path / "adapters.training"
    ended = run_training(lora(folder, fine_tune_type="full"))
    assert ended.returncode == 0, ended.stderr
    for iteration, file in find_checkpoints(folder).items():
        shutil.copy(taught_weights[iteration], file)
    return folder


def select_calls(staging, *options):
    """best.py as SELECT=calls has it; gives the run and its training.json."""
    out = staging.parent / "calls"
    words = ("--select-rows", 0, "--tools", TOOLS, "--data", staging.parent / "data", *options)
    kept = best(staging, out, *words)
    assert kept.returncode == 0, kept.stderr
    return kept.stdout, read_json(out / "training.json")


def test_the_most_right_calls_win_over_the_lowest_loss(staging):
    kept = best(staging, staging.parent / "loss")
    assert kept.returncode == 0, kept.stderr
    by_loss = read_json(staging.parent / "loss/training.json")
    assert by_loss["best_iteration"] == PROSE
    assert by_loss["select"] == "loss" and "select_rows" not in by_loss
    assert all(set(c) == {"iteration", "reported", "val_loss"} for c in by_loss["candidates"])
    said, by_calls = select_calls(staging)
    assert by_calls["select"] == "calls" and by_calls["select_rows"] == BATCH  # one is in train
    found = {c["iteration"]: c for c in by_calls["candidates"]}
    assert [found[n]["right_calls"] for n in (PROSE, RIGHT, UNSURE)] == [0, BATCH, BATCH]
    losses = {n: entry["val_loss"] for n, entry in found.items()}
    assert losses == {c["iteration"]: c["val_loss"] for c in by_loss["candidates"]}
    assert losses[PROSE] < losses[UNSURE] < losses[RIGHT]
    assert by_calls["best_iteration"] == UNSURE  # the loss decides between equals
    assert by_calls["best_val_loss"] == losses[UNSURE]
    weights = staging.parent / "calls/adapters.safetensors"
    assert sha256_of(weights) == sha256_of(find_checkpoints(staging)[UNSURE])
    numbers = f"right calls in {BATCH} of {BATCH} rows, validation loss {losses[UNSURE]:.4f}"
    assert f"Keeping iteration {UNSURE}: {numbers}." in said
    numbers = f"right calls in 0 of {BATCH} rows, validation loss {losses[PROSE]:.4f}"
    assert f"The loss would keep iteration {PROSE}: {numbers}." in said


def test_select_rows_bounds_how_many_are_asked(staging):
    said, training = select_calls(staging, "--select-rows", 3)
    assert training["select_rows"] == 3
    assert "right calls in 3 of 3 rows" in said


def test_without_a_row_to_ask_it_says_what_to_do(staging):
    data = staging.parent / "data"
    shutil.copy(data / "valid.jsonl", data / "train.jsonl")
    words = ("--select-rows", 0, "--tools", TOOLS, "--data", data)
    refused = best(staging, staging.parent / "out", *words)
    assert refused.returncode == 2 and refused.stderr.count("\n") == 1
    assert "no row to ask: " in refused.stderr and "SELECT=loss" in refused.stderr


def test_a_candidate_answers_as_the_server_would(staging, tiny_model):
    """mlx_lm server, with the adapter that was kept, one request at a time."""
    select_calls(staging)
    adapters = staging.parent / "calls"
    rows = rows_of(staging.parent / "data", 0, read_schemas(TOOLS))
    model, tokenizer = load(str(tiny_model), adapter_path=str(adapters))
    served = []
    with start_server(tiny_model, 0, staging.parent / "server.log", adapters) as server:
        body = {"model": choose_model(server), "adapters": str(adapters), "temperature": 0}
        body["chat_template_kwargs"] = TEMPLATE_ARGUMENTS
        for row in rows:
            asked = {"messages": row["messages"], "max_tokens": row["max_tokens"]}
            response, _ = ask(server, body | asked, 60)
            served.append(response["choices"][0]["message"]["content"])
    assert generate_answers(model, tokenizer, rows) == served
    assert served == [row["wanted"] for row in rows]


def test_an_adapter_answers_without_its_dropout(taught_weights, tiny_model, tmp_path):
    model, tokenizer = load(str(tiny_model))
    model.load_weights(str(taught_weights[RIGHT]))
    linear_to_lora_layers(model, 2, {"rank": 8, "scale": 20.0, "dropout": 0.9})
    mx.random.seed(0)
    for layer in model.layers:  # an adapter that is small, but ten times larger with dropout
        projection = layer.self_attn.q_proj
        projection.lora_b = 0.005 * mx.random.normal(projection.lora_b.shape)
    write_rows(tmp_path / "train.jsonl", conversations(TALK))
    write_rows(tmp_path / "valid.jsonl", conversations(CALLS))
    tools = read_schemas(TOOLS)
    rows = rows_of(tmp_path, 0, tools)
    model.train()
    assert count_right(model, tokenizer, rows, tools) == len(rows)
