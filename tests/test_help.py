"""make help is the Makefile's table of contents."""

import re

from conftest import ROOT, clean_environment, on_terminal

FILES = [
    "Makefile",
    *(f"bin/{name}.mk" for name in ("look", "use", "sweep", "rehearse", "develop")),
]


def listed(make) -> list[str]:
    run = make("help")
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()


def test_heads_and_targets_are_those_of_the_makefile(make):
    """In its order, each target under the head it stands under; a head without one is left out."""
    expected = []
    for name in FILES:
        head = None
        for line in (ROOT / name).read_text(encoding="utf-8").splitlines():
            if line.startswith("# == "):
                head = line[5:]
            elif match := re.match(r"([a-z-]+):.*## (.*)", line):
                expected += [head] if head else []
                expected.append(f"  make {match[1]:<15} {match[2]}")
                head = None
    said = [line for line in listed(make) if line and not line.startswith("Settings:")]
    assert said == expected
    assert "$" not in "".join(expected)  # a head is read as it stands


def test_it_fits_a_terminal_of_80_columns(make):
    assert [line for line in listed(make) if len(line) > 80] == []


def test_every_phony_target_that_users_name_is_listed(make):
    """What make can be asked for, but for the ones that only make needs."""
    phony = set()
    for name in FILES:
        for line in (ROOT / name).read_text(encoding="utf-8").splitlines():
            if line.startswith(".PHONY:"):
                phony |= set(line.split()[1:])
    targets = {line.split()[1] for line in listed(make) if line.startswith("  make ")}
    assert phony - targets == {"FORCE"}


def test_heads_are_bold_on_a_terminal_only_and_never_with_no_color(make):
    words = ["make", "help"]
    assert b"\x1b[1m" in on_terminal(words, clean_environment())
    assert b"\x1b" not in on_terminal(words, clean_environment() | {"NO_COLOR": "1"})
    assert "\x1b" not in "".join(listed(make))
