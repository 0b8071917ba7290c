"""Phase 33b's prompts are read out of its script without running it."""

import sys

import pytest

import original_suite
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


@pytest.fixture
def convert(tmp_path, monkeypatch, capsys):
    """convert(script) gives the exit status and what is said on stderr."""

    def run(script):
        (tmp_path / "script.py").write_text(script)
        words = ["x", "--script", tmp_path / "script.py", "--out", tmp_path / "suite.json"]
        monkeypatch.setattr(sys, "argv", list(map(str, words)))
        return original_suite.main(), capsys.readouterr().err

    return run


def test_the_prompts_and_the_system_prompt_come_out_as_a_suite(tmp_path, convert):
    assert convert(SCRIPT) == (0, "")
    suite = read_suite(tmp_path / "suite.json")
    assert suite["name"] == "phase33b-27"
    assert suite["system"] == "You are an assistant. You have tools."
    first, second, third = suite["prompts"]
    assert first == {
        **{"id": "text-01", "category": "text_tools", "prompt": "Show a.py"},
        **{"expected_tool": "read_file", "keywords": ["read_file", "ls"]},
        **{"multi": False, "max_tokens": 512},
    }
    assert (second["keywords"], second["max_tokens"]) == (["workspace_symbols"], 2048)
    assert third["multi"] is True


def test_the_prompts_are_read_once_and_an_edited_copy_is_not_overwritten(tmp_path, convert):
    suite = tmp_path / "suite.json"
    assert convert(SCRIPT) == convert(SCRIPT) == (0, "")
    suite.write_text(suite.read_text().replace("Find X", "Find Y"))
    status, said = convert(SCRIPT)
    assert status == 2 and "is not overwritten" in said and "Find Y" in suite.read_text()
    assert list(tmp_path.glob("suite.json.*")) == []


SYSTEM = "EVAL_SYSTEM_PROMPT = 'x'\n"


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("x = (", "cannot be read as Python"),
        ("EVAL_PROMPTS = []", "no literal EVAL_SYSTEM_PROMPT"),
        (SYSTEM + "EVAL_PROMPTS = make()", "no literal EVAL_PROMPTS"),
        (SYSTEM + "EVAL_PROMPTS = [(1, 2)]", "entry 1: expected 7 values"),
        (SYSTEM + "EVAL_PROMPTS = []", "prompts: List should have at least 1 item"),
        (SYSTEM + "EVAL_PROMPTS = 3", "EVAL_PROMPTS must be a list"),
        (SCRIPT.replace('"text-01"', "17"), "script.py: prompts[0].id: Input should be a valid s"),
        (SCRIPT.replace('["read_file", "ls"]', '"ls"'), "keywords: Input should be a valid list"),
    ],
)
def test_a_script_of_another_shape_is_refused_in_one_line(tmp_path, convert, script, says):
    status, said = convert(script)
    assert status == 2 and len(said.splitlines()) == 1 and says in said, said
    assert list(tmp_path.glob("suite.json*")) == []
