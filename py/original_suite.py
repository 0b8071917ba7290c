"""Read Phase 33b's 27 prompts out of its public evaluation script, into the format of a suite.

The script is parsed and never run. It has two literals: EVAL_PROMPTS, a list of (id, category,
prompt, expected tool, keywords, is multi, token budget or None), and the text EVAL_SYSTEM_PROMPT.
"""

import argparse
import ast
import contextlib
from pathlib import Path

from files import check, read_json, write_json
from program import run
from suite import Suite

FIELDS = ("id", "category", "prompt", "expected_tool", "keywords", "multi", "max_tokens")
DEFAULT_BUDGET = 512  # tokens, where the script has None


def read_literals(path: Path) -> dict:
    """Name -> value of the module-level literals of a Python file."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read as Python ({error})") from error
    literals = {}
    for node in tree.body:
        match node:
            case ast.Assign([ast.Name(name)], value) | ast.AnnAssign(ast.Name(name), _, value):
                with contextlib.suppress(ValueError, TypeError):  # computed: not one of ours
                    literals[name] = ast.literal_eval(value)
    return literals


def read_script(path: Path) -> dict:
    """The suite in a script. Raises ValueError if something is missing or has another shape."""
    literals = read_literals(path)
    for name in ("EVAL_PROMPTS", "EVAL_SYSTEM_PROMPT"):
        if name not in literals:
            raise ValueError(f"{path}: no literal {name}")
    try:
        prompts = [dict(zip(FIELDS, row, strict=True)) for row in literals["EVAL_PROMPTS"]]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: EVAL_PROMPTS must be a list of rows of 7 values") from error
    for prompt in prompts:
        if isinstance(prompt["keywords"], tuple):
            prompt["keywords"] = list(prompt["keywords"])
        prompt["max_tokens"] = prompt["max_tokens"] or DEFAULT_BUDGET
    system = literals["EVAL_SYSTEM_PROMPT"]
    return check({"name": "phase33b-27", "system": system, "prompts": prompts}, Suite, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--script", type=Path, required=True, help="run_phase33_direct_eval.py")
    parser.add_argument("--out", type=Path, required=True, help="suite to write")
    args = parser.parse_args()
    suite = read_script(args.script)
    if args.out.exists() and read_json(args.out) != suite:
        raise ValueError(
            f"{args.out}: differs from the prompts of {args.script} and is not overwritten;"
            " move it away, or rename it and set SUITE to the new name"
        )
    write_json(args.out, suite)
    print(f"{len(suite['prompts'])} prompts: {args.out}")


if __name__ == "__main__":
    run(main)
