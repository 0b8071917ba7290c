"""The demo data: complete, well formed, apart from the suite, and made by its generator."""

import ast
import json
import re
import sys
from collections import Counter

import pytest

import make_rows
from conftest import ROOT

DATA = ROOT / "data"
TOOLS = json.loads((DATA / "tools.json").read_text(encoding="utf-8"))["tools"]
SUITE = json.loads((DATA / "suite.json").read_text(encoding="utf-8"))
TRAIN, VALID = (
    [json.loads(line) for line in (DATA / "demo" / name).read_text(encoding="utf-8").splitlines()]
    for name in ("train.jsonl", "valid.jsonl")
)
CATEGORIES = {tool["name"]: tool["category"] for tool in TOOLS}
CALL = re.compile(
    r"<tool_call><function=execute_code>\n<parameter=code>\n(.+)\n</parameter>\n</function></tool_call>",
    re.DOTALL,
)


def user(row):
    return row["messages"][1]["content"]


def code(row):
    return CALL.fullmatch(row["messages"][2]["content"])[1]


def tool_calls(row):
    """The calls of tools in a row's program."""
    found = [node for node in ast.walk(ast.parse(code(row))) if isinstance(node, ast.Call)]
    assert {call.func.id for call in found} <= {*CATEGORIES, "print"}
    return [call for call in found if call.func.id != "print"]


def test_tools_are_the_26_in_their_categories():
    counts = {"text_tools": 3, "validation": 3, "lsp": 5, "git": 3, "cst": 3, "domain": 9}
    assert len(CATEGORIES) == 26 and Counter(CATEGORIES.values()) == counts


def test_the_suite_asks_for_each_tool_and_for_four_at_once():
    counts = {"text": 3, "valid": 3, "lsp": 5, "git": 3, "cst": 3, "dom": 9, "multi": 1}
    ids = [f"{stem}-{n:02}" for stem, count in counts.items() for n in range(1, count + 1)]
    assert [prompt["id"] for prompt in SUITE["prompts"]] == ids
    *single, several = SUITE["prompts"]
    assert {prompt["expected_tool"]: prompt["category"] for prompt in single} == CATEGORIES
    assert all(prompt["keywords"][0] == prompt["expected_tool"] for prompt in single)
    four = ["goto_definition", "read_file", "validate_component", "pytest_run"]
    assert (several["multi"], several["keywords"], several["max_tokens"]) == (True, four, 1024)


def test_one_system_prompt_everywhere():
    for row in TRAIN + VALID:
        assert [message["role"] for message in row["messages"]] == ["system", "user", "assistant"]
        assert row["messages"][0]["content"] == SUITE["system"]


def test_each_tool_is_called_often_and_in_both_splits():
    assert len(TRAIN) >= 400 and len(VALID) >= 30
    for tool in CATEGORIES:
        trained = [row for row in TRAIN if tool in {call.func.id for call in tool_calls(row)}]
        # Many ways of asking, not one sentence about many files.
        masked = {make_rows.CODE.sub("code", user(row)) for row in trained}
        assert len(masked) >= 12, tool
        assert any(call.func.id == tool for row in VALID for call in tool_calls(row)), tool


def test_calls_fit_the_signatures_and_copy_their_arguments_from_the_request():
    signatures = {
        tool["name"]: ast.parse(f"def {tool['signature']}: ...").body[0].args for tool in TOOLS
    }
    for row in TRAIN + VALID:
        assert tool_calls(row)
        for call in tool_calls(row):
            wanted = signatures[call.func.id]
            most, least = len(wanted.args), len(wanted.args) - len(wanted.defaults)
            assert least <= len(call.args) <= most and not call.keywords, code(row)
            for arg, parameter in zip(call.args, wanted.args, strict=False):
                if isinstance(arg, ast.Constant):
                    assert type(arg.value).__name__ == parameter.annotation.id, code(row)
                    assert arg.value == "." or str(arg.value) in user(row), user(row)
                else:
                    assert code(row).index("path = ") < code(row).index("(path"), code(row)


def test_the_suite_is_kept_out_of_the_rows_and_no_request_is_repeated():
    requests = "\n".join(user(row) for row in TRAIN + VALID).lower()
    asked = [line.removeprefix("- ") for line in requests.splitlines()]
    assert len(set(asked)) == len(asked)
    rows = "\n".join(user(row) + code(row) for row in TRAIN + VALID)
    for prompt in SUITE["prompts"]:
        for request in asked:
            assert not make_rows.near_copy(request, prompt["prompt"]), request
        for named in make_rows.CODE.findall(prompt["prompt"]):
            assert named.strip("`") not in rows


def test_near_copy_catches_a_light_edit_and_leaves_other_requests_alone():
    prompts = {prompt["id"]: prompt["prompt"] for prompt in SUITE["prompts"]}
    for prompt in prompts.values():
        assert make_rows.near_copy("Please " + prompt[0].lower() + prompt[1:], prompt)
        assert make_rows.near_copy(prompt.replace("greenhouse/", "shop/billing/"), prompt)
        assert make_rows.near_copy(prompt.upper().rstrip("?.") + ", thanks", prompt)
    assert not make_rows.near_copy("Lint src/orders/forms.py.", prompts["dom-07"])
    # The same tool and file, asked for in other words, is what the rows are meant to teach.
    assert not make_rows.near_copy("ruff src/greenhouse/pumps.py", prompts["valid-02"])


@pytest.mark.parametrize(("format", "folder"), [("program", "demo"), ("json", "demo/json")])
def test_the_generator_gives_the_committed_bytes(tmp_path, monkeypatch, format, folder):
    words = ["make_rows.py", "--format", format, "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", words)
    make_rows.main()
    for file in tmp_path.iterdir():
        assert file.read_bytes() == (DATA / folder / file.name).read_bytes()


def test_a_row_with_json_calls_makes_the_calls_of_the_program_up_to_the_first_unknown_value():
    rows = (DATA / "demo/json/train.jsonl").read_text(encoding="utf-8").splitlines()
    for row, line in zip(TRAIN, rows, strict=True):
        other = json.loads(line)["messages"]
        assert other[:2] == row["messages"][:2]
        made = [(c["function"]["name"], c["function"]["arguments"]) for c in other[2]["tool_calls"]]
        for call, (name, arguments) in zip(tool_calls(row), made, strict=False):
            assert call.func.id == name
            assert [ast.literal_eval(arg) for arg in call.args] == list(arguments.values())
        later = tool_calls(row)[len(made) : len(made) + 1]
        assert not later or any(isinstance(arg, ast.Name) for arg in later[0].args)
