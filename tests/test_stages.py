"""What is made again: exactly what reads what has changed, and by content, not by date."""

import ast
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from conftest import ROOT, clean_environment, stages
from faults import disturb

ALL = ["preflight", "data", "train", "fuse", "quantize", "twin", "ladder", "eval", "eval_base"]
TRAINED = ALL[2:-1]
# setting -> what `make -n eval` would run
SETTINGS = {
    "EXPERIMENT=other": ["preflight", "eval"],
    "REFERENCE_MODEL=data/demo": ["preflight"],
    "SPECIAL_TOKENS=data/special_tokens_qwen3.json": ["preflight"],
    "CHECKSUMS=data/phase33b.sha256": ["preflight"],
    "TRAIN_ROWS=400": ["preflight"],
    "VALID_ROWS=39": ["preflight"],
    "DATA_URL=file:///nowhere": [],
    "COVERAGE=99": ["preflight"],
    "EPOCHS=2": ["preflight"],
    "TRAINABLE=2": ["preflight"],
    "STRICT=1": ["preflight"],
    "TOOLS=data/../data/tools.json": ["preflight"],
    "EXPAND_TURNS=1": ["preflight", "data", *TRAINED],
    "MAX_SEQ_LENGTH=100": ["preflight", *TRAINED],
    "NUM_LAYERS=1": ["preflight", *TRAINED],
    "ITERS=12": ["preflight", *TRAINED],
    "BATCH_SIZE=2": ["preflight", *TRAINED],
    "GRAD_ACCUMULATION=2": ["preflight", *TRAINED],
    "FINE_TUNE_TYPE=dora": ["preflight", *TRAINED],
    "OPTIMIZER=sgd": ["preflight", *TRAINED],
    "LEARNING_RATE=1e-5": ["preflight", *TRAINED],
    "LR_SCHEDULE=constant": ["preflight", *TRAINED],
    "GRAD_CHECKPOINT=1": ["preflight", *TRAINED],
    "LORA_RANK=4": ["preflight", *TRAINED],
    "LORA_SCALE=10": ["preflight", *TRAINED],
    "LORA_DROPOUT=0.1": ["preflight", *TRAINED],
    "STEPS_PER_EVAL=2": ["preflight", *TRAINED],
    "SAVE_EVERY=2": ["preflight", *TRAINED],
    "STEPS_PER_REPORT=3": ["preflight", *TRAINED],
    "VAL_BATCHES=3": ["preflight", *TRAINED],
    "PATIENCE=2": ["preflight", *TRAINED],
    "MIN_DELTA=0.1": ["preflight", *TRAINED],
    "SEED=1": ["preflight", *TRAINED],
    "KEEP_CHECKPOINTS=1": [],
    "REPORT_TO=wandb": ["preflight"],
    "Q_BITS=4": ["preflight", *TRAINED[2:]],
    "Q_GROUP_SIZE=32": ["preflight", *TRAINED[2:]],
    "LOW_MEMORY=1": ["preflight"],
    "LADDER_ROWS=3": ["ladder"],
    "SUITE=data/suite.json": ["preflight", "eval", "eval_base"],
    "TARGETS=data/../data/baseline.json": ["eval", "eval_base"],
    "BASELINE=data/baseline.json": [],
    "EVAL_TEMPERATURE=0.5": ["eval", "eval_base"],
    "EVAL_SEED=1": ["eval", "eval_base"],
    "EVAL_MAX_TOKENS=9": ["eval", "eval_base"],
    "EVAL_CONCURRENCY=2": ["eval", "eval_base"],
    "EVAL_TIMEOUT=5": [],
    "EVAL_PORT=9000": [],
    "EVAL_MODEL=x": ["eval"],
}
# Not in the table: DATA, BASE_MODEL and EVAL_URL, which the files below and other tests change;
# BUILD is another build, and with EVAL_EXACT there is no twin.
ELSEWHERE = {"DATA", "BASE_MODEL", "EVAL_URL", "BUILD", "EVAL_EXACT"}
# file that gets another content -> what would run
FILES = {
    "data/demo/train.jsonl": ["preflight", *TRAINED],
    "data/demo/valid.jsonl": ["preflight", *TRAINED],
    "py/requirements.lock": ["preflight", *TRAINED, "eval_base"],
    "py/preflight.py": ["preflight"],
    "py/check_rows.py": ["preflight"],
    "py/follow.py": TRAINED,
    "py/best.py": TRAINED,
    "py/loss.py": TRAINED,
    "py/served.py": ["preflight", *TRAINED[2:]],
    "py/ladder.py": ["ladder"],
    "py/evaluate.py": ["eval", "eval_base"],
    "py/score.py": ["preflight", "eval", "eval_base"],
    "py/summary.py": ["eval", "eval_base"],
    "py/difference.py": [],
    "bin/server.sh": ["eval", "eval_base"],
    "bin/compare.jq": [],
    "py/plot.py": [],
    "py/report.py": [],
    "py/plan.py": [],
    "README.md": [],
    "py/requirements-dev.lock": [],
    "BASE/model.safetensors": [*TRAINED, "eval_base"],
    "BASE/tokenizer.json": ["preflight", *TRAINED, "eval_base"],
    "BASE/config.json": ["preflight", *TRAINED, "eval_base"],
    "BASE/notes.md": [],
    "CONFIG": [],  # a comment
}


@pytest.fixture(scope="session")
def clone(built, tmp_path_factory):
    """(folder, run): the same content in another place, with a space and an umlaut in its path."""
    folder = tmp_path_factory.mktemp("another") / "Klon ä b"
    shutil.copytree(
        ROOT,
        folder,
        ignore=shutil.ignore_patterns(".git", ".venv", "build", "__pycache__", ".*cache"),
    )
    (folder / ".venv").symlink_to(ROOT / ".venv")

    def run(*words):
        words = ["make", *map(str, words), f"CONFIG={built[0]}"]
        env = clean_environment()
        return subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True)

    return folder, run


def would_run(dry) -> list[str]:
    """Of the stages of a dry run, those in ALL: the others are made in a second."""
    assert dry.returncode == 0, dry.stderr
    return [name for name in stages(dry.stdout) if name in ALL]


def same(found: list[str], expected: list[str]) -> bool:
    twin = [] if sys.platform == "linux" else ["twin"]
    return found == [name for name in expected if name not in twin]


def test_the_table_has_every_key():
    keys = {line.partition("=")[0] for line in (ROOT / "demo.env").read_text().splitlines()}
    keys = {key for key in keys if key.isupper()}
    assert {setting.partition("=")[0] for setting in SETTINGS} | ELSEWHERE == keys


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_setting_remakes_what_reads_it(clone, setting):
    _, run = clone
    assert same(would_run(run("-n", "eval", setting)), SETTINGS[setting])


@pytest.mark.parametrize("name", FILES)
def test_a_file_remakes_what_reads_it(clone, built, tiny_model, name):
    folder, run = clone
    file = built[0] if name == "CONFIG" else folder / name
    if name.startswith("BASE/"):
        file = tiny_model / name.removeprefix("BASE/")
    before, times = (file.read_bytes(), file.stat()) if file.exists() else (None, None)
    try:
        file.write_bytes((before or b"") + b"\n")
        assert same(would_run(run("-n", "eval")), FILES[name])
    finally:
        if before is None:
            file.unlink()
        else:
            file.write_bytes(before)
            os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_dates_decide_nothing(clone, built, tiny_model):
    folder, run = clone
    for file in [*folder.glob("py/*"), *folder.glob("data/**/*"), *tiny_model.iterdir()]:
        file.touch()
    os.utime(built[1] / "adapters", (0, 0))
    assert would_run(run("-n", "eval")) == []


def test_why_names_what_has_changed(clone):
    folder, run = clone
    (folder / "py/ladder.py").write_text((ROOT / "py/ladder.py").read_text() + "\n")
    try:
        said = run("why", "Q_BITS=4", "TOOLS=data/../data/tools.json").stdout
    finally:
        shutil.copy(ROOT / "py/ladder.py", folder / "py/ladder.py")
    lines = dict(line.split(None, 1) for line in said.splitlines())
    assert "Q_BITS: 5 -> 4" in lines["preflight"]
    assert f"{folder.name}" not in said
    assert lines["train"] == lines["eval_base"] == "up to date"
    assert lines["quantize"] == "Q_BITS: 5 -> 4"
    assert lines["twin"] == "follows quantize"
    assert lines["ladder"].endswith("py/ladder.py has changed")
    assert set(run("why").stdout.split()) & {"stale", "changed", "follows"} == set()


def test_status_has_every_stage_and_the_scores(clone):
    said = clone[1]("status", "Q_BITS=4").stdout
    for stage, state in (
        ("train", "up to date"),
        ("quantize", "stale"),
        ("eval_base", "up to date"),
    ):
        line = next(line for line in said.splitlines() if line.startswith(f"{stage} "))
        assert state in line and (" MB " in line or " kB " in line)
    assert "eval " in said and "strict" in said and "training   loss" in said


def stage_table(*words) -> dict[str, list[str]]:
    """Stage -> its name, output, keys, files and the stages before it, as the Makefile has them."""
    words = ["make", "-p", "-n", "help", *words]
    env = clean_environment() | {"HF_HUB_CACHE": "/hub"}
    printed = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True).stdout
    table = next(line for line in printed.splitlines() if line.startswith("STAGE_TABLE := "))
    rows = [row.strip().split("|") for row in table.partition(":= ")[2].split(";") if row]
    return {row[0]: row for row in rows}


def test_a_hub_model_is_known_by_its_revision():
    table = stage_table("BASE_MODEL=org/name", "BUILD=build/x")
    for stage in ("preflight", "train", "eval_base"):
        assert "build/x/base_model.json" in table[stage][3].split()


def local_imports(program: str) -> set[str]:
    """The files in py/ that a program reads when it runs: its imports and theirs."""
    found, todo = set(), [program]
    while todo:
        name = todo.pop()
        found.add(f"py/{name}")
        tree = ast.parse((ROOT / "py" / name).read_text())
        for node in ast.walk(tree):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            todo += [
                f"{name}.py"
                for name in names
                if (ROOT / f"py/{name}.py").is_file() and f"py/{name}.py" not in found
            ]
    return found


@pytest.mark.parametrize(
    ("stage", "programs"),
    [
        ("base", ["embedded_model.py"]),
        ("preflight", ["preflight.py"]),
        ("data", ["expand_turns.py"]),
        ("train", ["follow.py", "best.py"]),
        ("ladder", ["ladder.py"]),
        ("eval", ["evaluate.py"]),
        ("eval_base", ["evaluate.py"]),
        ("compare", ["difference.py"]),
        ("quantize", ["publish.py", "fuse_and_quantize.py"]),
        ("manifest", ["manifest.py", "publish.py"]),
        ("report", ["report.py"]),
    ],
)
def test_a_stage_names_every_program_that_it_runs(stage, programs):
    files = stage_table("CONFIG=demo.env", "EXPAND_TURNS=1")[stage][3].split()
    for program in programs:
        assert local_imports(program) <= set(files), local_imports(program) - set(files)


def test_an_up_to_date_build_is_told_in_a_tenth_of_a_second(clone, capsys):
    """No figure is asserted here (bench-make has those), only that no Python starts."""
    _, run = clone
    started = time.monotonic()
    done = run("eval")
    with capsys.disabled():
        print(f"\nmake eval, up to date: {time.monotonic() - started:.2f} s")
    assert "Nothing to do" in done.stdout and "bin/python" not in done.stdout


def test_one_make_at_a_time(clone, built):
    folder, run = clone
    marker = built[1] / ".lock"
    sleeper = folder / "sleeping.mk"
    sleeper.write_text("all:\n\t@echo ready; sleep 600; true\n")
    words = ["make", "--no-print-directory", "-f", sleeper]
    holder = subprocess.Popen(words, env=clean_environment(), stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "ready\n"
        subprocess.run([ROOT / "bin/lock.sh", built[1], str(holder.pid)], check=True)
        held = os.readlink(marker)
        assert held.startswith(f"{holder.pid}@")
        refused = run("eval", "Q_BITS=4")
        assert refused.returncode == 2
        assert f"make is at work here (process {holder.pid} on" in refused.stderr
        assert refused.stderr.count("\n") == 1
        assert run("-n", "eval").returncode == run("status").returncode == 0
        training = built[1] / "adapters.training/inputs.json"
        training.parent.mkdir()
        training.touch()
        assert "A training is under way." in run("status").stdout
        assert run("clean").returncode == 2 and (built[1] / "eval.json").exists()
    finally:
        holder.kill()
        holder.wait()
    said = run("status", "SEED=1").stdout
    assert f"interrupted: make train RESUME=1 CONFIG={built[0]} SEED=1 goes on" in said
    shutil.rmtree(training.parent)
    assert run("eval").returncode == 0  # a dead holder's lock is taken over
    assert os.readlink(marker) != held
    marker.unlink()
    marker.symlink_to("1@another-machine")
    try:
        refused = run("eval")
        assert refused.returncode == 2 and "on another-machine" in refused.stderr
    finally:
        marker.unlink()


def test_verify_says_what_differs(clone, built):
    _, run = clone
    config, build, _ = built
    assert run("verify").returncode == 0
    file = build / "q5/config.json"
    before = file.read_bytes()
    try:
        file.write_bytes(before + b" ")
        said = run("verify")
        assert said.returncode == 2
        assert [line for line in said.stdout.splitlines() if "differs" in line] == [
            f"  differs  {file}: has changed",
        ]
        file.unlink()
        assert f"{file}: is gone" in run("verify").stdout
    finally:
        file.write_bytes(before)
    assert run("verify").returncode == 0


def test_lean_lets_go_of_the_fused_model(clone, built, tmp_path):
    _, run = clone
    shutil.copytree(built[1], tmp_path / "build", symlinks=True)
    words = ["LADDER_ROWS=5", "LEAN=1", f"BUILD={tmp_path}/build"]
    done = run("ladder", *words)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "build/fused").exists() and "fused removed" in done.stdout
    assert would_run(run("-n", "ladder", *words)) == []
    assert "fuse" in would_run(run("-n", "ladder", *words, "Q_BITS=4"))


def test_a_build_that_was_killed_ends_as_an_undisturbed_one(built, tmp_path):
    """One moment of one signal; tests/faults.py takes fifty."""
    config, build, _ = built
    assert disturb(config, build, tmp_path / "disturbed", 6.0, signal.SIGKILL) == []


@pytest.fixture
def small(tmp_path):
    """(folder, ask): two stages, one after the other, each with a file; ask runs stages.sh."""
    for name in ("one.txt", "two.txt"):
        (tmp_path / name).write_text(f"{name}\n")
    (tmp_path / "build").mkdir()
    keys = {"K": "1"}

    def ask(*words) -> str:
        table = f"first|{tmp_path}/build/first|K={keys['K']}|{tmp_path}/one.txt|; "
        table += f"second|{tmp_path}/build/second||{tmp_path}/two.txt {tmp_path}/refs/main|first;"
        env = {
            "STAGE_TABLE": table,
            "BUILD_FOLDER": str(tmp_path / "build"),
            "MAKE_PID": str(os.getpid()),
        }
        done = subprocess.run(
            [ROOT / "bin/stages.sh", *words],
            env=env | {"PATH": os.environ["PATH"]},
            text=True,
            capture_output=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    ask.keys = keys
    for stage in ("first", "second"):
        ask("begin", stage, f"{tmp_path}/build/{stage}", "a title")
        (tmp_path / f"build/{stage}.tmp").write_text(stage)
        ask("finish", stage, f"{tmp_path}/build/{stage}")
    return tmp_path, ask


def test_what_is_noted_is_up_to_date(small):
    folder, ask = small
    assert ask("stale").split() == []
    assert (folder / "build/second").read_text() == "second"
    assert sorted(p.name for p in (folder / "build/made").iterdir()) == [
        "first",
        "hashes",
        "latest",
        "second",
    ]


def test_a_change_of_the_same_size_at_the_same_date_is_seen(small):
    folder, ask = small
    file = folder / "two.txt"
    times = file.stat()
    file.write_text("TWO.txt\n")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert ask("stale").split() == ["second"]
    assert f"{file} has changed" in ask("why")
    file.write_text("two.txt\n")
    assert ask("stale").split() == []


def test_a_note_that_was_interrupted_leaves_the_stage_stale(small):
    """Killed between the removal of the old note and the new: the output is made again."""
    folder, ask = small
    ask.keys["K"] = "2"
    assert ask("stale").split() == ["first", "second"]
    ask("begin", "first", f"{folder}/build/first", "a title")
    ask.keys["K"] = "1"
    assert ask("stale").split() == []  # nothing has been replaced yet
    (folder / "build/made/first").unlink()
    assert ask("stale").split() == ["first"]


def test_a_stage_is_not_made_of_what_another_make_has_changed(small):
    folder, ask = small
    ask.keys["K"] = "2"
    with pytest.raises(AssertionError, match="second: another make has changed what it is made of"):
        ask("begin", "second", f"{folder}/build/second", "a title")
