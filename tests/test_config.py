"""One env syntax for Make, a shell and python-dotenv; every mistake in it is one clear line."""

import subprocess

import pytest

from conftest import ROOT, clean_environment, write_config
from settings import load_settings, number

CONFIGS = ["phase40.env", "demo.env"]


def by_shell(config: str) -> dict:
    keys = load_settings(ROOT / config)
    script = f"set -eu; . ./{config}; " + "; ".join(f'echo "{key}=${key}"' for key in keys)
    run = subprocess.run(
        ["sh", "-c", script], cwd=ROOT, env=clean_environment(), capture_output=True, text=True
    )
    return dict(line.split("=", 1) for line in run.stdout.splitlines())


def by_make(config: str, tmp_path) -> dict:
    keys = load_settings(ROOT / config)
    show = tmp_path / "show.mk"
    show.write_text(f"include {config}\nshow:\n" + "".join(f"\t@echo {k}=$({k})\n" for k in keys))
    run = subprocess.run(
        ["make", "-f", show, "show"],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
    )
    return dict(line.split("=", 1) for line in run.stdout.splitlines())


@pytest.mark.parametrize("config", CONFIGS)
def test_make_shell_and_dotenv_read_the_same(config, tmp_path, monkeypatch):
    for key in load_settings(ROOT / config):
        monkeypatch.delenv(key, raising=False)
    settings = load_settings(ROOT / config)
    assert len(settings) > 25
    assert by_shell(config) == by_make(config, tmp_path) == settings


def test_both_configs_have_the_same_keys():
    first, second = (list(load_settings(ROOT / config)) for config in CONFIGS)
    assert set(first) == set(second)


def test_every_key_of_the_real_run_has_its_reason():
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
        ("ITER=5", "x.env:{n}: unknown key ITER;"),
        ("ITERS=5", "x.env:{n}: ITERS is set twice"),
        ('SUITE="a b"', "x.env:{n}: a value holds letters"),
        ("SUITE=$(HOME)", "x.env:{n}: a value holds letters"),
        ("SUITE=`id`", "x.env:{n}: a value holds letters"),
        ("export A=1", "x.env:{n}: not KEY=value: export A=1"),
        ("SEED = 1", "x.env:{n}: not KEY=value"),
        ("SEED=1\r", "x.env:{n}: Windows line end"),
    ],
)
def test_a_bad_line_is_named_with_file_and_line(tmp_path, make, line, message):
    config = write_config(tmp_path / "x.env")
    with config.open("a", newline="") as stream:
        stream.write(line + "\n")
    number_of_line = len(config.read_text().splitlines())
    run = make("help", f"CONFIG={config}")
    assert run.returncode == 2
    assert message.format(n=number_of_line) in run.stderr
    assert len(run.stderr.splitlines()) == 1


def test_a_missing_key_and_a_missing_config_are_one_line(tmp_path, make):
    config = tmp_path / "x.env"
    text = (ROOT / "demo.env").read_text()
    config.write_text(text.replace("ITERS=", "#ITERS="))
    for argument, message in ((config, "ITERS is missing"), ("no.env", "no.env: no such config")):
        run = make("help", f"CONFIG={argument}")
        assert (run.returncode, len(run.stderr.splitlines())) == (2, 1)
        assert message in run.stderr


def test_an_unknown_key_on_the_command_line_stops(make):
    run = make("-n", "train", "ITER=5")
    assert run.returncode == 2
    assert "ITER: unknown key" in run.stderr


@pytest.mark.parametrize("setting", ["BUILD=", "BUILD=a b"])
def test_an_empty_or_split_value_on_the_command_line_stops(make, setting):
    run = make("-n", "train", setting)
    assert (run.returncode, len(run.stderr.splitlines())) == (2, 1)
    assert "BUILD" in run.stderr and ("is empty" in run.stderr or "a space" in run.stderr)


def test_a_value_in_the_environment_is_held_to_the_same_syntax(make):
    run = make("help", DATA="my folder")
    assert run.returncode == 2
    assert "environment: DATA: a value holds" in run.stderr


def test_command_line_wins_over_environment_wins_over_file(make):
    command = make("-n", "train", "CONFIG=demo.env", "ITERS=11", ITERS="12", SEED="7").stdout
    assert "--iters 11 " in command
    assert "--seed 7 " in command


@pytest.mark.parametrize("flag", ["-i", "-t", "--ignore-errors", "-ki"])
def test_flags_that_would_call_made_what_failed_are_refused(tmp_path, make, flag):
    run = make(flag, "preflight", f"BUILD={tmp_path}/build")
    assert (run.returncode, len(run.stderr.splitlines())) == (2, 1)
    assert "make -i would" in run.stderr or "make -t would" in run.stderr
    assert not (tmp_path / "build").exists()


def test_flags_that_only_look_like_those_are_not(make):
    option = ["PYTEST=tests/test_score.py -kinterval -vist"]  # pytest's, not make's
    for flags in (["-k"], ["-j2"], ["-Otarget"], ["-I", "tests"], option):
        run = make("-n", *flags, "preflight", "CONFIG=demo.env")
        assert run.returncode == 0, (flags, run.stderr)


def test_demo_is_eval_with_the_demo_config(make):
    assert make("-n", "demo").stdout == make("-n", "eval", "CONFIG=demo.env").stdout


def test_a_number_that_is_none_is_named():
    with pytest.raises(ValueError, match="ITERS=many: expected a whole number"):
        number({"ITERS": "many"}, "ITERS")


def test_the_readmes_next_experiment_builds(tmp_path, make):
    """Its lines make an env file that differs where they say, and that make takes."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    start = readme.index("    sed -e 's/^EXPERIMENT=")
    lines = readme[start : readme.index("    make plan CONFIG=phase41.env")]
    config = tmp_path / "phase41.env"
    script = lines.replace(">phase41.env", f">{config}")
    subprocess.run(["bash", "-c", script], cwd=ROOT, check=True)
    old, new = load_settings(ROOT / "phase40.env"), load_settings(config)
    changed = {key: new[key] for key in new if new[key] != old[key]}
    assert changed == {
        **{"EXPERIMENT": "phase41", "BUILD": "build/phase41"},
        **{"ITERS": "400", "EPOCHS": "1.38"},
    }
    planned = make("-n", "eval", f"CONFIG={config}")
    assert planned.returncode == 0 and "--iters 400" in planned.stdout
    assert "build/phase41/eval.json" in planned.stdout


def test_mlx_names_a_build_that_there_is(make):
    run = make("-n", "setup", "MLX=cuda")
    assert run.returncode == 2 and "MLX=cuda: expected cuda13 or cuda12" in run.stderr
    planned = make("-n", "eval", "CONFIG=demo.env", "MLX=cuda13").stdout
    assert "bin/setup.sh cuda13" in planned
    assert "q5-float32" not in planned  # a GPU serves q5 itself
