"""What the README tells people to type, and where it tells them to look, is there."""

import re
import subprocess

import pytest

from conftest import ROOT, clean_environment, made
from settings import load_settings

README = (ROOT / "README.md").read_text(encoding="utf-8")
# What the commands that show the traps say on the tiny model, and their exit status.
SHOWN = {
    "(1)": (2, "tokenizer.special_tokens: BASE_MODEL: "),
    "(2)": (0, "served.parser"),
    "(3)": (2, "plan.epochs"),
    "(4)": (0, "best_iteration"),
    "(5)": (0, "bin/python py/ladder.py"),
    "(6)": (0, "weights_sha256"),
    "(7)": (0, "invented_calls"),
}


def commands_of_the_traps() -> dict[str, list[str]]:
    """Number of a trap -> the commands under its comment."""
    block = README.partition("    # (1)")[2].partition("\n\n")[0]
    commands, number = {}, "(1)"
    for line in ("(1)" + block).replace("\\\n", "").splitlines()[1:]:
        line = line.strip()
        if line.startswith("# ("):
            number = line[2:5]
        else:
            commands.setdefault(number, []).append(line)
    return commands


def test_every_trap_has_its_command():
    table = README.partition("## The traps")[2].partition("\n## ")[0]
    numbers = {number for row in table.splitlines() for number in re.findall(r"\| (\(\d\))", row)}
    assert numbers == set(commands_of_the_traps()) == set(SHOWN)


@pytest.mark.parametrize("number", SHOWN)
def test_a_trap_is_shown_by_its_command(built, tmp_path, number):
    config, build, _ = built
    status, said = SHOWN[number]
    shown, ended = "", 0
    for command in commands_of_the_traps()[number]:
        command = command.replace("CONFIG=demo.env", f"CONFIG={config}")
        command = command.replace("build/demo", str(build)).replace("build/trap", f"{tmp_path}/b")
        if command.startswith("make ladder "):
            command += " -n"  # tests/test_ladder.py has what it says of too few bits
        run = subprocess.run(
            ["bash", "-c", command],
            cwd=ROOT,
            env=clean_environment(),
            capture_output=True,
            text=True,
        )
        shown, ended = shown + run.stdout + run.stderr, max(ended, run.returncode)
    assert said in shown and ended == status, shown


def test_the_next_experiment_is_four_lines(tmp_path, make):
    lines = README.partition("    EXPERIMENT=phase41\n")[2].partition("\n\n")[0]
    text = "EXPERIMENT=phase41\n" + "".join(line.strip() + "\n" for line in lines.splitlines())
    (tmp_path / "phase41.env").write_text(text)
    assert len(text.splitlines()) == 4
    old, new = load_settings(), load_settings(tmp_path / "phase41.env")
    changed = {key: new[key] for key in new if new[key] != old[key]}
    assert changed == dict(line.split("=") for line in text.splitlines())
    words = [f"CONFIG={tmp_path}/phase41.env", "SUITE=data/suite.json", f"DATA={ROOT}/data/demo"]
    planned = make("-n", "eval", *words)
    assert planned.returncode == 0 and "--iters 400" in planned.stdout, planned.stderr
    assert "eval.json" in made(planned.stdout) and "build/phase41/q5" in planned.stdout


def test_every_target_that_is_named_exists(make):
    listed = {line.split()[1] for line in make("help").stdout.splitlines() if "  make " in line}
    named = set(re.findall(r"(?:`|^    |-is )make (?:-n )?([a-z][a-z-]*)", README, re.MULTILINE))
    assert named and named - listed == set()


def test_every_path_that_is_named_exists():
    paths = set(re.findall(r"`((?:py|bin|tests|data)/[\w/.*]+?)/?`", README))
    assert len(paths) > 4
    for path in paths:
        assert list(ROOT.glob(path)), path


def test_every_key_that_is_named_exists():
    config = (ROOT / "phase40.env").read_text() + (ROOT / "bin/settings.mk").read_text()
    named = set(re.findall(r"\b([A-Z][A-Z0-9_]+)=", README))
    assert [key for key in sorted(named) if not re.search(rf"\b{key}\b", config)] == []


def test_every_link_inside_leads_somewhere():
    heads = re.findall(r"^#+ (.*)$", README, re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9 -]", "", head.lower()).replace(" ", "-") for head in heads}
    for link in re.findall(r"\]\(([^)]+)\)", README):
        if link.startswith("#"):
            assert link[1:] in anchors, link
        elif not link.startswith("https://"):
            assert (ROOT / link).exists(), link
