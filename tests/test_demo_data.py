"""The demo data: complete, well formed, apart from the suite, and made by its generator."""

import ast
import json
import re
from collections import Counter

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
FOUR = ["goto_definition", "read_file", "validate_component", "pytest_run"]
DOMAIN = (
    "validate_component validate_service_registration validate_middleware_chain"
    " check_dependency_graph validate_escape_context validate_route_pattern check_render_tree"
    " validate_injection_site check_di_template_binding"
).split()


def user(row):
    return row["messages"][1]["content"]


def requests(row):
    """What a row asks for: one request, or each item of a list."""
    return [line.removeprefix("- ").lower() for line in user(row).splitlines()]


def code(row):
    return CALL.fullmatch(row["messages"][2]["content"])[1]


def tool_calls(row):
    """The calls of tools in a row's program, in the order they run."""
    found = [node for node in ast.walk(ast.parse(code(row))) if isinstance(node, ast.Call)]
    found.sort(key=lambda node: (node.lineno, node.col_offset))
    assert {call.func.id for call in found} <= {*CATEGORIES, "print"}
    return [call for call in found if call.func.id != "print"]


def function(tool):
    return ast.parse(f"def {tool['signature']}: ...").body[0]


def test_tools_are_the_26_in_their_categories():
    assert len(CATEGORIES) == len(TOOLS) == 26
    counts = {"text_tools": 3, "validation": 3, "lsp": 5, "git": 3, "cst": 3, "domain": 9}
    assert Counter(CATEGORIES.values()) == counts
    for tool in TOOLS:
        assert list(tool) == ["name", "category", "signature", "description"]
        assert function(tool).name == tool["name"]
        assert function(tool).returns is not None


def test_the_suite_is_the_registered_one():
    counts = {"text": 3, "valid": 3, "lsp": 5, "git": 3, "cst": 3, "dom": 9, "multi": 1}
    ids = [f"{stem}-{n:02}" for stem, count in counts.items() for n in range(1, count + 1)]
    prompts = {prompt["id"]: prompt for prompt in SUITE["prompts"]}
    assert [prompt["id"] for prompt in SUITE["prompts"]] == ids
    assert len({prompt["prompt"] for prompt in SUITE["prompts"]}) == 27
    special = {"lsp-05": 2048, "multi-01": 1024}
    for name, prompt in prompts.items():
        wanted = "multi_tool" if prompt["multi"] else CATEGORIES[prompt["expected_tool"]]
        assert prompt["category"] == wanted
        assert prompt["keywords"][0] == prompt["expected_tool"]
        assert prompt["max_tokens"] == special.get(name, 512)
        assert prompt["multi"] is (name == "multi-01")
    assert prompts["text-01"]["keywords"] == ["read_file", "document_symbols"]
    assert prompts["text-03"]["keywords"] == ["run_command", "ls"]
    assert prompts["cst-02"]["keywords"] == ["cst_rename", "cst_rename_direct"]
    assert prompts["multi-01"]["keywords"] == FOUR
    domain = [prompt["keywords"] for prompt in SUITE["prompts"] if prompt["category"] == "domain"]
    assert domain == [[name, f"{name}_direct"] for name in DOMAIN]


def test_one_system_prompt_everywhere():
    assert len(SUITE["system"].split()) < 30
    for row in TRAIN + VALID:
        assert [message["role"] for message in row["messages"]] == ["system", "user", "assistant"]
        assert row["messages"][0]["content"] == SUITE["system"]


def test_each_tool_is_called_often_and_in_both_splits():
    assert len(TRAIN) >= 400 and len(VALID) >= 40
    for tool in CATEGORIES:
        trained = [row for row in TRAIN if tool in {call.func.id for call in tool_calls(row)}]
        # Many ways of asking, not one sentence about many files.
        masked = {make_rows.CODE.sub("code", user(row)) for row in trained}
        assert len(masked) >= 12, tool
        assert any(call.func.id == tool for row in VALID for call in tool_calls(row)), tool


def test_calls_fit_the_signatures_and_copy_their_arguments_from_the_request():
    signatures = {tool["name"]: function(tool).args for tool in TOOLS}
    for row in TRAIN + VALID:
        assert tool_calls(row)
        known = {*CATEGORIES, "print"}
        for statement in ast.parse(code(row)).body:  # a variable is set before it is used
            names = [node for node in ast.walk(statement) if isinstance(node, ast.Name)]
            assert {n.id for n in names if isinstance(n.ctx, ast.Load)} <= known, code(row)
            known |= {n.id for n in names if isinstance(n.ctx, ast.Store)}
        for call in tool_calls(row):
            wanted = signatures[call.func.id]
            assert not call.keywords
            most, least = len(wanted.args), len(wanted.args) - len(wanted.defaults)
            assert least <= len(call.args) <= most, code(row)
            for arg, parameter in zip(call.args, wanted.args, strict=False):
                if isinstance(arg, ast.Constant):
                    assert type(arg.value).__name__ == parameter.annotation.id, code(row)
                    assert arg.value == "." or str(arg.value) in user(row), user(row)
                else:
                    assert isinstance(arg, ast.Name) and arg.id == "path", code(row)


def test_the_suite_is_kept_out_of_the_rows_and_no_request_is_repeated():
    asked = [request for row in TRAIN + VALID for request in requests(row)]
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
        assert make_rows.near_copy(prompt, prompt)
        assert make_rows.near_copy("Please " + prompt[0].lower() + prompt[1:], prompt)
        assert make_rows.near_copy(prompt.replace("greenhouse/", "shop/billing/"), prompt)
        assert make_rows.near_copy(prompt.upper().rstrip("?.") + ", thanks", prompt)
    assert not make_rows.near_copy("Lint src/orders/forms.py.", prompts["dom-07"])
    assert not make_rows.near_copy("git log, last 3 entries", prompts["git-03"])
    # The same tool and file, asked for in other words, is what the rows are meant to teach.
    assert not make_rows.near_copy("ruff src/greenhouse/pumps.py", prompts["valid-02"])


def test_only_seed_0_gives_the_committed_bytes(tmp_path):
    assert make_rows.main(["--out", str(tmp_path)]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["train.jsonl", "valid.jsonl"]
    for name in ("train.jsonl", "valid.jsonl"):
        assert (tmp_path / name).read_bytes() == (DATA / "demo" / name).read_bytes()
    assert make_rows.main(["--out", str(tmp_path), "--seed", "1"]) == 0
    assert (tmp_path / "train.jsonl").read_bytes() != (DATA / "demo/train.jsonl").read_bytes()


def test_a_broken_input_is_one_line_and_status_2(tmp_path, capsys):
    broken = tmp_path / "tools.json"
    broken.write_text("{", encoding="utf-8")
    assert make_rows.main(["--out", str(tmp_path / "out"), "--tools", str(broken)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and str(broken) in error
    assert not (tmp_path / "out").exists()
