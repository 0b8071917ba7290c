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
SYSTEM = "EVAL_SYSTEM_PROMPT = 'x'\n"


@pytest.fixture
def convert(tmp_path, monkeypatch):
    """convert(script) writes suite.json from the text of a script."""

    def convert(script):
        (tmp_path / "script.py").write_text(script)
        words = ["x", "--script", tmp_path / "script.py", "--out", tmp_path / "suite.json"]
        monkeypatch.setattr(sys, "argv", list(map(str, words)))
        original_suite.main()

    return convert


def test_the_prompts_become_a_suite_and_an_edited_one_is_not_overwritten(tmp_path, convert):
    file = tmp_path / "suite.json"
    convert(SCRIPT)
    convert(SCRIPT)
    suite = read_suite(file)
    assert suite["name"] == "phase33b-27"
    assert suite["system"] == "You are an assistant. You have tools."
    first, second, third = suite["prompts"]
    wanted = {
        **{"id": "text-01", "category": "text_tools", "prompt": "Show a.py"},
        **{"expected_tool": "read_file", "keywords": ["read_file", "ls"]},
        **{"multi": False, "max_tokens": 512},
    }
    assert first | wanted == first
    assert (second["keywords"], second["max_tokens"]) == (["workspace_symbols"], 2048)
    assert third["multi"] is True
    file.write_text(file.read_text().replace("Find X", "Find Y"))
    with pytest.raises(ValueError, match="is not overwritten"):
        convert(SCRIPT)
    assert "Find Y" in file.read_text()


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("x = (", "cannot be read as Python"),
        (SYSTEM + "EVAL_PROMPTS = make()", "no literal EVAL_PROMPTS"),
        (SYSTEM + "EVAL_PROMPTS = [(1, 2)]", "must be a list of rows of 7 values"),
        (SYSTEM + "EVAL_PROMPTS = []", "prompts: List should have at least 1 item"),
        (SYSTEM + "EVAL_PROMPTS = 3", "must be a list of rows of 7 values"),
        (SCRIPT.replace('"text-01"', "17"), r"prompts\[0\].id: Input should be a valid string"),
        (SCRIPT.replace('["read_file", "ls"]', '"ls"'), "keywords: Input should be a valid list"),
    ],
)
def test_a_script_of_another_shape_is_refused(tmp_path, convert, script, says):
    with pytest.raises(ValueError, match=f"script.py: .*{says}"):
        convert(script)
    assert list(tmp_path.glob("suite.json*")) == []
