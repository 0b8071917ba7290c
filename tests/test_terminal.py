"""What a person sees: a beginning and an end of each stage, the next command, quiet with -s."""

import re

from conftest import ROOT, clean_environment, on_terminal, stages

RULES = [ROOT / "Makefile", *sorted((ROOT / "bin").glob("*.mk"))]


def said_of_stages(word: str) -> list[tuple[str, str]]:
    """(stage, what follows its output) of each call of bin/stages.sh with `word`."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in RULES)
    stage = r"(\w+|\$\(basename \$\(@F\)\))"
    return re.findall(rf"^\t@bin/stages.sh {word} {stage} \$@ ?(.*)$", text, re.MULTILINE)


def test_what_begins_ends_and_names_a_goal_that_there_is(make):
    begun, finished = said_of_stages("begin"), said_of_stages("finish")
    assert [stage for stage, _ in begun] == [stage for stage, _ in finished] and len(begun) > 12
    assert all(re.fullmatch('".+"', title) for _, title in begun)
    goals = {line.split()[1] for line in make("help").stdout.splitlines() if "  make " in line}
    for stage, following in finished:
        goal = re.sub(r"\$\(if \$\(\w+\),|[A-Z]+=\w+", "", following)
        named = set(re.findall(r"[a-z-]+", goal))
        assert named <= goals and (named or stage == "sweep"), following


def test_a_stage_says_what_it_made_how_long_it_took_and_the_next_command(built):
    config, build, output = built
    lines = output.splitlines()
    for name in (
        "adapters",
        "fused",
        "q5",
        "ladder.json",
        "eval.json",
        "compare.md",
        "report.html",
    ):
        made = next(line for line in lines if line.startswith(f"{build}/{name}: "))
        assert re.search(r": \d[\d.]* [kMG]B, \d+ (s|min)", made), made
        following = made if "next" in made else lines[lines.index(made) + 1]
        assert re.search(rf"next: make [a-z-]+ CONFIG={re.escape(str(config))}$", following)


def test_the_next_command_has_the_settings_of_this_one(built, make, tmp_path):
    words = [f"CONFIG={built[0]}", f"BUILD={tmp_path}/build", "Q_BITS=4", "LEAN=1"]
    said = make("preflight", *words).stdout.splitlines()[-1]
    assert said.startswith("next: make train CONFIG=")
    assert {"Q_BITS=4", f"BUILD={tmp_path}/build"} <= set(said.split()) and "LEAN" not in said


def test_with_s_stages_say_nothing_but_what_is_wrong(built, make, tmp_path):
    words = [f"CONFIG={built[0]}", f"BUILD={tmp_path}/build"]
    done = make("-s", "preflight", *words)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    again = make("-s", "preflight", *words)
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    wrong = make("-s", "preflight", *words, "EPOCHS=7")
    assert wrong.returncode == 2 and wrong.stdout == ""
    assert wrong.stderr.startswith("preflight: plan.epochs: ")


def test_a_title_is_bold_on_a_terminal_only_and_never_with_no_color(built, tmp_path):
    words = ["make", "preflight", f"CONFIG={built[0]}", f"BUILD={tmp_path}/build", "EPOCHS=7"]
    assert b"\x1b[1m== preflight" in on_terminal(words, clean_environment())
    assert b"\x1b" not in on_terminal(words, clean_environment() | {"NO_COLOR": "1"})


def test_tables_fit_80_columns(built, make):
    config, build, output = built
    shown = [make(goal, f"CONFIG={config}").stdout for goal in ("status", "plan", "ladder")]
    shown += [(build / "compare.md").read_text(), (build / "logs/best.log").read_text()]
    for line in "\n".join(shown).replace(str(build), "build").splitlines():
        assert len(line) <= 80, line
    answers = [line for line in output.splitlines() if re.match(r"\[ *\d+/\d+\] ", line)]
    assert answers and max(map(len, answers)) <= 80
    assert "preflight" in stages(output)
