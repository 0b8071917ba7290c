"""The whole recipe by make, with the real mlx-lm commands and server, on a tiny model."""

import hashlib
import html
import json
import os
import re
import shutil
import signal
import socket
import subprocess

import pytest

from checkpoints import find_checkpoints, read_metrics
from conftest import ROOT, made, start_make, wait_for
from experiment import gold, row, write_rows
from server import choose_port, get_json, wait_until_healthy
from settings import load_settings


def test_every_step_leaves_its_output(built):
    _, build, output = built
    assert made(output)[:4] == ["base", "adapters", "fused", "q5"]
    for name in ("preflight.ok", "adapters/adapters.safetensors", "adapters/adapter_config.json"):
        assert (build / name).is_file(), name
    for model in ("fused", "q5"):
        assert (build / model / "config.json").is_file()
        assert list((build / model).glob("*.safetensors"))
    quantization = json.loads((build / "q5/config.json").read_text())["quantization"]
    assert (quantization["bits"], quantization["group_size"]) == (5, 64)
    assert "quantization" not in json.loads((build / "fused/config.json").read_text())
    assert not list(build.glob("*.tmp"))
    table = (build / "compare.md").read_text()
    for line in ("| text_tools | 3 |", "| multi_tool | 1 |", "| overall    | 4 |", "Verdict: **"):
        assert line in table
    assert table in output


def test_training_really_changed_the_model(built):
    import mlx.core as mx

    _, build, _ = built
    adapter = mx.load(str(build / "adapters/adapters.safetensors"))
    assert any(mx.abs(value).max().item() > 0 for key, value in adapter.items() if "lora_b" in key)
    log = (build / "logs/adapters.log").read_text()
    assert "val" in log and "\x1b" not in log and "\r" not in log


def test_preflight_predicted_what_training_and_the_disk_then_showed(built):
    _, build, _ = built
    model = json.loads((build / "preflight.json").read_text())["facts"]["model"]
    log = (build / "logs/adapters.log").read_text()
    millions = [model[key] / 1e6 for key in ("trainable_parameters", "parameters")]
    assert f"({millions[0]:.3f}M/{millions[1]:.3f}M)" in log
    for output, key in (("fused", "fused_bytes"), ("q5", "q5_bytes")):
        assert weight_bytes(build / output) == model[key], output


def weight_bytes(model) -> int:
    import mlx.core as mx

    files = model.glob("*.safetensors")
    return sum(weight.nbytes for file in files for weight in mx.load(str(file)).values())


def test_a_server_of_q5_finds_its_tool_parser(built):
    from mlx_lm.utils import load_tokenizer

    _, build, _ = built
    facts = json.loads((build / "preflight.json").read_text())["facts"]
    assert (facts["tool_parser_inferred"], facts["tool_parser"]) == (None, "qwen3_coder")
    assert load_tokenizer(build / "q5").init_kwargs["tool_parser_type"] == "qwen3_coder"
    assert json.loads((build / "eval.json").read_text())["server"]["tool_parser"] == "qwen3_coder"


def test_plan_says_what_would_run_and_how_long_it_took(built, make):
    config, _, _ = built
    page = make("plan", f"CONFIG={config}").stdout
    assert "Nothing would run: all is up to date." in page
    page = make("plan", f"CONFIG={config}", "Q_BITS=4").stdout
    lines = {line.split()[0]: line for line in page.splitlines() if line.strip()}
    assert re.search(r"adapters +no +\d+ s ", lines["adapters"])
    assert re.search(r"q5 +yes +\d+ s +0 MB", lines["q5"])
    assert "8 iterations x 4 rows / 401 rows" in lines["epochs"]
    assert all(len(line) <= 80 or "/" in line for line in page.splitlines())


def test_expand_turns_trains_every_answer(tiny_config, tmp_path, make):
    (tmp_path / "data").mkdir()
    for split in ("train", "valid"):
        write_rows(tmp_path / f"data/{split}.jsonl", [row(n, gold(n), gold(n)) for n in range(12)])
    changes = [f"DATA={tmp_path}/data", "TRAIN_ROWS=12", "VALID_ROWS=12", f"BUILD={tmp_path}/build"]
    plan = ["ITERS=4", "BATCH_SIZE=4", "EPOCHS=0.667", "STEPS_PER_EVAL=4", "SAVE_EVERY=4"]
    run = make("train", f"CONFIG={tiny_config}", "EXPAND_TURNS=1", *changes, *plan)
    assert run.returncode == 0, run.stderr
    written = (tmp_path / "build/data/train.jsonl").read_text().splitlines()
    assert [len(json.loads(line)["messages"]) for line in written] == [3, 5] * 12
    trained = json.loads((tmp_path / "build/adapters/adapter_config.json").read_text())["data"]
    assert trained == f"{tmp_path}/build/data"


def test_eval_json_follows_the_contract(built):
    config, build, _ = built
    result = json.loads((build / "eval.json").read_text())
    assert " ".join(result) == (
        "schema experiment model suite settings server prompts categories overall strict_overall"
        " exact_overall ci95 verdict certainty smallest_difference invented_calls calls formats"
        " tools seconds"
    )
    assert result["calls"]["n"] == len(result["calls"]["rows"]) == 8
    suite = build.parent / "suite.json"
    assert result["suite"]["sha256"] == hashlib.sha256(suite.read_bytes()).hexdigest()
    weights = (build / "q5/model.safetensors").read_bytes()
    assert result["model"]["weights_sha256"] == hashlib.sha256(weights).hexdigest()
    assert result["model"]["served_id"].startswith(str(build.resolve()))
    assert [p["id"] for p in result["prompts"]] == ["text-01", "text-02", "text-03", "multi-01"]
    for prompt in result["prompts"]:
        assert " ".join(prompt) == (
            "id category prompt wanted score strict_score exact_score reason format tools_called"
            " invented keywords_found finish_reason prompt_tokens completion_tokens"
            " seconds attempts text instead"
        )
        assert 0 < prompt["completion_tokens"] <= 24
    assert load_settings(config)["EXPERIMENT"] == result["experiment"] == "tiny"


def test_the_page_has_every_section_and_every_answer(built):
    _, build, _ = built
    page = (build / "report.html").read_text()
    for prompt in json.loads((build / "eval.json").read_text())["prompts"]:
        assert f'<span class="id">{prompt["id"]}</span>' in page
        assert html.escape(prompt["text"][:40]).replace("&#x27;", "&#39;") in page
    for section in ("calls", "training", "ladder", "answers", "preflight", "manifest"):
        assert f'<h2 id="{section}">' in page


def test_two_evaluations_of_one_model_say_the_same(built, tmp_path):
    _, build, _ = built
    first = json.loads((build / "eval.json").read_text())
    command = [ROOT / "bin/python", ROOT / "py/evaluate.py", "--model", build / "q5"]
    command += ["--serve", first["model"]["served_id"], "--suite", build.parent / "suite.json"]
    command += ["--targets", ROOT / "data/baseline.json", "--tools", ROOT / "data/tools.json"]
    command += ["--out", tmp_path / "again.json"]
    command += ["--server-log", tmp_path / "server.log", "--max-tokens", "24"]
    subprocess.run(list(map(str, command)), check=True, capture_output=True, timeout=120)
    again = json.loads((tmp_path / "again.json").read_text())
    for one, two in zip(first["prompts"], again["prompts"], strict=True):
        assert (one["text"], one["score"]) == (two["text"], two["score"])


def test_q5_float32_has_the_weights_of_q5(built):
    import mlx.core as mx
    from mlx_lm.utils import load_config

    _, build, _ = built
    if not (build / "q5-float32").exists():
        pytest.skip("q5 itself is served where there is a GPU")
    quantization = load_config(build / "q5")["quantization"]
    q5 = mx.load(str(build / "q5/model.safetensors"))
    float32 = mx.load(str(build / "q5-float32/model.safetensors"))
    for name, weight in float32.items():
        assert weight.dtype == mx.float32
        parts = [q5.get(name.replace("weight", part)) for part in ("weight", "scales", "biases")]
        ours = parts[0]
        if parts[1] is not None:
            bits, group_size = quantization["bits"], quantization["group_size"]
            ours = mx.dequantize(*parts, group_size=group_size, bits=bits)
        assert mx.array_equal(ours.astype(mx.float32), weight), name


def test_gate_fails_unless_the_verdict_is_pass(make, tmp_path):
    words = ["gate", "CONFIG=demo.env", f"BUILD={tmp_path}"]
    for verdict, status in (("fail", 2), ("incomplete", 2), ("pass", 0)):
        (tmp_path / "eval.json").write_text(json.dumps({"verdict": verdict}))
        run = make(*words)
        assert run.returncode == status and f"verdict: {verdict}" in run.stdout, run.stderr
    (tmp_path / "eval.json").unlink()
    assert "no such file; make eval makes it" in make(*words).stderr


def test_any_two_results_can_be_set_side_by_side(built, make, tmp_path):
    config, build, _ = built
    better = json.loads((build / "eval.json").read_text())
    better["prompts"][1]["score"], better["overall"] = 1.0, 0.25
    (tmp_path / "an old").mkdir()
    (tmp_path / "an old/a=1.json").write_text(json.dumps(better))

    def compare(*words):
        return make("compare", f"CONFIG={config}", *words)

    run = compare(f"A={build}/eval.json", f"B={tmp_path}/an old/a=1.json", f"BUILD={tmp_path}/b")
    assert run.returncode == 0, run.stderr
    said = " ".join(run.stdout.split())
    assert "prompt by prompt: +25 points, 95% interval " in said and "(4 prompts)" in said
    assert "- text-02: 0 -> 1" in run.stdout
    assert not (tmp_path / "b").exists()  # two files are read, no build folder
    assert "No prompt's score changed." in compare(f"A={build}/eval.json").stdout
    run = compare("A=nowhere.json")
    assert run.returncode == 2 and "compare: nowhere.json: No such file" in run.stderr
    # A in the environment does not count.
    assert make("compare", f"CONFIG={config}", A="nowhere.json").returncode == 0


def test_sweep_asks_what_was_never_asked_and_tabulates_it(built, make):
    config, build, _ = built
    server_log = (build / "logs/server.log").read_bytes()
    run = make("sweep", f"CONFIG={config}")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "4 of 4 prompts are answered already" in run.stdout  # by make eval, at temperature 0
    assert (build / "logs/server.log").read_bytes() == server_log

    words = ["SEEDS=0 1", "TEMPERATURES=0 0.7"]
    run = make("sweep", f"CONFIG={config}", *words)
    assert run.returncode == 0, run.stdout + run.stderr
    results = {path.stem: json.loads(path.read_text()) for path in (build / "sweep").glob("*.json")}
    assert sorted(results) == [
        *("seed-0-temperature-0", "seed-0-temperature-0.7", "seed-1-temperature-0.7")
    ]
    texts = {name: [p["text"] for p in result["prompts"]] for name, result in results.items()}
    assert len(set(map(tuple, texts.values()))) == 3
    settings = results["seed-1-temperature-0.7"]["settings"]
    assert (settings["seed"], settings["temperature"]) == (1, 0.7)
    table = (build / "sweep.md").read_text()
    assert table in run.stdout and max(map(len, table.splitlines())) <= 80
    assert "| overall    | 4 | 0%     | 0%     | 0%     | 0%       |" in table
    assert "\n- temperature 0.7 against temperature 0: 0 points, 95% interval -" in table

    again = make("sweep", f"CONFIG={config}", *words)
    assert again.stdout.count("4 of 4 prompts are answered already") == 3
    shutil.rmtree(build / "sweep")
    (build / "sweep.md").unlink()


def test_the_models_of_a_training_seed_go_when_it_is_scored(built, make):
    config, build, _ = built
    words = ["sweep", f"CONFIG={config}", "TRAIN_SEEDS=1"]
    seed, models = build / "sweep/train-1", {"q5", "fused"}
    run = make(*words)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "| 1    | train 1, temperature 0 | 0    | 0%" in (build / "sweep.md").read_text()
    assert (seed / "adapters").is_dir() and not models & {file.name for file in seed.iterdir()}
    run = make(*words, "LEAN=0")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "adapters" not in made(run.stdout)
    assert "4 of 4 prompts are answered already" in run.stdout
    assert models <= {file.name for file in seed.iterdir()}
    shutil.rmtree(build / "sweep")
    (build / "sweep.md").unlink()


def test_serve_says_how_to_talk_to_it_and_answers(built, make):
    config, build, _ = built
    port = choose_port(0)
    process = subprocess.Popen(
        [ROOT / "bin/python", ROOT / "py/server.py", build / "q5", "--port", str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        said = "".join(process.stdout.readline() for _ in range(9))
        wait_until_healthy(f"http://127.0.0.1:{port}", process, build / "logs/server.log")
        assert f"curl http://127.0.0.1:{port}/v1/chat/completions" in said
        listed = get_json(f"http://127.0.0.1:{port}/v1/models")["data"]
        assert [entry["id"] for entry in listed] == [str((build / "q5").resolve())]
        assert f'"model": "{listed[0]["id"]}"' in said
    finally:
        process.terminate()
        process.wait(timeout=20)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        run = make("serve", f"CONFIG={config}", f"EVAL_PORT={taken}")
    assert run.returncode == 2 and f"server: EVAL_PORT={taken}: " in run.stderr
    dry = make("-n", "serve", f"CONFIG={config}", f"EVAL_PORT={port}").stdout
    assert f"py/server.py {build}/q5" in dry and dry.rstrip().endswith(str(port))


def test_a_training_killed_under_make_leaves_nothing_and_goes_on(tiny_config, tmp_path, make):
    build = tmp_path / "build"
    words = [f"CONFIG={tiny_config}", f"BUILD={build}", "ITERS=120", "EPOCHS=1.2", "PATIENCE=0"]
    words += ["STEPS_PER_EVAL=40", "SAVE_EVERY=20"]
    killed = start_make("train", *words)
    wait_for(lambda: find_checkpoints(build / "adapters.training"))
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait(timeout=30)
    assert not (build / "adapters").exists()
    assert "--resume" in make("-n", "train", *words, "RESUME=1").stdout
    run = make("train", *words, "RESUME=1")
    assert run.returncode == 0, run.stdout + run.stderr
    training = json.loads((build / "adapters/training.json").read_text())
    assert training["iterations"] == 120 and training["resumed_from"] >= 20
    log = (build / "adapters/train.log").read_text()
    assert log.count("Loading pretrained model") == 2
    assert f"Going on after iteration {training['resumed_from']}." in log
    assert "Keeping iteration" in log and "\x1b" not in log
    assert not (build / "adapters.training").exists()


@pytest.mark.parametrize(
    ("choices", "trainable"),
    [
        (["FINE_TUNE_TYPE=dora", "OPTIMIZER=adamw", "LR_SCHEDULE=linear_schedule"], 0.017408),
        (["FINE_TUNE_TYPE=full", "OPTIMIZER=adafactor", "KEEP_CHECKPOINTS=1"], 0.073984),
        (["OPTIMIZER=muon", "GRAD_CHECKPOINT=1", "GRAD_ACCUMULATION=2", "LORA_RANK=4"], 0.008192),
    ],
)
def test_choices_that_mlx_lm_has_are_keys(tiny_config, tmp_path, make, choices, trainable):
    build = tmp_path / "build"
    words = [f"CONFIG={tiny_config}", f"BUILD={build}", f"TRAINABLE={trainable}", *choices]
    run = make("fuse", *words)
    assert run.returncode == 0, run.stdout + run.stderr
    model = json.loads((build / "preflight.json").read_text())["facts"]["model"]
    millions = model["trainable_parameters"] / 1e6
    assert f"({millions:.3f}M/" in (build / "logs/adapters.log").read_text()
    training = json.loads((build / "adapters/training.json").read_text())
    assert training["best_val_loss"] < training["base_val_loss"]
    kept = len(list((build / "adapters").glob("0*_adapters.safetensors")))
    assert kept == (2 if "KEEP_CHECKPOINTS=1" in choices else 0)
    reports = [report for report in read_metrics(build / "adapters") if "train_loss" in report]
    rates = [report["learning_rate"] for report in reports]
    assert rates[0] > rates[-1]  # each schedule, counted in updates, falls to its end
    assert rates[-1] < 0.25 * 2.5e-4


def test_a_quantized_base_cannot_be_trained_in_full(tiny_config, tmp_path, make, built):
    _, build, _ = built
    words = [f"CONFIG={tiny_config}", f"BUILD={tmp_path}/build", f"BASE_MODEL={build}/q5"]
    run = make("preflight", *words, "FINE_TUNE_TYPE=full")
    assert run.returncode != 0
    assert "FINE_TUNE_TYPE=full: BASE_MODEL is quantized" in run.stdout
