"""Does a makefile or shell script use what macOS as Apple ships it lacks?

That is GNU Make 3.81, bash 3.2 and BSD tools. A comment `# portable: reason`, behind a line or
alone on the line before it, lets the line pass; without a reason it does not.
"""

import argparse
import re
import sys
from pathlib import Path

HIDDEN = "\0"  # in masked text: a quoted, escaped or Make's character, no part of a command
OPEN = "\1"  # in masked text: the ( of a call of a Make function
HEREDOC = re.compile(r"<<-?[ \t]*(['\"]?)([A-Za-z_]\w*)\1")
SILENCED = re.compile(r"(?<!\S)#\s*portable:\s*\S")
MAKE_DOLLAR = re.compile(r"\$\$|\$\(shell(?=\s)|\$[({][\w.@<^*+?%/-]+[)}]|\$[({]")

# Where a shell command can start: a line, or after a separator, a keyword, a variable set for it.
START = (
    r"(?:^|[;|&`]|(?<!\()\((?!\()|(?<!\S)[{!]\s|(?<![\w./$-])(?:xargs(?:\s+-\S+)*|then|do|else|elif"
    r"|if|while|until|exec|command|env|nohup|time|-exec)\s)[\s@+-]*(?:\w+=\S*\s+)*(?:/usr)?(?:/bin/)?"
)
SET = r" *(?:[:+?]|::)?="  # a Make assignment
SYNC = r"(?:-O(?:none|line|target|recurse)?|--output-sync|--trace|--shuffle)(?![\w-])"
GAWK = "gensub|strftime|systime|strtonum|asorti?|patsplit|PROCINFO|IGNORECASE|BEGINFILE"
NAMES = "rm|cp|mv|ls|mkdir|ln|du|touch|rmdir|cat|wc|chmod|grep|head|tail|sort|cut"
LATE = rf"(?:{NAMES})(?:\s+(?!-)[^\s;|&<>(),]+)+\s+-\w\S*"
XARGS = r"xargs\s+(?:-[nPILsE]\s*\S+\s+|-\w+\s+)*(?:-[0t]*[rd]|--[a-z])\S*"

MAKE = [  # pattern in a makefile, message
    (r"^ *\.ONESHELL *:", ".ONESHELL needs Make 3.82; join the lines with && and a backslash"),
    (rf"\.SHELLFLAGS{SET}|\$[({{]\.SHELLFLAGS", ".SHELLFLAGS needs Make 3.82; write set -e"),
    (r"\$[({]\.SHELLSTATUS", ".SHELLSTATUS needs Make 4.2; have the shell print its status"),
    (rf"\.(?:EXTRA_PREREQS|RECIPEPREFIX){SET}", ".EXTRA_PREREQS, .RECIPEPREFIX are new; leave out"),
    (r"\$[({](?:file|let|intcmp|guile)\s", "$(file), $(let), $(intcmp) need Make 4; use the shell"),
    (r"^ *(?:[^\t=:]+: *)?(?:\w+ +)*[\w.-]+ *!=", "!= needs Make 4.0; use := $(shell ...)"),
    (r"^[^\t=][^=]*&::?(?!=)", "grouped targets &: need Make 4.3; use one target and a stamp"),
    (r"^ *(?:override +)?undefine\s+\w", "undefine needs Make 3.82; set the name to nothing"),
    (r"^[^\t=]*::=", "::= and :::= need Make 4.0; use :="),
    (rf"^(?:[^\t=]*:)? *(?:\w+ +)*private +\S+{SET}", "private needs Make 3.82; use a new name"),
    (rf"^ *(?:\w+ +)*define +\S+{SET}", "define NAME = needs Make 3.82; leave the = out"),
    (r"^ *-?load +(?![:+?=])\S", "load needs Make 4.0; use a program"),
    (r"^[^\t#]*(?<![\w.-])\.(?:WAIT|NOTINTER\w+)(?![\w.-])", ".WAIT needs Make 4.4; leave it out"),
    (r"\$[({]firstword[ -]*\$[({]MAKEFLAGS", "MAKEFLAGS of 3.81 has long flags first; filter it"),
    (rf"\bMAKE(?:[)}}]|FLAGS{SET})(?:[^;|&]*\s)?{SYNC}", "--output-sync needs Make 4; leave out"),
]
BASH = [  # pattern in a script or a recipe, message
    (r"\$\{!?[\w@*]+(?:\[[^]]*\])?[,^]", "${x,,} and ${x^^} need bash 4; use tr"),
    (r"\$\{[\w@*]+(?:\[[^]]*\])?@[a-zA-Z]\}", "${x@Q} needs bash 4.4; use printf %q"),
    (r"\$\{#?\w+\[[\s\0]*-\d", "${a[-1]} needs bash 4.3; count with ${#a[@]}"),
    (r"\$\{\w+:(?![-+=?])[^:}]*:[\s\0]*-\d", "${x:0:-1} needs bash 4.2; use ${x%?}"),
    (r"\|&(?!&)|&>>", "|& and &>> need bash 4; write 2>&1 | and >>FILE 2>&1"),
    (r";;?&(?!&)", ";& and ;;& need bash 4; write the branch out"),
    (r"(?:\[\[?|\btest)\s(?:[^]]*[&|!(]\s*)?-v\s+[\w\"'$]", "-v NAME needs bash 4.2; use ${x+set}"),
    (r"\$\{?EPOCH(?:SECONDS|REALTIME)\b", "$EPOCHSECONDS, $EPOCHREALTIME: bash 5; use date +%s"),
    (r"\$\{?(?:BASHPID|SRANDOM)\b", "$BASHPID, $SRANDOM need bash 4; use $$ or $RANDOM"),
    (r"\$'[^'\n]*\\[uU]", r"$'\u..' needs bash 4.2; write the character itself"),
    (r"(?:^|[\s;])\{[A-Za-z_]\w*\}[<>]", "{fd}>FILE needs bash 4.1; number it: 3>FILE"),
    (r"(?<!\+)(?<!\+\")\$\{\w+\[@\]\}", 'with set -u an empty array is unset; ${a[@]+"${a[@]}"}'),
    (r"(?<!\$)\{(?:-?\w+\.\.-?\w+\.\.-?\d+|0\d+\.\.\d+)\}", "{a..b..n}, {01..9}: bash 4; use seq"),
    (r"(?<![\w.}/\0])/proc/[\w$\"']", "/proc is only on Linux; use ps, sysctl or python"),
]
TOOLS = [  # pattern of a command, pattern of its flags ("" if the command itself), message
    ("declare|local|typeset|readonly", "-[a-zA-Z]*[Aglnu]", "declare -A, -g, -n: bash 4; use case"),
    ("coproc|mapfile|readarray", "", "coproc, mapfile: bash 4; use mkfifo, while IFS= read -r"),
    ("wait", "-[np]", "wait -n needs bash 4.3; wait for each process id"),
    ("printf", r"\S*%[-\d]*[\0(]\S*\)T", "printf %(..)T needs bash 4.2; use date +FORMAT"),
    ("shopt", "globstar|lastpipe|inherit_err", "globstar, lastpipe: bash 4; use find or a file"),
    ("read", r"-[a-zA-Z]*[Ni](?!\w)|-t\s*\d*\.\d", "read -N, -i, -t 0.1: bash 4; use -n, -t 1"),
    ("sed", r"-[nErsuz]*i(?:''|\"\")?(?:\s|$)", "sed -i differs on BSD; write to a new file, mv"),
    ("sed", "-[nEsui]*[rz]|--[a-z]", "sed -r, -z and long flags are GNU; use -E or python"),
    (r"sed(?!\s+(?:-\w+\s+)*-\w*E)", r"\S*\\[+?|tsw]", r"\+, \|, \t in sed are GNU; use -E or awk"),
    ("[gmn]?awk", rf"\S*\b(?:{GAWK})\b|--[a-z]", "gensub, strftime are gawk's; use python"),
    ("[ef]?grep", "-[a-zA-Z]*P|--perl", "grep -P is GNU; use grep -E or python"),
    ("stat", "-[a-zA-Z]*[cf]|--[a-z]", "stat -c is GNU and -f is BSD; use wc -c or python"),
    ("date", r"-[uRn]*[djv]|--[a-z]|\S*%\d*N", "date -d, -j, -v and +%N differ; use python"),
    ("df", "-[a-zA-Z]*B|--[a-z]", "df --output and -B are GNU; use df -k and awk"),
    ("du", "-[a-zA-Z]*[bB]|--[a-z]", "du -b and --max-depth are GNU; use wc -c, du -k or du -d"),
    ("readlink", "-[nqsvz]*[fem]|--[a-z]", "readlink -f needs macOS 12.3; use cd and pwd -P"),
    ("realpath", "", "realpath needs macOS 13; use cd and pwd -P"),
    ("mktemp", "-[dqu]*[pt]|--[a-z]", "mktemp -p, -t, --suffix differ; write mktemp DIR/x.XXXXXX"),
    ("cp|mv", "-[a-zA-Z]*[tT]|--[a-z]", "cp -t, mv -t, long flags: GNU; name the target last"),
    ("ln", "-[a-zA-Z]*[tTr]|--[a-z]", "ln -t, -T and -r are GNU; write the path out"),
    (XARGS, "", "xargs -r and -d are GNU; test for input first, use tr and -0"),
    ("ls|tail", "--[a-z]", "ls --color and tail --pid are GNU; leave the flag out"),
    ("head", r"-[nc]\s*[\"']?-|--\w+=-", "head -n -N is GNU; use sed '$d' or awk"),
    ("sort", r"-[a-zA-Z]*V|-k\s*[\d.,]+\w*V|--v", "sort -V is not on older BSD; use -t. -k1,1n"),
    ("g?make", SYNC, "--output-sync (-O) needs Make 4; leave it out"),
    ("find", "-printf", "find -printf is GNU; use -print or -exec"),
    (r"find(?:\s+-\w)*(?:\s+-[a-z]{2,}|(?=\s*[;|]))", "", "find needs a path; write find ."),
    ("tar", "--(?:transform|xform|wildcards|sort)", "tar --transform is GNU; use python"),
    ("tac|numfmt", "", "tac and numfmt are GNU; use sed '1!G;h;$!d', or awk"),
    (r"ps(?!(?:\s+\S+)*?\s+-\w*ww)", r"-\w*o", "ps cuts its last column on BSD; add -ww"),
    ("uname", r"-\w*n", "a Mac's name changes with its network; scutil --get LocalHostName"),
    (LATE, "", "an option behind a name is a name on BSD; put it first"),
    ("nproc", "", "nproc is GNU; use getconf _NPROCESSORS_ONLN"),
    (r"sha\d+sum|shasum|md5sum|md5", "", "sha256sum and its like vary; use python's hashlib"),
    ("flock|setsid|ldconfig", "", "flock, setsid, ldconfig are Linux's; use mkdir, nohup"),
    ("timeout", "", "timeout is GNU; use python's subprocess"),
    ("truncate", "", "truncate is not on older macOS; write : >FILE or use head -c"),
    (r"echo\s+(?:-[nE]+\s+)*-[nE]*e[nE]*", "", "echo -e differs between shells; use printf"),
]
IN_CASE = "case in $( ): bash 3.2 takes its first ) for the end; move the case into a function"
IN_COMMENT = "bash 3.2 reads quotes and ) of a comment in $( ); move the comment out"


def command(name: str, flags: str) -> str:
    """Return a pattern for a command, or for a command given a flag, where a command can stand."""
    if not flags:
        return rf"{START}(?:{name})(?:(?=[\s;|&<>`]|$)|(?<=[( ]nproc)(?=\)))"
    return rf"{START}(?:{name})\s(?:(?:[^;|&()\1]|[(\1][^()]*\))*\s)?(?:{flags})"


RULES = [("make", re.compile(pattern), message) for pattern, message in MAKE]
RULES += [("shell", re.compile(pattern), message) for pattern, message in BASH]
RULES += [("shell", re.compile(command(name, flags)), message) for name, flags, message in TOOLS]


def mask(text: str) -> str:
    """Return shell text at the same length, without comments and with quoted separators hidden."""
    out, stack, words, i = list(text), [""], [], 0
    while i < len(text):
        char, inside, step = text[i], stack[-1], 1
        if char == "\\" and inside != "'":
            step = len(text[i : i + 2])
            out[i : i + 2] = (" " if text[i + 1 : i + 2] == "\n" else HIDDEN) * step
        elif inside in ("'", '"'):
            if char == inside:
                stack.pop()
            elif inside == '"' and (char in ("`", OPEN) or text.startswith("$(", i)):
                stack.append("`" if char == "`" else ")")
                step = 2 if char == "$" else 1
            elif char in " \t\n;|&({`" or (char == "$" and inside == "'"):
                out[i] = char if inside == '"' and text[i - 1 : i + 1] == "${" else HIDDEN
        elif char in ")`" and inside == char:
            stack.pop()
        elif char in ("'", '"', "`", "(", OPEN):
            stack.append(char if char in "'\"`" else ")")
        elif char == "#" and (i == 0 or text[i - 1] in " \t\n;|&(`"):
            step = len(text[i:].split("\n", 1)[0])
            out[i : i + step] = " " * step
        elif char == "<" and text[i - 1 : i] != "<" and (here := HEREDOC.match(text, i)):
            words.append(here[2])
        elif char == "\n" and words:
            end = re.compile(rf"^\t*{words.pop(0)}$", re.MULTILINE).search(text, i + 1)
            if end:
                step = end.end() - i
                out[i + 1 : i + step] = re.sub(r"[^\n]", " ", text[i + 1 : i + step])
        i += step
    return "".join(out)


def make_dollar(match: re.Match) -> str:
    """Return what a $ in a makefile is to the shell, at the same length."""
    forms = {"$$": HIDDEN + "$", "$(shell": "$(     ", "$(": HIDDEN + OPEN}
    return forms.get(match[0], HIDDEN * len(match[0]))


def logical_lines(text: str, kind: str):
    """Yield the number, the text and the masked text of each line, with continued lines joined."""
    whole, line = (mask(text), r"[^\n]+") if kind == "shell" else (text, r"(?:\\.|[^\\\n])+")
    for match in re.finditer(line, whole, re.DOTALL):
        raw = text[match.start() : match.end()]
        masked = match[0] if kind == "shell" else mask(MAKE_DOLLAR.sub(make_dollar, raw))
        yield text.count("\n", 0, match.start()) + 1, raw, masked


def misread(raw: str, masked: str):
    """Yield (offset, message) for what makes bash 3.2 see another end of a $( )."""
    opened = []  # for each open parenthesis: is it that of a $( ), or in one?
    for match in re.finditer(r"[$<>]?\(|\)|\bcase\s[^\n;]*?\sin\s+(?!\()| ", masked):
        found, at = match[0], match.start()
        if found.endswith("("):
            opened.append(len(found) == 2 or opened[-1:] == [True])
        elif found == ")":
            opened = opened[:-1]
        elif opened[-1:] == [True] and found != " ":
            yield at, IN_CASE
        elif opened[-1:] == [True] and raw[at] == "#" and re.match(r"#[^\n]*['\"`()]", raw[at:]):
            yield at, IN_COMMENT


def silenced(source: list[str], first: int, line: int) -> bool:
    """Is there a reason behind `line`, or alone before it or before the first line joined to it?"""
    before = [source[n - 1] for n in (first, line) if source[n - 1].lstrip().startswith("#")]
    return any(SILENCED.search(comment) for comment in [source[line], *before])


def findings(text: str, kind: str) -> list[tuple[int, str]]:
    """Return (line, message) for all that is not portable in a text of kind "make" or "shell"."""
    source, found = ["", *text.split("\n")], set()
    lines = list(logical_lines(text, kind))
    for first, raw, masked in [(1, text, mask(text))] if kind == "shell" else lines:
        for at, message in misread(raw, masked):
            line = first + raw.count("\n", 0, at)
            if not silenced(source, line, line):
                found.add((line, message))
    for first, raw, masked in lines:
        bare = re.sub(r"(?<!\S)#.*", lambda comment: " " * len(comment[0]), raw)
        # In a makefile only a recipe's first word is a command: from 1 on, ^ matches nowhere.
        start = 0 if kind == "shell" or raw.startswith("\t") else 1
        where = {"make": (bare,) if kind == "make" else ("",), "shell": (masked, start)}
        for rule, pattern, message in RULES:
            for match in pattern.finditer(*where[rule]):
                line = first + raw.count("\n", 0, match.end() - 1)
                if not silenced(source, first, line):
                    found.add((line, message))
    return sorted(found)


def kind_of(path: Path, text: str) -> str | None:
    """Return "make" or "shell", or None for a file of another kind."""
    if path.suffix == ".mk" or path.name in ("Makefile", "GNUmakefile", "makefile"):
        return "make"
    if text.startswith("#!"):
        return "shell" if re.match(r"#!.*\b(?:ba|da|k|z)?sh\b", text) else None
    script = (path.parent.name == "bin" and not path.suffix) or path.parts[-2:] == (".ci", "run")
    return "shell" if script or path.suffix in (".sh", ".bash") else None


def main() -> int:
    """Print the findings of all files; return 0, 1 for findings or 2 for a file it can't read."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    status = 0
    for path in parser.parse_args().files:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            print(f"{path}: can't read it ({error}); give a text file", file=sys.stderr)
            status = 2
            continue
        kind = kind_of(path, text)
        for line, message in findings(text, kind) if kind else ():
            print(f"{path}:{line}: {message}")
            status = max(status, 1)
    return status


if __name__ == "__main__":
    sys.exit(main())
