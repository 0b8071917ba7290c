"""Find what a Mac lacks: it has GNU Make 3.81, bash 3.2 and BSD tools.

A comment "# portable: reason" at the end of a line excuses that line.
"""

import fileinput
import re
import sys

FLAGS = r"(\s+(-\S+|\d+))*\s+"  # other flags of the same command may stand in between
COMMAND = r"(?<!command -v )(?<![\w$-])"  # a script may ask whether a command exists

MAKE = {
    r"\.(ONESHELL|SHELLFLAGS|SHELLSTATUS)": "needs Make 3.82; join commands with &&",
    r"\$[({]file ": "needs Make 4.0; use echo or cat",
    r"^ *[\w.-]+ *!=": "needs Make 4.0; use := $(shell ...)",
    r"^[^\t]*&:": "needs Make 4.3; make one target and let the others depend on it",
    r"^ *(override +)?undefine |--output-sync|-O(line|target)\b": "needs Make 3.82+; leave it out",
}
SHELL = {
    r"\b((declare|local) -\w*A|mapfile|readarray|coproc)\b": "needs bash 4; use case or read",
    r"\$\{\w+(\[.*?\])?([,^]|@\w\})|EPOCHSECONDS": "needs bash 4; use tr, printf %q or date",
    r"&>>|\|&|;&": "needs bash 4; use >>FILE 2>&1, 2>&1 |, or write the case out",
    r"<\(": "fails in bash 3.2 if POSIXLY_CORRECT is set; use a pipe or a file",
    r'(?<!\+)(?<!\+")\$\{\w+\[@\]\}': 'fails if empty in bash 3.2; use ${a[@]+"${a[@]}"}',
    rf"\bsed{FLAGS}-\w*i(\s|$)": "differs between GNU and BSD; write a new file and mv it",
    rf"\bsed{FLAGS}-\w*r|\bgrep{FLAGS}-\w*P": "is GNU only; use -E",
    rf"\bstat{FLAGS}-\w*[cf]|\bdate{FLAGS}-[djv]|\bdate\s.*%N": "differs in BSD; use Python",
    rf"\b(df|du){FLAGS}-\w*[bB]": "differs between GNU and BSD; use -k",
    rf"\bmktemp{FLAGS}-\w*[pt]": "differs between GNU and BSD; use mktemp FOLDER/name.XXXXXX",
    rf"\breadlink{FLAGS}-\w*f|{COMMAND}realpath\s": "needs macOS 13; use cd and pwd -P",
    rf"\b(cp|df|du|date|ln|ls|mktemp|mv|sed|stat){FLAGS}--\w+": "is GNU only; use a short flag",
    rf"\bxargs{FLAGS}-0?[rd]": "is GNU only; test for input first, use tr and xargs -0",
    rf"\bsort{FLAGS}-\S*V|\b(head|tail)\s+-[nc]\s*-": "is GNU only; use awk or Python",
    r"\bfind\s+-[a-z]{2,}": "needs a path; use find .",
    rf"{COMMAND}(flock\s|timeout\s+[-\d\"$]|sha256sum\b)": "is not on macOS; use Python",
    rf"{COMMAND}(nproc|tac|gawk)\b": "is not on macOS; use awk, or getconf _NPROCESSORS_ONLN",
}


def problems(name: str, line: str) -> list[str]:
    if line.lstrip().startswith("#") or "# portable:" in line:
        return []
    patterns = SHELL
    if name.endswith(("Makefile", ".mk")):
        in_shell = line.startswith("\t") or "$(shell" in line
        patterns = MAKE | SHELL if in_shell else MAKE
    matches = [(re.search(pattern, line), message) for pattern, message in patterns.items()]
    return [f"{match[0].strip()} {message}" for match, message in matches if match]


def main() -> int:
    status = 0
    for line in fileinput.input(encoding="utf-8"):
        for problem in problems(fileinput.filename(), line):
            print(f"{fileinput.filename()}:{fileinput.filelineno()}: {problem}")
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
