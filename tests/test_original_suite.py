"""Phase 33b's prompts are read out of its script without running it."""

import subprocess

import pytest

from conftest import ROOT
from suite import read_suite

SCRIPT = '''
"""A script in the shape of the public one; importing it would end this process."""
import sys
sys.exit("this must never run")
EVAL_SYSTEM_PROMPT = (
    "You are an assistant. "
    "You have tools."
)
NOT_OURS = [x for x in range(3)]
EVAL_PROMPTS: list[tuple] = [
    ("text-01", "text_tools", "Show a.py", "read_file", ["read_file", "ls"], False, None),
    ("lsp-05", "lsp", "Find X", "workspace_symbols", ("workspace_symbols",), False, 2048),
    ("multi-01", "multi_tool", "All of it", "hover", ["goto_definition", "hover"], True, 1024),
]
'''


def convert(tmp_path, script):
    path = tmp_path / "script.py"
    path.write_text(script)
    command = [ROOT / "bin/python", ROOT / "py/original_suite.py", "--script", path]
    command += ["--out", tmp_path / "suite.json"]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60)


def test_the_prompts_and_the_system_prompt_come_out_as_a_suite(tmp_path):
    run = convert(tmp_path, SCRIPT)
    assert run.returncode == 0, run.stderr
    suite = read_suite(tmp_path / "suite.json")
    assert (suite["name"], suite["system"]) == (
        "phase33b-27",
        "You are an assistant. You have tools.",
    )
    first, second, third = suite["prompts"]
    assert first == {
        "id": "text-01",
        "category": "text_tools",
        "prompt": "Show a.py",
        "expected_tool": "read_file",
        "keywords": ["read_file", "ls"],
        "multi": False,
        "max_tokens": 512,
    }
    assert (second["keywords"], second["max_tokens"]) == (["workspace_symbols"], 2048)
    assert third["multi"] is True


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("x = (", "cannot be read as Python"),
        ("EVAL_PROMPTS = []", "no literal EVAL_SYSTEM_PROMPT"),
        ("EVAL_SYSTEM_PROMPT = 'x'\nEVAL_PROMPTS = make()", "no literal EVAL_PROMPTS"),
        ("EVAL_SYSTEM_PROMPT = 'x'\nEVAL_PROMPTS = [(1, 2)]", "entry 1: expected 7 values"),
        (
            "EVAL_SYSTEM_PROMPT = 'x'\nEVAL_PROMPTS = []",
            "prompts: List should have at least 1 item",
        ),
        ("EVAL_SYSTEM_PROMPT = 'x'\nEVAL_PROMPTS = 3", "EVAL_PROMPTS must be a list"),
        (
            SCRIPT.replace('"text-01"', "17"),
            "script.py: prompts[0].id: Input should be a valid string",
        ),
        (
            SCRIPT.replace('["read_file", "ls"]', '"ls"'),
            "prompts[0].keywords: Input should be a valid list",
        ),
    ],
)
def test_a_script_of_another_shape_is_refused_in_one_line(tmp_path, script, message):
    run = convert(tmp_path, script)
    assert run.returncode == 2 and len(run.stderr.splitlines()) == 1, run.stderr
    assert message in run.stderr
    assert list(tmp_path.glob("suite.json*")) == []
