"""The recipe's makefiles and scripts use nothing that a Mac lacks."""

import subprocess
import sys

import pytest

from conftest import ROOT
from lint_portability import MAKE, SHELL, problems

LINES = [  # for each pattern: a file, lines that are caught, a similar line that is fine
    ("Makefile", ".ONESHELL:\n.SHELLFLAGS = -ec\nx := $(.SHELLSTATUS)", "# .ONESHELL: would help"),
    ("Makefile", "x := $(file <list.txt)\n\t${file >$@,x}", "x := $(filter a,$(files))"),
    ("Makefile", "JOBS != getconf _NPROCESSORS_ONLN", "ifeq ($(a),!=)"),
    ("Makefile", "a.jsonl b.jsonl &: rows", "a.jsonl b.jsonl: rows"),
    ("x.mk", "undefine SEED\n\tmake --output-sync\nMAKEFLAGS += -Oline", "NAMES = undefined -O2"),
    ("x.sh", "declare -A x\nlocal -rA y\nmapfile x\nreadarray x\ncoproc y", "declare -a x; y=-A"),
    ("x.mk", "\techo $${x,,} $${y[0]^}\n\techo $${x@Q}\n\techo $$EPOCHSECONDS", "\techo $${x%,*}"),
    ("x.sh", "run &>>log\nrun |& tee log\na) run ;;&", "run >>log 2>&1 | tee; a && b &"),
    ("x.sh", "diff <(ls a) b", "diff <a b; x=$(ls <a)"),
    ("x.sh", 'run "${rows[@]}"\nrun ${rows[@]}', 'run ${rows[@]+"${rows[@]}"}'),
    ("x.sh", "sed -i s/a/b/ x\nsed -E -i '' s/a/b/ x", "sed -i.bak s/a/b/ x; sed -n 's/ -i / /p'"),
    ("x.sh", "sed -nr 's/(a)/b/p' x\ngrep -oP 'a' x", "sed -E 's/(a)/b/' x | grep -r x ."),
    ("x.sh", "stat -c %s x\nstat -f %z x\ndate -u -d x\ndate +%s%N", "git status -c; date -u +%s"),
    ("x.sh", "du -sb data\ndf -BG .", "du -sk data; df -Pk ."),
    ("x.sh", "mktemp -d -p x\nmktemp -t name", 'mktemp -d; mktemp "$x/name.XXXXXX"'),
    ("x.sh", 'readlink -f "$0"\nx=$(realpath "$0")', 'readlink "$0"; command -v realpath'),
    ("x.sh", "cp --reflink a b\nln --relative a b\nls -l --color", "cp -R a b; x --color; ls -- a"),
    ("x.sh", "ls | xargs -r rm\nls | xargs -n 1 -d , rm", "ls | xargs -I{} cp -r {} out"),
    ("x.sh", "sort -rV\nsort -k1,1V\nhead -n -1 x", "sort -t. -k1,1n; tail -n +2 x | head -5"),
    ("x.sh", "find -name '*.json'", "find . -name '*.json'; find -L data"),
    ("x.sh", "flock x y\nif ! timeout 5 y; then\nx=$(sha256sum <y)", "curl --max-timeout 5"),
    ("x.mk", "JOBS := $(shell nproc)\n\ttac log\n\tgawk 1 x", "nproc := 4; stac"),
]
MESSAGES = [*MAKE.values(), *SHELL.values()]


@pytest.mark.parametrize(("message", "lines"), list(zip(MESSAGES, LINES, strict=True)))
def test_what_a_mac_lacks_is_caught_and_a_similar_line_is_not(message, lines):
    name, caught, fine = lines
    for line in caught.splitlines():
        [problem] = problems(name, line)
        assert problem.endswith(f" {message}")
        assert problems(name, f"{line} # portable: only on Linux") == []
    assert problems(name, fine) == []


def test_the_lint_names_file_and_line_and_the_recipes_own_files_pass(tmp_path):
    (tmp_path / "x.sh").write_text("ls\n\nfind -name x\n")
    files = [ROOT / "Makefile", *ROOT.glob("bin/*.mk"), *ROOT.glob("bin/*.sh"), ROOT / "bin/python"]
    words = [sys.executable, ROOT / "tests/lint_portability.py", *files, tmp_path / "x.sh"]
    run = subprocess.run(words, capture_output=True, text=True)
    assert run.stdout == f"{tmp_path}/x.sh:3: find -name needs a path; use find .\n", run.stderr
    assert run.returncode == 1
