"""The shell side with what a Mac has: Apple's options, the one true awk, no GNU tools.

On a Mac these tests run with its own tools. Elsewhere PATH holds the nearest that can be had:
busybox's tools behind a check of the options that Apple's manual pages list, awk as Apple ships
it, and stand-ins for what answers otherwise there. Not shown by them: GNU Make 3.81 and bash 3.2;
py/lint_portability.py knows what those lack.
"""

import json
import os
import shutil
import subprocess
import sys

import pytest

from conftest import ROOT, clean_environment, stages, write_config

ON_A_MAC = sys.platform == "darwin"
# Tool: its options, as getopts takes them. An option after an operand is an operand to BSD's tools.
APPLES = {
    "basename": "as:",
    "cat": "belnstuv",
    "chmod": "fhvR",
    "cp": "HLPRacfilnprsvX",
    "cut": "b:c:d:f:nsw",
    "date": "jnRuf:r:v:",
    "df": "abgHhIiklmnPt:T:",
    "dirname": "",
    "du": "aHLPcd:hgkI:mnrsx",
    "fold": "bsw:",
    "head": "0123456789c:n:",
    "ln": "FLPfhinsvw",
    "ls": "1@ABCFGHILOPRSTUWabcdefghiklmnopqrstuvwxy%",
    "mkdir": "m:pv",
    "mkfifo": "m:",
    "mktemp": "dqt:u",
    "mv": "fhinv",
    "readlink": "n",
    "rm": "dfiIPRrvWx",
    "rmdir": "p",
    "sed": "EHalnue:f:i:I:",
    "seq": "f:s:t:w",
    "sleep": "",
    "sort": "bcCdfgik:mno:rS:st:T:uz",
    "tail": "0123456789Fb:c:fn:qr",
    "tee": "ai",
    "touch": "Aacd:fhmr:t:",
    "tr": "Ccdsu",
    "uniq": "cdif:s:u",
    "wc": "clmwL",
    "xargs": "0E:I:J:L:n:P:pR:S:s:tx",
}
TOOL = """#!/bin/sh
for word; do
    case $word in --) break ;; --?*) echo "{tool}: illegal option -- -" >&2; exit 64 ;; esac
done
while getopts '{options}' option; do [ "$option" != '?' ] || exit 64; done
{operands}exec {busybox} {tool} {always} "$@"
"""
OPERANDS = """skip=$((OPTIND - 1))
for word; do
    [ $((skip -= 1)) -lt 0 ] || continue
    case $word in -?*) echo "{tool}: $word: No such file or directory" >&2; exit 1 ;; esac
done
"""
TAKEN = ("busybox", "original-awk", "cksum", "readlink", "stat")
STAND_INS = {
    "uname": """case ${1:--s} in
        -s) echo Darwin ;; -m) echo arm64 ;; -n) echo "$MAC_NAME" ;; -r) echo 23.6.0 ;;
        *) echo "uname: $1: not told here" >&2; exit 64 ;; esac""",
    "cksum": "[ $# = 0 ] && exec {cksum}",
    "scutil": '[ "$*" = "--get LocalHostName" ] && echo studio',
    "stat": """[ "$1 $2" = "-f %z %Fm %Fc %N" ] || { echo "stat: $1: not told here" >&2; exit 1; }
        shift 2; exec {stat} -c '%s %.9Y %.9Z %n' "$@" """,
    "shasum": """[ "$*" = "-a 256" ] || { echo "shasum: $*: not told here" >&2; exit 64; }
        exec {busybox} sha256sum""",
    # The path of the program, cut at the width of the terminal unless -ww says not to.
    "ps": """while getopts Aaco:p:rwx option; do case $option in
        w) wide=w$wide ;; o) format=$OPTARG ;; p) pid=$OPTARG ;; ?) exit 64 ;; esac; done
        [ "$format" = comm= ] && path=$({readlink} /proc/$pid/exe) || exit 1
        [ "$wide" = ww ] || path=$(printf %.8s "$path")
        echo "$path" """,
}


def write_program(path, text: str, **names) -> None:
    for name, value in names.items():
        text = text.replace("{" + name + "}", str(value))
    path.write_text(text if text.startswith("#!") else f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.fixture(scope="module")
def tools(tmp_path_factory):
    """A PATH as on a Mac."""
    if ON_A_MAC:
        return os.environ["PATH"]
    places = {name: shutil.which(name) for name in TAKEN}
    missing = [name for name, place in places.items() if not place]
    if missing:
        say = pytest.fail if os.environ.get("CI") else pytest.skip
        say(f"apt-get install {' '.join(missing)}: these tests need it")
    folder = tmp_path_factory.mktemp("apple")
    for tool in ("make", "bash", "sh", "jq", "curl", "env"):
        (folder / tool).symlink_to(shutil.which(tool))
    (folder / "awk").symlink_to(places["original-awk"])
    for tool, options in APPLES.items():
        operands = "" if tool == "xargs" else OPERANDS
        always = "-r" if tool == "xargs" else ""  # BSD's starts nothing where there is no input
        names = {"options": options, "operands": operands, "always": always, "tool": tool}
        write_program(folder / tool, TOOL, **names, **places)
    for tool, text in STAND_INS.items():
        write_program(folder / tool, text, **places)
    return str(folder)


@pytest.fixture(scope="module", params=["", "1"], ids=["bash", "posix"])
def mac(tools, request, tmp_path_factory):
    """(root, run): a copy of the repository with a bare Python, and run(program, ...) in it."""
    root = tmp_path_factory.mktemp("mac") / "Übung mit Leerzeichen"
    ignored = shutil.ignore_patterns(".git", ".venv", "build", "__pycache__", ".*cache")
    shutil.copytree(ROOT, root, ignore=ignored)
    (root / ".venv/bin").mkdir(parents=True)
    write_program(root / ".venv/bin/python", f'exec "{sys.executable}" "$@"')
    for group in ("base", "embedded"):
        name = "requirements" + ("" if group == "base" else f"-{group}") + ".lock"
        with (root / "py" / name).open() as lock:
            checksum = subprocess.check_output(["cksum"], stdin=lock)
        (root / f".venv/{group}.installed").write_bytes(checksum)
    env = {key: text for key, text in clean_environment().items() if key[:3] not in ("LD_", "DYL")}
    env |= {"PATH": tools, "BASH_COMPAT": "3.2", "MAC_NAME": "studio.local"}
    env |= {"POSIXLY_CORRECT": "1"} if request.param else {}

    def run(program, *words, **changes):
        return subprocess.run(
            [program, *map(str, words)],
            cwd=root,
            env=env | changes,
            capture_output=True,
            text=True,
            timeout=60,
        )

    run.env = env
    return root, run


def said(run) -> str:
    """Standard output of a run that went well and complained of nothing."""
    assert (run.returncode, run.stderr) == (0, "")
    return run.stdout


@pytest.mark.skipif(ON_A_MAC, reason="the tools are the real ones here")
def test_the_stand_ins_refuse_what_is_gnu(mac):
    for line in (
        "stat -c %s /",
        "sed -r s/a/b/ /dev/null",
        "du -sb /",
        "readlink -f /",
        "ls --color /",
        "rm /nowhere -f",
        "mktemp --suffix=x",
        "nproc",
        "sha256sum /dev/null",
        "flock x",
        "timeout 1 true",
        "setsid true",
        "ldconfig -p",
        "find . -printf x",
    ):
        assert mac[1]("bash", "-c", line).returncode != 0, line
    assert mac[1]("bash", "-c", ": | xargs echo; uname -s").stdout == "Darwin\n"
    assert "version 20" in mac[1]("awk", "-version").stdout  # the one true awk has a date


def test_every_script_can_be_parsed(mac):
    root, run = mac
    scripts = [*root.glob("bin/*.sh"), root / "bin/python", root / ".ci/run"]
    assert len(scripts) > 10
    for script in scripts:
        assert said(run("bash", "-n", script)) == ""


def test_help_lists_the_targets(mac):
    lines = said(mac[1]("make", "help")).splitlines()
    assert any(line.startswith("  make eval  ") for line in lines) and len(lines) > 25
    assert said(mac[1]("make")).splitlines() == lines


@pytest.mark.parametrize("config", ["phase40.env", "demo.env"])
def test_q5_itself_is_served_and_has_no_twin(mac, config):
    plan = said(mac[1]("make", "-n", "eval", f"CONFIG={config}"))
    names = [name for name in stages(plan) if name in ("train", "fuse", "quantize", "eval")]
    assert names == ["train", "fuse", "quantize", "eval"]
    build = "build" if config == "phase40.env" else "build/demo"
    assert f"--model {build}/q5 --serve {build}/q5 " in plan
    assert "q5-float32" not in plan and "twin" not in plan


def test_no_blas_is_put_in_front(mac):
    root, run = mac
    said(run("bin/fast_blas.sh"))
    assert not (root / ".venv/fast_blas").exists()
    show = "import os; print([key for key in os.environ if key[:3] in ('LD_', 'DYL')])"
    assert said(run("bin/python", "-c", show)) == "[]\n"


def test_a_mac_needs_no_other_mlx(mac):
    run = mac[1]("bin/setup.sh", "cuda13")
    assert run.returncode == 2
    assert "MLX=cuda13 is for Linux with an NVIDIA GPU; a Mac needs no MLX=" in run.stderr


def test_setup_knows_what_is_installed(mac):
    said(mac[1]("bin/setup.sh", "base"))
    said(mac[1]("make", "setup", "CONFIG=demo.env"))


def test_why_and_status_of_a_build_that_is_not_there(mac):
    why = said(mac[1]("make", "why", "CONFIG=demo.env")).splitlines()
    assert {line.split(None, 1)[1] for line in why} == {"not made yet"}
    status = said(mac[1]("make", "status", "CONFIG=demo.env")).splitlines()
    assert len([line for line in status if line]) == len(why) > 8
    assert all(line.split()[1:4] == ["-", "-", "-"] for line in status if line)


@pytest.fixture
def small(mac, tmp_path):
    """(folder, ask): two stages, both made; ask runs stages.sh or status.sh."""
    root, run = mac
    for name in ("one.txt", "two.txt"):
        (tmp_path / name).write_text(f"{name}\n")
    build = tmp_path / "build"
    build.mkdir()
    table = f"first|{build}/first|K=1|{tmp_path}/one.txt|; "
    table += f"second|{build}/second||{tmp_path}/two.txt {tmp_path}/none.txt|first;"
    given = {"STAGE_TABLE": table, "BUILD_FOLDER": str(build), "MAKE_PID": str(os.getpid())}

    def ask(*words, program="bin/stages.sh", **changes):
        return said(run(program, *words, **given | changes))

    for stage in ("first", "second"):
        ask("begin", stage, build / stage, "a title")
        (build / f"{stage}.tmp").mkdir()
        (build / f"{stage}.tmp/weights").write_bytes(b"x" * 3_000_000)
        ask("finish", stage, build / stage)
    return tmp_path, ask


def test_contents_decide_what_is_stale(small):
    folder, ask = small
    assert ask("stale") == ""
    assert not (folder / "build/first.tmp").exists() and (folder / "build/first/weights").exists()
    (folder / "two.txt").touch()
    assert ask("stale") == ""
    (folder / "two.txt").write_text("TWO.txt\n")
    assert ask("stale").split() == ["second"]
    assert f"{folder}/two.txt has changed" in ask("why")
    (folder / "one.txt").unlink()
    assert ask("stale").split() == ["first", "second"]
    assert f"{folder}/one.txt is gone" in ask("why")


def test_what_was_noted_here_is_up_to_date_with_gnu_tools(small):
    """Notes and cached hashes are the same text whichever tools wrote them."""
    folder, ask = small
    hashes = (folder / "build/made/hashes").read_text()
    assert ask("stale", PATH=os.environ["PATH"]) == ""
    assert (folder / "build/made/hashes").read_text() == hashes


def test_status_gives_sizes_and_dates(small):
    _, ask = small
    lines = ask("status", program="bin/status.sh").splitlines()
    assert lines[0].split()[:5] == ["first", "up", "to", "date", "3.0"] and " MB  " in lines[0]
    month, day, clock = lines[0].split()[6:9]
    assert month in "JanFebMarAprMayJunJulAugSepOctNovDec" and day.isdigit() and ":" in clock
    assert ask("why", program="bin/status.sh").splitlines() == [
        "first      up to date",
        "second     up to date",
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("ITER=5", "unknown key ITER;"),
        ("ITERS=5", "ITERS is set twice"),
        ('SUITE="a b"', "a value holds letters"),
        ("SEED = 1", "not KEY=value"),
        ("SEED=1\r", "Windows line end"),
    ],
)
def test_a_bad_line_of_a_config_is_named(mac, tmp_path, line, message):
    config = write_config(tmp_path / "x.env")
    number = len(config.read_text().splitlines()) + 1
    with config.open("a", newline="") as stream:
        stream.write(line + "\n")
    run = mac[1]("make", "help", f"CONFIG={config}")
    assert run.returncode == 2 and f"{config}:{number}: {message}" in run.stderr
    assert run.stderr.count("\n") == 1


def test_a_missing_key_and_an_unknown_one(mac, tmp_path):
    config = write_config(tmp_path / "x.env")
    config.write_text(config.read_text().replace("ITERS=", "#ITERS="))
    assert "ITERS is missing" in mac[1]("make", "help", f"CONFIG={config}").stderr
    assert "ITER: unknown key" in mac[1]("make", "-n", "train", "ITER=5").stderr
    assert "DATA: a value holds" in mac[1]("make", "help", DATA="my folder").stderr


def test_clean_removes_what_is_the_recipes_own(mac):
    root, run = mac
    build = root / "build/cleaned"
    (build / "q5").mkdir(parents=True)
    (build / "q5/weights").write_bytes(b"x" * 3_000_000)
    (build / "mine").write_text("")
    (build / "eval.json").write_text("{}")
    refused = run("bin/clean.sh", "build/cleaned", "models")
    assert refused.returncode == 2 and "was not made by this recipe" in refused.stderr
    (build / ".phase40-build").write_text("")
    freed = said(run("make", "clean-build", "CONFIG=demo.env", "BUILD=build/cleaned"))
    assert "removed build/cleaned/q5 (3 MB)" in freed and "freed 3 MB" in freed
    assert (build / "eval.json").exists()
    said(run("bin/clean.sh", "build/cleaned/", "all"))
    assert [file.name for file in build.iterdir()] == ["mine"]
    assert "holds this repository" in run("bin/clean.sh", ".", "all").stderr


def test_the_disk_is_measured(mac, tmp_path):
    facts = {"facts": {"model": {"fused_bytes": 5 * 10**15, "q5_bytes": 5_000_000_000}}}
    (tmp_path / "preflight.json").write_text(json.dumps(facts))
    refused = mac[1]("bin/space.sh", tmp_path / "fused", "fused_bytes")
    assert refused.returncode == 1
    assert f"{tmp_path}/fused takes 5000000.0 GB, {tmp_path} has " in refused.stderr
    assert "B free; free some" in refused.stderr
    said(mac[1]("bin/space.sh", tmp_path / "float32", "float32_bytes"))


def test_one_make_at_a_time(mac, tmp_path):
    _, run = mac
    (tmp_path / "sleeping.mk").write_text("all:\n\t@echo ready; sleep 60; true\n")
    words = ["make", "-f", tmp_path / "sleeping.mk"]
    holder = subprocess.Popen(words, env=run.env, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "ready\n"
        assert said(run("bin/lock.sh", tmp_path, holder.pid)) == ""
        # Another network gives a Mac another name; it is the same machine.
        refused = said(run("bin/lock.sh", tmp_path, os.getpid(), MAC_NAME="mac.example.com"))
        assert f"make is at work here (process {holder.pid} on" in refused
        assert "remove" in refused and refused.count("\n") == 1
        assert said(run("make", "-n", "clean", f"BUILD={tmp_path}"))
        assert "is at work here" in run("make", "clean", f"BUILD={tmp_path}").stderr
    finally:
        holder.kill()
        holder.wait()
    assert said(run("bin/lock.sh", tmp_path, 1, MAC_NAME="mac.example.com")) == ""
    assert os.readlink(tmp_path / ".lock").startswith("1@")


def test_results_are_compared(mac, tmp_path):
    baseline = json.loads((ROOT / "data/baseline.json").read_text())
    result = {
        "experiment": "mine",
        "categories": {name: c | {"score": 0.5} for name, c in baseline["categories"].items()},
        "suite": {"name": "phase40", "n": 27},
        "overall": 0.5,
        "strict_overall": 0.25,
        "ci95": [0.3, 0.7],
        "verdict": "fail",
        "settings": {},
        "server": {"kind": "mlx_lm"},
    }
    file = tmp_path / "mine's ä.json"
    file.write_text(json.dumps(result))
    baseline = ROOT / "data/baseline.json"
    table = said(mac[1]("bin/compare.sh", baseline, file, baseline))
    assert "| lsp        | 5  | 90%      | >= 80% | 50%        | -40        | FAIL    |" in table
    missing = mac[1]("bin/compare.sh", baseline, tmp_path / "none", baseline)
    assert (missing.returncode, missing.stderr.count("\n")) == (2, 1)


def test_rows_are_fetched_by_checksum(mac, tmp_path):
    root, run = mac
    rows = ROOT / "data/demo/valid.jsonl"
    checksum = subprocess.check_output([root / "bin/sha256.sh", rows], env=run.env, text=True)
    (tmp_path / "sums").write_text(f"{checksum.strip()}  valid.jsonl\n")
    words = [rows.parent.as_uri(), tmp_path / "sums", tmp_path / "valid.jsonl"]
    assert "fetched, sha256 as in" in said(run("bin/fetch.sh", *words))
    assert (tmp_path / "valid.jsonl").read_bytes() == rows.read_bytes()
    assert "there, sha256 as in" in said(run("bin/fetch.sh", *words))


def test_mistakes_are_one_line_each(mac):
    for words, message in {
        ("bin/launch.sh", "no", "none", "4", "true"): "WORKERS=no: expected a number",
        ("bin/launch.sh", "3", "none", "4", "true"): "make it a multiple of 3",
        ("bin/launch.sh", "1", "none.json", "4", "true"): "HOSTS=none.json: no such file",
        ("bin/server.sh", "build/no", "0"): "serve: build/no: no such model directory",
        ("make", "gate", "BUILD=build/no"): "build/no/eval.json: no such file",
    }.items():
        run = mac[1](*words)
        assert run.returncode == 2 and message in run.stderr.splitlines()[0], run.stderr


# MAKEFLAGS while makefiles are read: of 3.81 and of 4.
@pytest.mark.parametrize(
    ("flags", "dry"),
    [
        ("", False),
        ("n", True),
        ("wn", True),
        (" --no-print-directory", False),
        (" --no-print-directory -n", True),
        (" --jobserver-fds=3,4 -nj", True),
        (" --jobserver-fds=3,4 -j", False),
        ("k --no-print-directory -- CONFIG=phase40.env", False),
        (" -- SEEDS=n", False),
        (" -I/opt/include", False),
    ],
)
def test_a_dry_run_is_known_by_either_make(tmp_path, flags, dry):
    text = (ROOT / "bin/config.mk").read_text().replace("$(MAKEFLAGS)", "$(FLAGS)")
    names = ("SHORT_FLAGS :=", "DRY_RUN :=")
    lines = "\n".join(line for line in text.splitlines() if line.startswith(names))
    makefile = tmp_path / "flags.mk"
    makefile.write_text(f"FLAGS := $(none){flags}\n{lines}\nall:\n\t@echo '$(DRY_RUN)'\n")
    words = ["make", "-f", makefile]
    assert subprocess.check_output(words, env=clean_environment(), text=True).strip() == "n" * dry
