"""What runs again after a change, what survives a kill, and what make says of it."""

import os
import re
import shutil
import signal
import subprocess
import sys

import pytest
from dotenv import dotenv_values

from conftest import ROOT, clean_environment, made, start_make, wait_for, write_config
from faults import disturb
from settings import load_settings

Q5 = ["q5", "q5-float32", "ladder.json", "eval.json"]
TRAINED = ["adapters", "fused", *Q5]
# setting -> what `make -n eval` would make. Preflight is left out: it depends on every setting.
SETTINGS = {
    **dict.fromkeys(
        (
            *("ITERS=12", "LEARNING_RATE=1e-5", "NUM_LAYERS=1", "BATCH_SIZE=2", "SEED=1"),
            *("GRAD_ACCUMULATION=2", "FINE_TUNE_TYPE=dora", "OPTIMIZER=sgd", "LORA_RANK=4"),
            *("LR_SCHEDULE=constant", "GRAD_CHECKPOINT=1", "LORA_SCALE=10", "LORA_DROPOUT=0.1"),
            *("STEPS_PER_EVAL=2", "SAVE_EVERY=2", "STEPS_PER_REPORT=3", "VAL_BATCHES=3"),
            *("PATIENCE=2", "MIN_DELTA=0.1", "MAX_SEQ_LENGTH=100", "SELECT=calls"),
        ),
        TRAINED,
    ),
    "EXPAND_TURNS=1": ["data", *TRAINED],
    "Q_BITS=4": Q5,
    "Q_GROUP_SIZE=32": Q5,
    "Q_RECIPE=mixed_4_6": Q5,
    "LADDER_ROWS=3": ["ladder.json"],
    "LOW_MEMORY=1": [],
    "EXPERIMENT=other": ["eval.json"],
    **dict.fromkeys(
        (
            *("EVAL_TEMPERATURE=0.5", "EVAL_SEED=1", "EVAL_MAX_TOKENS=9", "EVAL_CONCURRENCY=2"),
            *("SUITE=data/suite.json", "TARGETS=data/../data/baseline.json"),
            "TOOLS=data/../data/tools.json",
        ),
        ["eval.json", "eval_base.json"],
    ),
    "EVAL_MODEL=x": ["eval.json"],
    **dict.fromkeys(
        (
            *("REFERENCE_MODEL=data/demo", "SPECIAL_TOKENS=data/special_tokens_qwen3.json"),
            *("CHECKSUMS=data/phase33b.sha256", "TRAIN_ROWS=400", "VALID_ROWS=39", "COVERAGE=99"),
            *("EPOCHS=2", "TRAINABLE=2", "STRICT=1"),
            *("DATA_URL=file:///nowhere", "KEEP_CHECKPOINTS=1", "REPORT_TO=wandb"),
            "SELECT_ROWS=8",
            *("EVAL_TIMEOUT=5", "EVAL_PORT=9000", "BASELINE=data/baseline.json"),
        ),
        [],
    ),
}
# A step's command may read these and not note them: they change nothing that it makes. The
# rows are noted by their checksum.
FREE = {"BUILD", "DATA", "EXPERIMENT", "KEEP_CHECKPOINTS", "REPORT_TO", "LOW_MEMORY"}
FREE |= {"EVAL_TIMEOUT", "EVAL_PORT"}
FREE |= {"SELECT_ROWS"}  # for the evaluation: another value retrains
# Settings that reach a command through a variable: which rows, which model, which server.
INDIRECT = {"BASE_MODEL", "EXPAND_TURNS", "EVAL_EXACT"}
QUICK = {"compare.md", "manifest.json", "report.html"}


def planned(make, config, *words) -> list[str]:
    """What `make -n eval` would make, without the tables and pages, which take no time."""
    run = make("-n", "eval", f"CONFIG={config}", *words)
    assert run.returncode == 0, run.stderr
    return [name for name in made(run.stdout) if name not in QUICK]


def same(found: list[str], expected: list[str]) -> bool:
    absent = [] if sys.platform == "linux" else ["q5-float32"]
    return found == [name for name in expected if name not in absent]


STEPS = {"train": "adapters", "quantize": "q5", "ladder": "ladder.json", "eval": "eval.json"}


@pytest.mark.parametrize("step", STEPS)
def test_a_step_notes_every_setting_that_its_command_reads(step):
    makefile = (ROOT / "Makefile").read_text()

    def lines(beginning: str) -> str:
        """Each rule or variable that begins so, with its recipe or its continued lines."""
        found = re.findall(rf"^{beginning}.*\n(?:\t.*\n)*", makefile, re.MULTILINE)
        assert found, beginning
        return " ".join(found)

    command = lines(rf"\$\(BUILD\)/{STEPS[step]}:")
    if "$(EVALUATE)" in command:
        command += lines("EVALUATE =") + lines("ASK_ROWS =") + lines("ASKED =")
    if "$(BITS)" in command:
        command += lines("BITS =")
    noted = lines(f"{step} +=")
    for name in ("asked", "chosen"):
        if f"$({name})" in noted:
            noted += lines(f"{name} +=")
    read, listed = (
        {key for key in load_settings() if re.search(rf"\b{key}\b", text)}
        for text in (command, noted)
    )
    assert read - FREE <= listed, "a change would not be noticed"
    assert listed - INDIRECT <= read, "the command does not use it"


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_setting_remakes_what_reads_it(built, make, setting):
    assert same(planned(make, built[0], setting), SETTINGS[setting])


@pytest.fixture
def own(built, tmp_path):
    """(config, build) of a finished build with rows and suite of its own, for a test to change."""
    build, rows, suite = (tmp_path / name for name in ("build", "rows", "suite.json"))
    paths = {"BUILD": build, "DATA": rows, "SUITE": suite}
    write_config(tmp_path / "own.env", **(dotenv_values(built[0]) | paths))
    shutil.copytree(built[1], build, symlinks=True)
    shutil.copytree(ROOT / "data/demo", rows)
    shutil.copy2(built[1].parent / "suite.json", suite)
    for note in ("preflight", "eval", "eval_base"):  # they name the old rows and the old suite
        path = build / "made" / note
        line = path.read_text().replace(f"SUITE={built[1].parent}", f"SUITE={tmp_path}")
        path.write_text(line.replace("DATA=data/demo", f"DATA={rows}"))
    return tmp_path / "own.env", build


def touch(file) -> None:
    """Give a file a date after all that was built."""
    file.touch()
    later = file.stat().st_mtime + 5
    os.utime(file, (later, later))


def test_rows_retrain_by_content_and_the_rest_goes_by_date(own, make):
    config, build = own
    assert planned(make, config) == []
    touch(config.parent / "rows/train.jsonl")
    run = make("-n", "eval", f"CONFIG={config}")
    assert "py/preflight.py" in run.stdout and made(run.stdout) == []
    with (config.parent / "rows/train.jsonl").open("a") as rows:
        rows.write("\n")
    assert same(planned(make, config), [*TRAINED, "eval_base.json"])
    shutil.copy(ROOT / "data/demo/train.jsonl", config.parent / "rows/train.jsonl")
    assert planned(make, config) == []
    touch(config.parent / "suite.json")
    assert planned(make, config) == ["eval.json", "eval_base.json"]


def test_another_way_to_choose_the_checkpoint_retrains_both_ways(own, make):
    """The line of SELECT=loss is that of builds from before there was a choice: they stay."""
    config, build = own
    note = build / "made/train"
    assert "SELECT" not in note.read_text() and "calls" not in note.read_text()
    dry = make("-n", "train", f"CONFIG={config}", "SELECT=calls").stdout
    note.write_text(re.search(r"done.sh \S+/adapters train '(.*)'", dry)[1])
    assert planned(make, config, "SELECT=calls") == []
    assert same(planned(make, config, "SELECT=calls", "SELECT_ROWS=8"), TRAINED)
    assert same(planned(make, config), TRAINED)


def test_a_model_that_is_gone_is_made_again_only_when_it_is_needed(own, make):
    config, build = own
    shutil.rmtree(build / "fused")
    assert planned(make, config) == []
    assert planned(make, config, "Q_BITS=4")[0] == "fused"
    assert make("clean-build", f"CONFIG={config}").returncode == 0
    assert planned(make, config) == []
    again = planned(make, config, "EVAL_MAX_TOKENS=9")
    assert again[0] == "fused" and "ladder.json" not in again  # the same q5 is made again
    assert made(make("-n", "quantize", f"CONFIG={config}").stdout) == ["fused", "q5"]
    said = make("chat", f"CONFIG={config}").stderr.splitlines()[0]
    assert "no model here; make " in said


def test_a_build_folder_can_be_moved(own, make):
    config, build = own
    build.rename(build.with_name("moved"))
    assert planned(make, config, f"BUILD={build.with_name('moved')}") == []


def test_another_base_or_a_new_one_in_its_folder_retrains(own, make, tiny_model):
    config, _ = own
    other = config.parent / "other"
    shutil.copytree(tiny_model, other)
    assert same(planned(make, config, f"BASE_MODEL={other}"), ["base", *TRAINED, "eval_base.json"])
    touch(tiny_model / "model.safetensors")
    assert same(planned(make, config), [*TRAINED, "eval_base.json"])
    os.utime(tiny_model / "model.safetensors", (1, 1))


def test_a_line_cut_off_by_a_kill_repeats_the_step(own, make):
    config, build = own
    note = build / "made/quantize"
    note.write_text(note.read_text()[:-4])
    assert same(planned(make, config), ["q5", "q5-float32", "eval.json"])


def test_why_shows_the_words_that_differ(own, make):
    config, _ = own
    said = make("why", f"CONFIG={config}", "Q_BITS=4").stdout
    assert "quantize: Q_BITS=5 -> Q_BITS=4" in said
    assert "train: no setting has changed" in said
    assert re.search(r"would make, .*/q5 ", said)


def test_status_has_sizes_and_scores(own, make):
    config, build = own
    said = make("status", f"CONFIG={config}").stdout
    assert re.search(rf"[\d.]+[KMG]\s+{build}/q5\n", said)
    assert f"{build}/eval.json: 0%, strict 0%, fail" in said and "validation loss: base" in said


def test_nothing_to_do_starts_no_program(own, make):
    config, build = own
    before = {path: path.lstat().st_mtime_ns for path in build.rglob("*")}
    run = make("eval", f"CONFIG={config}")
    assert run.stdout == "make: Nothing to be done for 'eval'.\n"
    assert {path: path.lstat().st_mtime_ns for path in build.rglob("*")} == before


def test_a_path_with_spaces_builds(built, tmp_path):
    """The repository in another place: everything in it is named from its own folder."""
    folder = tmp_path / "Klon ä b"
    ignored = shutil.ignore_patterns(".git", ".venv", "build", "__pycache__", ".*cache")
    shutil.copytree(ROOT, folder, ignore=ignored)
    (folder / ".venv").symlink_to(ROOT / ".venv")
    words = ["make", "preflight", f"CONFIG={built[0]}", f"BUILD={tmp_path}/build"]
    run = subprocess.run(words, cwd=folder, env=clean_environment(), capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_a_second_make_stops_before_it_touches_anything(own, make):
    config, build = own
    words = [f"CONFIG={config}", "ITERS=100000", "EPOCHS=997", "PATIENCE=0"]
    training = start_make("train", *words)
    try:
        wait_for(lambda: (build / "adapters.training/metrics.jsonl").exists())
        before = {path for path in build.rglob("*") if "training" not in str(path)}
        refused = make("eval", f"CONFIG={config}", "Q_BITS=4")
        assert refused.returncode == 2
        assert f"{build}: another make is at work here" in refused.stderr
        assert make("clean", f"CONFIG={config}").returncode == 2
        assert {path for path in build.rglob("*") if "training" not in str(path)} == before
    finally:
        os.killpg(training.pid, signal.SIGKILL)
        training.wait()
    wait_for(lambda: make("clean-build", f"CONFIG={config}").returncode == 0)


def test_verify_says_what_differs(own, make):
    config, build = own
    assert make("verify", f"CONFIG={config}").returncode == 0
    file = build / "q5/config.json"
    file.write_bytes(file.read_bytes() + b" ")
    said = make("verify", f"CONFIG={config}")
    assert said.returncode == 2
    differs = [line for line in said.stdout.splitlines() if "differs" in line]
    assert differs == [f"  differs  {file}: has changed"]


def test_a_build_that_was_killed_ends_as_an_undisturbed_one(built, tmp_path):
    """One moment of one signal; make test-faults takes twenty."""
    config, build, _ = built
    assert disturb(config, build, tmp_path / "disturbed", 6.0, signal.SIGKILL) == []


def test_help_lists_the_targets_under_their_heads(make):
    lines = make().stdout.splitlines()
    assert "Train: LoRA on the last 16 of 36 layers" in lines
    listed = {line.split()[1] for line in lines if line.startswith("  make ")}
    makefiles = (ROOT / "Makefile").read_text() + (ROOT / "bin/side.mk").read_text()
    phony = set(re.sub(r"\\\n", " ", makefiles.replace(".PHONY:", "\n.PHONY:")).split("\n"))
    phony = {word for line in phony if line.startswith(".PHONY:") for word in line.split()[1:]}
    assert {name for name in phony if not name.startswith("bench-")} - listed == {"FORCE"}


def test_clean_takes_what_the_recipe_made_and_nothing_else(tmp_path, make):
    build = tmp_path / "build"
    for folder in ("fused", "q5", "quants/4-64", "adapters", "logs", "mine"):
        (build / folder).mkdir(parents=True)
        (build / folder / "file").write_bytes(b"x" * 2_000_000)
    for name in ("eval.json", "compare.md", "preflight.ok"):
        (build / name).write_text("kept")
    words = ["CONFIG=demo.env", f"BUILD={build}"]
    assert "no .phase40-build, so this recipe made nothing" in make("clean-build", *words).stdout
    (build / ".phase40-build").touch()
    run = make("clean-build", *words)
    assert run.returncode == 0 and "freed 6 MB" in run.stdout, run.stderr
    kept = {"adapters", "logs", "mine", ".phase40-build", "eval.json", "compare.md", "preflight.ok"}
    assert {path.name for path in build.iterdir()} == kept | {"quants"}
    assert not list((build / "quants").iterdir())
    make("clean", *words)
    assert {path.name for path in build.iterdir()} == {"mine"}
