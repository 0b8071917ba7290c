"""What an answer is worth: Phase 33b's rule, and the strict one that counts only real calls."""

import ast

import pytest

from calls import called, called_names, invented
from score import calls_in_text, score_answer

SINGLE = {"keywords": ["git_status", "git_state"], "multi": False}
MULTI = {"keywords": ["goto_definition", "read_file", "pytest_run"], "multi": True}


def executed(code):
    return (
        f"<tool_call><function=execute_code>\n<parameter=code>\n{code}\n</parameter>\n"
        "</function></tool_call>"
    )


DIRECT = (
    "<tool_call><function=git_status>\n<parameter=path>\n.\n</parameter>\n</function></tool_call>"
)
AS_JSON = '<tool_call>{"name": "execute_code", "arguments": {"code": "git_status()"}}</tool_call>'


@pytest.mark.parametrize(
    ("text", "score", "strict", "format"),
    [
        (executed('result = git_status(".")\nprint(result)'), 1.0, 1.0, "execute_code"),
        ("Sure.\n" + executed("print(git_status('.'))"), 1.0, 1.0, "execute_code"),
        (AS_JSON, 1.0, 1.0, "execute_code"),
        (executed("git_state('.')"), 1.0, 1.0, "execute_code"),  # any accepted name counts
        (executed("print(1)") + DIRECT, 0.1, 0.5, "execute_code"),
        (DIRECT, 0.5, 0.5, "direct"),
        ("You can use git_status for that.", 0.5, 0.0, "none"),
        ("```python\ngit_status('.')\n```", 0.5, 0.0, "none"),
        (executed("print(git_log('.'))"), 0.1, 0.1, "execute_code"),
        (executed("# git_status\nprint(1)"), 1.0, 0.1, "execute_code"),
        (executed("print('git_status')"), 1.0, 0.1, "execute_code"),
        (executed("git_status("), 1.0, 0.1, "execute_code"),
        ("<tool_call><function=execute_code>\n<parameter=code>\ngit_status(", 0.5, 0.0, "none"),
        ("I cannot help.", 0.0, 0.0, "none"),
        ("", 0.0, 0.0, "none"),
    ],
)
def test_one_tool(text, score, strict, format):
    result = score_answer(SINGLE, text, calls_in_text(text))
    assert (result["score"], result["strict_score"], result["format"]) == (score, strict, format)


@pytest.mark.parametrize(
    ("text", "score", "strict"),
    [
        (executed("goto_definition()\nread_file()\npytest_run()"), 1.0, 1.0),
        (executed("goto_definition()\nread_file()"), 2 / 3 + 0.1, 2 / 3 + 0.1),
        (executed("# goto_definition, read_file, pytest_run\npass"), 1.0, 0.1),
        ("goto_definition then read_file", 2 / 3, 0.0),
        ("nothing", 0.0, 0.0),
        # the order counts: the longest part of the tools that was called in the order asked for
        (executed("read_file()\ngoto_definition()\npytest_run()"), 1.0, 2 / 3 + 0.1),
        (executed("pytest_run()\nread_file()\ngoto_definition()"), 1.0, 1 / 3 + 0.1),
        (executed("goto_definition(read_file())\npytest_run()"), 1.0, 2 / 3 + 0.1),
        (executed("goto_definition()\nhover()\nread_file()\nread_file()\npytest_run()"), 1.0, 1.0),
        (executed("goto_definition()") + executed("read_file()\npytest_run()"), 1.0, 1.0),
        (executed("if 0:\n    goto_definition()\n    read_file()\npytest_run()"), 1.0, 1 / 3 + 0.1),
    ],
)
def test_several_tools(text, score, strict):
    result = score_answer(MULTI, text, calls_in_text(text))
    assert result["score"] == pytest.approx(score)
    assert result["strict_score"] == pytest.approx(strict)


# One program a line, with \n for a new line. What it calls stands after =>.
PROGRAMS = r"""
git_status(".") => git_status
print(len(git_status(path=".")[0].modified.strip())) => git_status len print
print(*[git_status(".")], **{"sep": hover()}) => git_status hover print
print(f"{git_status('.').modified!r:>40}") => git_status print
result = second(first())\nthird(x=fourth())\nraise SystemExit\nfifth() => first second fourth third
git_status = git_status(".") => git_status
if (found := git_status(".")).clean: hover() => git_status hover
assert a()\nb: int = c()\nd += e()\nraise SystemExit(f()) => a c e f SystemExit
clean and git_status(hover()); table[f()] = g() => hover git_status g f
x = git_status(".") if wanted else hover() => git_status hover
[hover(path) for path in git_log()] => git_log hover
for hover in hover("."): pass => hover
[hover for hover in paths]; hover(".") => hover
{hover(path): git_status(path) for path in paths} => hover git_status
sorted(paths, key=lambda hover: 0); hover(".") => sorted hover
(lambda path: git_status(path))(".") => git_status
if dirty:\n    git_status(".")\nelse:\n    hover() => git_status hover
if dirty:\n    raise ValueError\ngit_status(".") => git_status
if False:\n    hover()\nelse:\n    git_status(".") => git_status
if not False:\n    git_status(".") => git_status
while True:\n    git_status(".")\n    break => git_status
while True:\n    try:\n        break\n    except E: continue\ngit_status(".") => git_status
for path in ("a", "b"):\n    git_status(path)\nelse:\n    hover() => git_status hover
try:\n    f()\nexcept E:\n    git_status(".")\nfinally:\n    hover() => f git_status hover
with git_status(".") as status:\n    print(status) => git_status print
async def main(): return await git_status(".")\nasyncio.run(main()) => git_status
def main():\n    return git_status(".")\nmain()\nmain() => git_status git_status
def main():\n    git_status(".")\nif __name__ == "__main__":\n    main() => git_status
def outer():\n    inner()\ndef inner():\n    git_status(".")\nouter() => git_status
def f():\n    return f() or git_status(".")\nf() => git_status
def show(): return git_status(".")\ndef main(git_status): return show()\nmain(1) => git_status
def f(git_status):\n    pass\ngit_status(".") => git_status
if c:\n    def f(): git_status(".")\nf() => git_status
if c:\n    look = hover\nelse:\n    look = git_status\nlook(".") => git_status
def f(status=git_status(".")):\n    hover()\nf()\nf() => git_status hover hover
@cached(git_status("."))\ndef f():\n    hover()\nf() => git_status cached hover
class Git:\n    x = git_status(".")\n    def git_log(self): f()\ngit_log() => git_status git_log
look = git_status; see = look; see(".") => git_status
check = lambda: git_status("."); check() => git_status
from tools import git_status as status; status(".") => git_status
"""

# git_status is not called.
FOOLED = r"""
# git_status(".")
print("git_status")
print('git_status(".")')
x = '''git_status(".")'''
print(f"git_status('.')")
exec("git_status('.')")
eval('git_status(".")')
git_status
status = git_status
print(git_status)
repo.git_status(".")
my_git_status(".")
git_status_all(".")
"git_status".format(".")
if False:\n    git_status(".")
if 0:\n    git_status(".")
if not True:\n    git_status(".")
if True:\n    pass\nelse:\n    git_status(".")
while False:\n    git_status(".")
x = None if True else git_status(".")
def main():\n    git_status(".")
check = lambda: git_status(".")
class Tool:\n    def run(self):\n        git_status(".")
def git_status(path):\n    return "clean"\ngit_status(".")
class git_status: pass\ngit_status(".")
git_status = print; git_status(".")
git_status = lambda path: 0; git_status(".")
git_status, other = tools; git_status(".")
from os import listdir as git_status; git_status(".")
import git_status; git_status(".")
for git_status in (print,):\n    git_status(".")
with open("x") as git_status:\n    git_status(".")
def f(git_status):\n    git_status(".")\nf(print)
sorted(tools, key=lambda git_status: git_status("."))
[git_status(".") for git_status in (print,)]
del git_status\ngit_status(".")
def f():\n    return 1\n    git_status(".")\nf()
async def f():\n    async with lock:\n        return 1\n    git_status(".")\nf()
def f():\n    with lock:\n        return 1\n    git_status(".")\nf()
sys.exit()\ngit_status(".")
raise SystemExit\ngit_status(".")
if a:\n    raise ValueError\nelse:\n    exit()\ngit_status(".")
for x in y:\n    continue\n    git_status(".")
git_status(".
git_status(".") and
git_status "."
"""

# Nothing runs these calls, but to find that out takes more than it is worth: they count.
COUNTED = r"""
if 1 == 2: git_status(".")
False and git_status(".")
DEBUG = False\nif DEBUG: git_status(".")
for path in []: git_status(path)
while True: pass\ngit_status(".")
"""

# git_status runs under another name. This takes more to find out than it is worth: no call counts.
NOT_COUNTED = r"""
a, b = git_status, hover; a(".")
list(map(git_status, paths))
from functools import partial; partial(git_status, ".")()
def apply(f, x): return f(x)\napply(git_status, ".")
"""

# The names that nobody defines stand after =>.
INVENTED = r"""
result = cst_find_pattern_pattern("a.py", "f()")\nprint(result) => cst_find_pattern_pattern
hovr(); git_statuss(); hovr() => hovr git_statuss
git_status(hovr()) => hovr
look = hovr; look() => hovr
Path("a").read_text() => Path
def main():\n    hovr()\nmain() => hovr
def main():\n    hovr() =>
if False:\n    hovr() =>
hovr( =>
# hovr() =>
print("hovr()") =>
git_status("."); print(len(sorted([1]))) =>
paths.append(1); hovr.look(); "a".join(b).strip() =>
from pathlib import Path, PurePath as P\nPath("a"); P("a") =>
import math\nmath.sqrt(1); math(1) =>
main(); Tool(); check()\ndef main(): pass\nclass Tool: pass\ncheck = lambda: 0\ncheck() =>
def apply(f): f()\napply(print) =>
for f in functions: f()\ng, h = functions; h() =>
def start():\n    global client\n    client = 1\nstart(); client() =>
"""


def rows(table: str) -> list[str]:
    return [line.replace("\\n", "\n") for line in table.strip().splitlines()]


def pairs(table: str) -> list[tuple[str, list[str]]]:
    """(program, the names after it) of each line."""
    split = [line.split("=>") for line in rows(table)]
    return [(code.strip(), names.split()) for code, names in split]


@pytest.mark.parametrize(("code", "names"), pairs(PROGRAMS))
def test_calls_come_in_the_order_they_would_run(code, names):
    assert called_names(code) == names


@pytest.mark.parametrize(
    ("strict", "code"),
    [(1.0, code) for code in rows(COUNTED)]
    + [(0.1, code) for code in rows(FOOLED) + rows(NOT_COUNTED)],
)
def test_a_call_that_would_not_happen_does_not_count(strict, code):
    text = executed(code)
    result = score_answer(SINGLE, text, calls_in_text(text))
    assert (result["score"], result["strict_score"]) == (1.0, strict)


@pytest.mark.parametrize(("code", "names"), pairs(INVENTED))
def test_a_name_that_nobody_defines_is_invented(code, names):
    assert invented(code, {"git_status", "hover"}) == names


@pytest.mark.parametrize(
    ("text", "schemas", "names"),
    [
        (executed("print(git_status_all('.'))"), {"git_status": {}}, ["git_status_all"]),
        (DIRECT + executed("hovr()"), {"git_log": {}}, ["hovr", "git_status"]),
        (DIRECT + executed("hovr()"), {"git_status": {}, "hovr": {}}, []),
    ],
)
def test_the_invented_names_of_an_answer_are_listed(text, schemas, names):
    assert score_answer(SINGLE, text, calls_in_text(text), schemas)["invented"] == names


def test_the_arguments_of_a_call_are_kept_as_written():
    ((name, given, named), _) = called("look = hover\nlook('a', 1 + 2, x='X', **y)\nprint()")
    assert (name, [ast.unparse(node) for node in given]) == ("hover", ["'a'", "1 + 2"])
    assert {key: ast.unparse(node) for key, node in named.items()} == {"x": "'X'", None: "y"}


@pytest.mark.parametrize(
    ("code", "names"),
    [
        *[(code, []) for code in ("f(" * 5000, "a" + ".b" * 50_000 + "()", "-" * 20_000 + "1")],
        ("\0", []),
        ("git_status()\nx = " + " + ".join(["1"] * 600), ["git_status"]),
    ],
)
def test_code_that_breaks_the_parser_counts_as_far_as_it_can_be_read(code, names):
    assert called_names(code) == names
    assert invented(code, {"git_status"}) == []


def test_functions_that_call_each_other_end_soon():
    code = "\n".join(f"def f{n}():\n    f{n + 1}()\n    f{n + 1}()" for n in range(60))
    names = called_names(code + "\ndef f60(): hover()\nf0()")
    assert set(names) == {"hover"} and len(names) < 1000
