"""What an answer is worth: Phase 33b's rule, and the strict one that counts only real calls."""

import pytest

from called import called_names
from score import calls_in_text, score_answer

SINGLE = {"keywords": ["git_status"], "multi": False}
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
        (
            executed("if False:\n    goto_definition()\n    read_file()\npytest_run()"),
            1.0,
            1 / 3 + 0.1,
        ),
    ],
)
def test_several_tools(text, score, strict):
    result = score_answer(MULTI, text, calls_in_text(text))
    assert result["score"] == pytest.approx(score)
    assert result["strict_score"] == pytest.approx(strict)


def test_any_accepted_name_counts():
    prompt = {"keywords": ["cst_rename", "cst_rename_direct"], "multi": False}
    text = executed("cst_rename_direct('a.py', 'x', 'y')")
    assert score_answer(prompt, text, calls_in_text(text))["strict_score"] == 1.0


def test_calls_in_two_blocks_are_all_read():
    text = executed("a()") + "\n" + executed("b()")
    assert [call["arguments"]["code"] for call in calls_in_text(text)] == ["a()", "b()"]


# code in execute_code: is git_status really called?
REAL = r"""
git_status(".")
result = git_status(".")
print(git_status("."))
print(len(git_status(path=".").modified))
show(status=git_status("."))
print(f"changed: {git_status('.').modified}")
print(f"{git_status('.').modified!r:>40}")
status = git_status; print(status("."))
status = other = git_status; other(".")
(status := git_status)(".")
from tools import git_status as status; status(".")
from tools import git_status; git_status(".")
[git_status(path) for path in (".", "src")]
{path: git_status(path) for path in paths}
any(git_status(path).clean for path in paths)
paths = [path for path in git_status(".").modified if path]
list(map(git_status, paths))
(lambda path: git_status(path))(".")
check = lambda: git_status("."); check()
async def main(): return await git_status("."); \nasyncio.run(main())
def main():\n    return git_status(".")\nmain()
def inner():\n    git_status(".")\ndef outer():\n    inner()\nouter()
def main():\n    git_status(".")\nif __name__ == "__main__":\n    main()
if dirty:\n    git_status(".")
if False:\n    pass\nelse:\n    git_status(".")
if not False:\n    git_status(".")
while True:\n    git_status(".")\n    break
for path in paths:\n    git_status(path)
try:\n    git_status(".")\nexcept OSError as error:\n    print(error)
try:\n    risky()\nexcept OSError:\n    git_status(".")
with timer():\n    git_status(".")
with git_status(".") as status:\n    print(status)
match kind:\n    case "git":\n        git_status(".")
@cached(git_status("."))\ndef f():\n    pass
def f(status=git_status(".")):\n    pass
clean and git_status(".")
True and git_status(".")
x = git_status(".") if wanted else None
status: object = git_status(".")
total += git_status(".").count
table[git_status(".").head] = 1
assert git_status(".").clean
raise SystemExit(git_status(".").code)
print(*[git_status(".")], **{"sep": ""})
git_status(".")[0].path.strip()
def f():\n    return f() or git_status(".")\nf()
for f in [git_status, hover]: f(".")
a, b = git_status, hover; a(".")
from functools import partial; partial(git_status, ".")()
def apply(f, x): return f(x)\napply(git_status, ".")
def check(tool=git_status): return tool(".")\ncheck()
with pool() as ex: ex.submit(git_status, ".")
match 1:\n    case x if git_status("."): pass
if c:\n    def f(): git_status(".")\nf()
def show(): return git_status(".")\ndef main(git_status): return show()\nmain(1)
found = False\nfor x in y:\n    if x: found = True\nif found: git_status(".")
while True:\n    try:\n        break\n    except E: continue\ngit_status(".")
x = (0xFFFF).bit_length(), f"{n.replace(' ', ' ')}"; git_status(".")
"""

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
if False and dirty:\n    git_status(".")
while False:\n    git_status(".")
False and git_status(".")
True or git_status(".")
x = None if True else git_status(".")
def main():\n    git_status(".")
check = lambda: git_status(".")
class Tool:\n    def run(self):\n        git_status(".")
def git_status(path):\n    return "clean"\ngit_status(".")
git_status = print; git_status(".")
git_status = lambda path: 0; git_status(".")
from os import listdir as git_status; git_status(".")
import git_status; git_status(".")
for git_status in (print,):\n    git_status(".")
with open("x") as git_status:\n    git_status(".")
def f(git_status):\n    git_status(".")\nf(print)
[git_status(".") for git_status in (print,)]
def f():\n    return 1\n    git_status(".")\nf()
sys.exit()\ngit_status(".")
raise SystemExit\ngit_status(".")
if a:\n    raise ValueError\nelse:\n    exit()\ngit_status(".")
for x in y:\n    continue\n    git_status(".")
git_status(".
git_status(".") and
git_status "."
[git_status(".") for x in y if False]
del git_status\ngit_status(".")
for path in []: git_status(path)
if []: git_status(".")
if 1 == 2: git_status(".")
DEBUG = False\nif DEBUG: git_status(".")
x = (git_status(path) for path in ["a"])
while True: pass\ngit_status(".")
assert True, git_status(".")
"""


def programs(text: str) -> list[str]:
    """The programs of a table: one a line, with \\n for a new line."""
    return [line.replace("\\n", "\n") for line in text.strip().splitlines()]


@pytest.mark.parametrize("code", programs(REAL))
def test_a_real_call_counts(code):
    text = executed(code)
    result = score_answer(SINGLE, text, calls_in_text(text))
    assert (result["score"], result["strict_score"]) == (1.0, 1.0)


@pytest.mark.parametrize("code", programs(FOOLED))
def test_a_call_that_would_not_happen_does_not_count(code):
    text = executed(code)
    result = score_answer(SINGLE, text, calls_in_text(text))
    assert (result["score"], result["strict_score"]) == (1.0, 0.1)


@pytest.mark.parametrize(
    "code",
    ["f(" * 5000, "a" + ".b" * 50_000 + "()", "x = " + "-" * 20_000 + "1", "\0", "x = '\\d'"],
)
def test_code_that_tries_to_break_the_parser_calls_nothing(code):
    assert [name for name in called_names(code) if name == "git_status"] == []


def test_functions_that_call_each_other_take_linear_time():
    code = "\n".join(f"def f{n}():\n    f{n + 1}()\n    f{n + 1}()" for n in range(60))
    assert called_names(code + "\ndef f60(): hover()\nf0()") == ["hover"] * 3


def test_calls_come_in_the_order_they_would_run():
    code = "result = second(first())\nthird(x=fourth())\nraise SystemExit\nfifth()"
    assert called_names(code) == ["first", "second", "fourth", "third"]


def test_a_direct_call_counts_half_even_beside_code_without_the_tool():
    text = executed("print(1)") + DIRECT
    assert score_answer(SINGLE, text, calls_in_text(text))["strict_score"] == 0.5
