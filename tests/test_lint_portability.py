"""The portability linter finds what macOS lacks and leaves innocent lines alone."""

import subprocess
import sys
from pathlib import Path

import pytest

import lint_portability

# kind, text, a part of the message
CAUGHT = [
    ("make", ".ONESHELL:", ".ONESHELL"),
    ("make", ".SHELLFLAGS := -eu -c", ".SHELLFLAGS"),
    ("make", "export .SHELLFLAGS = -ec", ".SHELLFLAGS"),
    ("make", "ifneq ($(.SHELLSTATUS),0)", ".SHELLSTATUS"),
    ("make", ".EXTRA_PREREQS := Makefile", ".EXTRA_PREREQS"),
    ("make", "out: .EXTRA_PREREQS = tool", ".EXTRA_PREREQS"),
    ("make", ".RECIPEPREFIX = >", ".RECIPEPREFIX"),
    ("make", "x := $(file <list.txt)", "$(file)"),
    ("make", "out:\n\t$(file >$@,$(ALL))", "$(file)"),
    ("make", "x = $(let a b,$(1),$(b))", "$(let)"),
    ("make", "x = $(intcmp $(N),3,less)", "$(intcmp)"),
    ("make", "JOBS != getconf _NPROCESSORS_ONLN", "!="),
    ("make", "out: JOBS != echo 1", "!="),
    ("make", "train.jsonl valid.jsonl &: raw.json", "&:"),
    ("make", "undefine SEED", "undefine"),
    ("make", "override undefine SEED", "undefine"),
    ("make", "SEED ::= 3", "::="),
    ("make", "out: private SEED := 3", "private"),
    ("make", "private SEED = 3", "private"),
    ("make", "define report =", "define NAME ="),
    ("make", "load plugin.so", "load"),
    ("make", "-load plugin.so", "load"),
    ("make", "MAKEFLAGS += --output-sync=target", "--output-sync"),
    ("make", "MAKEFLAGS=-O", "--output-sync"),
    ("make", "all:\n\t$(MAKE) -j4 -Otarget sweep", "--output-sync"),
    ("shell", "make -j 4 --output-sync all", "--output-sync"),
    ("shell", "declare -A seen", "declare -A"),
    ("shell", "f() { local -A seen; }", "declare -A"),
    ("shell", "typeset -rA seen", "declare -A"),
    ("shell", "declare -g seed=3", "declare -A, -g"),
    ("shell", "local -n ref=$1", "declare -A, -g"),
    ("shell", "mapfile -t rows <list", "mapfile"),
    ("shell", "readarray rows <list", "mapfile"),
    ("shell", "coproc server", "coproc"),
    ("shell", 'echo "${name,,}"', "${x,,}"),
    ("shell", "x=${name^^}", "${x,,}"),
    ("shell", "x=${name,}", "${x,,}"),
    ("shell", "x=${name[0]^}", "${x,,}"),
    ("make", 'out:\n\techo "$${name,,}"', "${x,,}"),
    ("shell", 'echo "${name@Q}"', "${x@Q}"),
    ("shell", "python train.py |& tee log", "|&"),
    ("shell", "python train.py &>>log", "&>>"),
    ("shell", "wait -n", "wait -n"),
    ("shell", 'echo "${rows[-1]}"', "${a[-1]}"),
    ("shell", "x=${name:0:-1}", "${x:0:-1}"),
    ("shell", 'x="${name:1: -1}"', "${x:0:-1}"),
    ("shell", "printf '%(%F)T' -1", "%(..)T"),
    ("shell", 'printf -v now "%(%s)T\\n"', "%(..)T"),
    ("shell", "if [[ -v SEED ]]; then", "-v NAME"),
    ("shell", "[[ $a && ! -v SEED ]]", "-v NAME"),
    ("shell", "test -v SEED || exit", "-v NAME"),
    ("shell", "shopt -s nullglob globstar", "globstar"),
    ("shell", "while IFS= read -r -N 1 c; do", "read -N"),
    ("shell", "read -t 0.5 x", "read -N"),
    ("shell", 'start="$EPOCHREALTIME"', "$EPOCHREALTIME"),
    ("make", "out:\n\techo $$EPOCHSECONDS", "$EPOCHSECONDS"),
    ("shell", "for i in {1..9..2}; do", "{a..b..n}"),
    ("shell", "for i in {01..10}; do", "{01..9}"),
    ("shell", "a) x ;;&", ";;&"),
    ("shell", "a) x ;&", ";;&"),
    ("shell", "sed -i s/a/b/ file", "sed -i"),
    ("shell", "sed -E -i '' s/a/b/ file", "sed -i"),
    ("shell", "cat x | sed -nr 's/(a)/b/p'", "sed -r"),
    ("shell", "sed -z s/a/b/", "sed -r"),
    ("shell", "grep -oP 'a\\d' file", "grep -P"),
    ("shell", "size=$(stat -c %s file)", "stat -c"),
    ("shell", 'size="$(stat --format=%s "$file")"', "stat -c"),
    ("make", "SIZE := $(shell stat -f %z file)", "stat -c is GNU and -f is BSD"),
    ("shell", "date -u -d yesterday", "date -d"),
    ("shell", "date --date=yesterday", "date -d"),
    ("shell", 't=$(date "+%s%N")', "date -d"),
    ("shell", "date -j -f %F 2024-01-01", "date -d"),
    ("shell", "df --output=avail .", "df --output"),
    ("shell", "df -BG .", "df --output"),
    ("shell", "du -sb data", "du -b"),
    ("shell", "du --max-depth=1 data", "du -b"),
    ("shell", 'here=$(readlink -f "$0")', "readlink -f"),
    ("shell", 'here=$(realpath "$0")', "realpath"),
    ("shell", "mktemp --suffix=.json", "mktemp -p"),
    ("shell", "t=$(mktemp -d -p /tmp)", "mktemp -p"),
    ("shell", "cp --reflink=auto a b", "cp -t"),
    ("shell", "cp -t out a b", "cp -t"),
    ("shell", "mv -T a b", "mv -t"),
    ("shell", "ln -sr a b", "ln -t"),
    ("shell", "ln -sfT a b", "ln -t"),
    ("shell", "ls | xargs -r rm", "xargs -r"),
    ("shell", "ls | xargs -n 1 -d '\\n' rm", "xargs -r"),
    ("shell", 'tail --pid="$pid" -f log', "tail --pid"),
    ("shell", "head -n -1 file", "head -n -N"),
    ("shell", "head -c -10 file", "head -n -N"),
    ("shell", "ls --color=auto", "ls --color"),
    ("shell", "ls | sort -rV", "sort -V"),
    ("shell", "ls | sort -k1,1V", "sort -V"),
    ("shell", "find . -type f -printf '%s\\n'", "find -printf"),
    ("make", "out:\n\tfind $(DIR) -printf x", "find -printf"),
    ("shell", "find -name '*.json'", "find needs a path"),
    ("shell", "find | wc -l", "find needs a path"),
    ("shell", "tar -cf x.tar --transform=s/a/b/ a", "tar --transform"),
    ("shell", "tac log", "tac"),
    ("shell", "du -k a | numfmt --to=iec", "numfmt"),
    ("shell", "jobs=$(nproc)", "nproc"),
    ("make", "JOBS := $(shell nproc)", "nproc"),
    ("make", "out:\n\t@jobs=$$(nproc); $(RUN) $$jobs", "nproc"),
    ("shell", "sha256sum file >file.sum", "sha256sum"),
    ("shell", "find . -exec md5sum {} +", "sha256sum"),
    ("shell", "find . -print0 | xargs -0 shasum -a 256", "sha256sum"),
    ("shell", "flock lock make", "flock"),
    ("shell", "setsid server &", "setsid"),
    ("shell", "ldconfig -p | grep cuda", "ldconfig"),
    ("make", "out:\n\t@-timeout 5 $(RUN)", "timeout"),
    ("shell", "if ! timeout 5 server; then", "timeout"),
    ("shell", "SEED=3 timeout 5 server", "timeout"),
    ("shell", 'x="$(cd a && timeout 5 server)"', "timeout"),
    ("shell", "truncate -s 0 log", "truncate"),
    ("shell", "echo -e 'a\\tb'", "echo -e"),
    ("shell", "echo -ne x", "echo -e"),
    ("shell", "/bin/echo -e x", "echo -e"),
    ("shell", "/usr/bin/stat -c %s x", "stat -c"),
    ("shell", "grep MemTotal /proc/meminfo", "/proc"),
    ("shell", 'cat "/proc/$pid/status"', "/proc"),
    ("make", "all: train .WAIT fuse", ".WAIT"),
    ("make", ".NOTINTERMEDIATE: %.json", ".WAIT"),
    ("make", "DRY := $(findstring n,$(firstword -$(MAKEFLAGS)))", "MAKEFLAGS of 3.81"),
    ("shell", "me=$BASHPID", "$BASHPID"),
    ("shell", r"x=$'\u00e4'", r"$'\u"),
    ("shell", "exec {log}>train.log", "{fd}>FILE"),
    ("shell", 'for row in "${rows[@]}"; do :; done', "an empty array"),
    ("make", 'out:\n\trun "$${words[@]}"', "an empty array"),
    ("shell", "shopt -s inherit_errexit", "globstar"),
    ("shell", r"sed -n 's/a\+/b/p' file", r"\+, \|"),
    ("make", "out:\n\tsed -e 's/ *\\t/ /' in", r"\+, \|"),
    ("shell", "awk '{ print gensub(/a/, \"b\", 1) }' file", "gensub"),
    ("shell", "ls | awk '{ x = strftime() }'", "gensub"),
    ("shell", "gawk --re-interval 1", "gensub"),
    ("shell", "mktemp -t name.XXXXXX", "mktemp -p, -t"),
    ("shell", 'case $(ps -o comm= -p "$1") in *make) ;; esac', "ps cuts"),
    ("shell", "ps -axo pid,comm | head", "ps cuts"),
    ("shell", "me=$$@$(uname -n)", "a Mac's name"),
    ("shell", 'rm "$build" -rf', "an option behind"),
    ("shell", "ls a b -l | cat", "an option behind"),
    ("make", "out:\n\tgrep word $(FILES) -r", "an option behind"),
    ("shell", "x=$(case $1 in a) echo 1 ;; esac)", "case in $( )"),
    ("shell", 'x="$(\n  case $1 in\n    a) echo 1 ;;\n  esac\n)"', "case in $( )"),
    ("shell", "diff <(case $1 in a) echo 1 ;; esac) b", "case in $( )"),
    ("make", "out:\n\tx=$$(case $$1 in a) echo 1 ;; esac)", "case in $( )"),
    ("shell", "x=$(\n  ls # it's here\n)", "of a comment in $( )"),
]

INNOCENT = [
    ("make", "# .ONESHELL: would help here"),
    ("make", "SEED ?= 3  # undefine, $(file) and timeout 5 are for others"),
    ("make", "timeout = 5"),
    ("make", "timeout: flock\n\t@echo done"),
    ("make", "out: LOG := x\nout: in | dir\n\t$(LOG_timeout) --timeout 5"),
    ("make", "HERE := $(realpath $(dir $(lastword $(MAKEFILE_LIST))))"),
    ("make", "define report"),
    ("make", "load: data\n\t$(MAKE) -C sub CFLAGS=-O2"),
    ("make", "loads := 3\nprivate_key := x\nload = 3"),
    ("make", "ifeq ($(a),!=)"),
    ("make", "a:: b\n\t$(RUN) $(filter-out $<,$^)"),
    ("make", "FILES = a \\\n\ttac \\\n\tnproc"),
    ("make", "$(error it isn't there; timeout 5 passed)"),
    ("make", "out:\n\t@echo 'use sed -i; then timeout 5'  # timeout 5"),
    ("make", 'out:\n\t@test -s $@ || { echo "$@: no date -d; see log"; exit 2; }'),
    ("make", "url = http://host/a?b=1&c=2"),
    ("make", "ifneq (,$(private))\nNAMES = undefined $(files) $(letters)"),
    ("shell", "run --timeout 5"),
    ("shell", "timeout_s=3; timeout=4"),
    ("shell", "update --date=today"),
    ("shell", 'echo "about to run; timeout 5 and sed -i"'),
    ("shell", "printf '%s\\n' 'then timeout 5' \"| tac\""),
    ("shell", "grep -r --include='*.py' word ."),
    ("shell", "sed -E 's/a+/b/' file"),
    ("shell", "sed -i.bak s/a/b/ file"),
    ("shell", "sed -n 's/ -i / -r /p' file"),
    ("shell", "date +%Y-%m-%dT%H:%M:%S; date -u +%s"),
    ("shell", "df -h . && df -k . && du -sk . && du -d 1 ."),
    ("shell", 'readlink "$0"'),
    ("shell", 'mktemp "$dir/x.XXXXXX"; mktemp -d'),
    ("shell", "cp -R a b; cp -p a b; mv -f a b; ln -sfn a b"),
    ("shell", "ls | xargs -n 1 rm -r; ls | xargs -I{} cp -r {} out"),
    ("shell", "tail -n +2 file | head -n 5 | head -5"),
    ("shell", "sort -t. -k1,1n -k2,2n file"),
    ("shell", "find . -name '*.json' -exec rm {} \\;"),
    ("shell", 'find -L data -type f; find "$dir" -print0'),
    ("shell", "seq 1 5; echo -n x; echo x -e"),
    ("make", "FLAGS := $(filter -%,$(MAKEFLAGS))\nall: a.WAIT"),
    ("shell", 'run "${rows[0]}" ${rows[@]+"${rows[@]}"}; x=$$; log() { :; }; {a,b}'),
    ("shell", r"sed -E 's/\+|\t/x/' a; sed -n 's/^\(.*\)$/\1/p' a"),
    ("shell", 'awk -v n=1 \'{ sub(/a/, "gensubs"); print > "asorted" }\' x'),
    ("shell", "ps -ww -o comm= -p 1; ps -axww -o pid; ps ax; uname -s; unames -n"),
    ("shell", "rm -rf a -b; ls a | cut -f 1; cat - b; grep -e a -e b; ls $(pwd) ; sort <a"),
    ("shell", "case $(ls) in a) x=$(ls) ;; (b) y ;; esac; (case $1 in a) x ;; esac)"),
    ("shell", "x=$(case $1 in (a) echo 1 ;; (b) echo 2 ;; esac)\n# it's (here"),
    ("shell", "x=$(\n  ls # all of them\n) # it's here\ny=$(ls '# (' \"# )\")"),
    ("shell", "command -v sha256sum >/dev/null && command -v timeout"),
    ("shell", "if [[ -n $(command -v nproc) ]]; then"),
    ("shell", "declare -a rows; local x=1; export -n x; read -r -n 1 x; wait $pid"),
    ("shell", '"${x:-a}" "${x: -1}" "${#rows[@]}" "${x%,*}" "${x/,/}" "${x:-a:-1}" "$@"'),
    ("shell", "for i in {1..5}; do :; done &>log; a 2>&1 | tee log; b & c || d"),
    ("shell", "case $1 in\n  timeout) x ;;\n  find) y ;;\nesac"),
    ("shell", "awk '{ print $1; date -d } # timeout 5' file"),
    ("shell", "cat <<'END'\ntimeout 5; it's\nEND\ncat <<-TWO\n\tsed -i x\n\tTWO\nls"),
    ("shell", "x=$((1 << 3)); (( timeout > 5 ))\nls"),
    ("shell", "a \\\n  timeout \\\n  tac"),
    ("shell", 'ls "$root/proc/x" ./proc/y ${root}/proc/z'),
    ("shell", 'x="a\n  timeout 5\n"'),
    ("shell", "# it's a comment with timeout 5; tac\nls # | tac\necho \"${x#\\'}\" ${#x}"),
]


@pytest.mark.parametrize(("kind", "text", "part"), CAUGHT)
def test_is_caught(kind, text, part):
    messages = [message for _, message in lint_portability.findings(text + "\n", kind)]
    assert any(part in message for message in messages), messages


def test_every_rule_is_caught_once():
    seen = {m for kind, text, _ in CAUGHT for _, m in lint_portability.findings(text, kind)}
    assert {message for _, _, message in lint_portability.RULES} <= seen


def test_messages_say_what_and_what_instead():
    assert all(message.count("; ") >= 1 for _, _, message in lint_portability.RULES)


@pytest.mark.parametrize(("kind", "text"), INNOCENT)
def test_innocent_lines_pass(kind, text):
    assert lint_portability.findings(text + "\n", kind) == []


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("shell", "jobs=$(nproc)  # portable: the line below is the fallback"),
        ("shell", "# portable: only where it is there\ntimeout 5 server"),
        ("make", "# portable: Linux only\nJOBS := $(shell nproc)"),
        ("make", "out:\n\t# portable: Linux only\n\ttrue; \\\n\ttimeout 5 server"),
    ],
)
def test_a_reason_silences(kind, text):
    assert lint_portability.findings(text, kind) == []


@pytest.mark.parametrize(
    "text",
    [
        "jobs=$(nproc)  # portable:",
        "jobs=$(nproc)  # portable:   ",
        "# portable:\njobs=$(nproc)",
        "jobs=$(nproc)  # portable",
        "# portable: too far away\n\njobs=$(nproc)",
        "x=$(tac a)  # portable: for this line alone\njobs=$(nproc)",
    ],
)
def test_no_reason_or_another_line_does_not_silence(text):
    found = lint_portability.findings(text, "shell")
    assert [message.split()[0] for _, message in found] == ["nproc"]


def test_a_reason_behind_a_line_is_for_that_line_alone_in_a_substitution_too():
    text = "ls  # portable: for this line alone\nx=$(case $1 in a) echo 1 ;; esac)"
    assert lint_portability.findings(text, "shell") == [(2, lint_portability.IN_CASE)]


@pytest.mark.parametrize(
    ("kind", "text", "line"),
    [
        ("shell", "a\nb \\\n  c && \\\n  timeout 5 d\n", 4),
        ("shell", "cat <<END\n'\nEND\nx='a\nb'\ntac x\n", 6),
        ("make", "# a\nout:\n\tx && \\\n\t  tac y\n", 4),
        ("make", "a = b\n\n.ONESHELL:\n", 3),
    ],
)
def test_the_line_number_is_that_of_the_command(kind, text, line):
    assert [number for number, _ in lint_portability.findings(text, kind)] == [line]


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [
        ("Makefile", "a:\n", "make"),
        ("bin/sweep.mk", "a:\n", "make"),
        ("bin/serve", "ls\n", "shell"),
        (".ci/run", "ls\n", "shell"),
        ("tool", "#!/bin/bash\n", "shell"),
        ("tool", "#!/usr/bin/env bash\n", "shell"),
        ("setup.sh", "ls\n", "shell"),
        ("bin/tool", "#!/usr/bin/env python3\n", None),
        ("bin/tool.py", "import os\n", None),
        ("README.md", "timeout 5\n", None),
    ],
)
def test_kind_of_a_file(name, text, kind):
    assert lint_portability.kind_of(Path(name), text) == kind


def run(*args):
    program = lint_portability.__file__
    command = [sys.executable, program, *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_exit_status_0_is_silent(tmp_path):
    makefile = tmp_path / "Makefile"
    makefile.write_text("all:\n\t@echo done\n")
    done = run(makefile)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_exit_status_1_names_path_and_line(tmp_path):
    script = tmp_path / "serve.sh"
    script.write_text("ls\njobs=$(nproc)\n")
    done = run(script)
    assert done.returncode == 1
    message = "nproc is GNU; use getconf _NPROCESSORS_ONLN"
    assert done.stdout == f"{script}:2: {message}\n"


def test_exit_status_2_for_a_file_it_cannot_read(tmp_path):
    script = tmp_path / "serve.sh"
    script.write_text("tac x\n")
    picture = tmp_path / "loss.png"
    picture.write_bytes(b"\x89PNG\xff")
    for bad in (tmp_path / "none", tmp_path, picture):
        done = run(bad, script)
        assert done.returncode == 2
        assert done.stderr.startswith(f"{bad}: can't read it")
        assert done.stderr.count("\n") == 1
        assert f"{script}:1: " in done.stdout
