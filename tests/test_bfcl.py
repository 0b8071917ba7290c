"""Every category of BFCL becomes a suite that the evaluation can read."""

import json
import subprocess
import sys

import pytest

import bfcl
from conftest import ROOT
from exact import reason
from files import write_json
from suite import messages_of, read_suite

PROMPTS = {
    "simple_python": 400,
    "simple_java": 100,
    "simple_javascript": 50,
    "multiple": 200,
    "parallel": 200,
    "parallel_multiple": 200,
    "irrelevance": 240,
    "live_simple": 258,
    "live_multiple": 1053,
    "live_parallel": 16,
    "live_parallel_multiple": 24,
    "live_irrelevance": 884,
    "live_relevance": 16,
}
JSON_TYPES = {"object", "array", "string", "number", "integer", "boolean"}


def write(out) -> subprocess.CompletedProcess:
    command = [sys.executable, ROOT / "py/bfcl.py", "--out", out]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def types_in(schema: dict) -> set[str]:
    """The types of a schema and of all that are in it."""
    inner = [*schema.get("properties", {}).values()]
    inner += [schema["items"]] if "items" in schema else []
    return {schema["type"]}.union(*map(types_in, inner))


def test_the_categories_are_those_of_single_turns():
    assert set(bfcl.load("category_mapping").SINGLE_TURN_CATEGORY) == set(PROMPTS)


@pytest.mark.parametrize("category", PROMPTS)
def test_a_category_becomes_a_suite(category, tmp_path):
    write_json(tmp_path / "suite.json", bfcl.suite_of(category))
    suite = read_suite(tmp_path / "suite.json")
    assert suite["name"] == f"bfcl_{category}" and suite["loose"] and suite["system"] == ""
    assert len(suite["prompts"]) == PROMPTS[category]
    for prompt in suite["prompts"]:
        assert prompt["category"] == category and prompt["max_tokens"] == 512
        assert messages_of(suite, prompt)[-1] == {"role": "user", "content": prompt["prompt"]}
        for tool in prompt["tools"]:
            assert types_in(tool["function"]["parameters"]) <= JSON_TYPES
        if "relevance" in category:
            assert prompt["answers"] == ("any" if category == "live_relevance" else [])
        else:
            assert prompt["answers"] and prompt["answers"] != "any"


def test_a_prompt_has_what_bfcl_has(tmp_path):
    run = write(tmp_path / "bfcl_live_simple.json")
    assert (run.returncode, run.stderr) == (0, "")
    suite = read_suite(tmp_path / "bfcl_live_simple.json")
    prompts = {prompt["id"]: prompt for prompt in suite["prompts"]}
    rows = {row["id"]: row for row in bfcl.read_rows("BFCL_v4_live_simple.json")}
    right = {
        row["id"]: row["ground_truth"]
        for row in bfcl.read_rows("possible_answer/BFCL_v4_live_simple.json")
    }
    assert set(prompts) == set(rows)
    for id, prompt in prompts.items():
        assert messages_of(suite, prompt) == rows[id]["question"][0]
        assert [{call["name"]: call["arguments"]} for call in prompt["answers"]] == right[id]
        (tool,), (function,) = prompt["tools"], rows[id]["function"]
        assert tool["function"] | {"parameters": function["parameters"]} == function
    assert any(prompt["before"] for prompt in prompts.values())


def test_types_are_translated_and_parameters_named_type_or_items_are_kept():
    schema = {"type": "dict", "required": ["type"], "properties": {}}
    schema["properties"]["type"] = {"type": "String", "description": "a name"}
    schema["properties"]["items"] = {"type": "tuple", "items": {"type": "float"}}
    schema["properties"]["flag"] = {"type": "Boolean", "default": False}
    schema["properties"]["other"] = {"type": ""}  # JavaScript has one
    before = json.dumps(schema)
    assert bfcl.translate(schema) == {
        "type": "object",
        "required": ["type"],
        "properties": {
            "type": {"type": "string", "description": "a name"},
            "items": {"type": "array", "items": {"type": "number"}},
            "flag": {"type": "boolean", "default": False},
            "other": {"type": "string"},
        },
    }
    assert json.dumps(schema) == before


def test_a_right_answer_to_a_real_prompt_is_right():
    suite = bfcl.suite_of("simple_python")
    prompt = suite["prompts"][0]
    tool = prompt["tools"][0]["function"]
    schemas = {tool["name"]: tool["parameters"]}
    call = {"name": "calculate_triangle_area", "arguments": {"base": 10, "height": 5}}
    assert reason([call], prompt["answers"], schemas, suite["loose"]) == ""
    call["arguments"]["base"] = "10"
    expected = "argument base: '10' is a string, not an integer"
    assert reason([call], prompt["answers"], schemas, suite["loose"]) == expected


@pytest.mark.parametrize("name", ["bfcl_multi_turn_base.json", "bfcl_.json", "bfcl.json"])
def test_an_unknown_category_is_one_line_with_the_known_ones(name, tmp_path):
    run = write(tmp_path / name)
    assert run.returncode == 2 and run.stderr.count("\n") == 1
    assert run.stderr.startswith("bfcl: unknown category '")
    assert all(category in run.stderr for category in PROMPTS)
    assert not list(tmp_path.iterdir())


def test_without_the_package_it_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "bfcl_eval", None)
    for name in [name for name in sys.modules if name.startswith("bfcl_eval.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ValueError, match="not installed; run `make .venv/bfcl.installed`"):
        bfcl.suite_of("multiple")
