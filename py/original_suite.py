"""Read Phase 33b's 27 prompts out of its public evaluation script, into the format of a suite.

The script is parsed, never imported or run. Two literals are read: the list EVAL_PROMPTS of
(id, category, prompt, expected tool, keywords, is multi, token budget or None), and the string
EVAL_SYSTEM_PROMPT.
"""

import argparse
import ast
import sys
from pathlib import Path

from files import read_json, write_json
from suite import PROMPT_FIELDS, Suite, check

DEFAULT_BUDGET = 512  # tokens, where the script has None


def read_literals(path: Path) -> dict:
    """Name -> value of the module-level literals of a Python file. Raises ValueError."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, SyntaxError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read as Python ({error})") from error
    literals = {}
    for node in tree.body:
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            try:
                value = ast.literal_eval(node.value)
            except (ValueError, TypeError, RecursionError):
                continue  # computed: not one of ours
            literals |= {target.id: value for target in targets if isinstance(target, ast.Name)}
    return literals


def suite_of(literals: dict, path: Path) -> dict:
    """The suite in a script's literals. Raises ValueError for what is missing or misshapen."""
    for name in ("EVAL_PROMPTS", "EVAL_SYSTEM_PROMPT"):
        if name not in literals:
            raise ValueError(f"{path}: no literal {name}")
    if not isinstance(literals["EVAL_PROMPTS"], (list, tuple)):
        raise ValueError(f"{path}: EVAL_PROMPTS must be a list")
    prompts = []
    for number, row in enumerate(literals["EVAL_PROMPTS"], start=1):
        if not isinstance(row, (tuple, list)) or len(row) != len(PROMPT_FIELDS):
            raise ValueError(f"{path}: EVAL_PROMPTS entry {number}: expected 7 values")
        prompt = dict(zip(PROMPT_FIELDS, row, strict=True))
        if isinstance(prompt["keywords"], tuple):
            prompt["keywords"] = list(prompt["keywords"])
        prompt["max_tokens"] = prompt["max_tokens"] or DEFAULT_BUDGET
        prompts.append(prompt)
    system = literals["EVAL_SYSTEM_PROMPT"]
    return {"name": "phase33b-27", "system": system, "prompts": prompts}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--script", type=Path, required=True, help="run_phase33_direct_eval.py")
    parser.add_argument("--out", type=Path, required=True, help="suite to write")
    args = parser.parse_args()
    try:
        suite = suite_of(read_literals(args.script), args.script)
        check(suite, Suite, args.script)
        if args.out.exists() and read_json(args.out) != suite:
            raise ValueError(
                f"{args.out}: differs from the prompts of {args.script} and is not overwritten;"
                " move it away, or rename it and set SUITE to the new name"
            )
        write_json(args.out, suite)
    except (ValueError, OSError) as error:
        print(f"original_suite: {error}", file=sys.stderr)
        return 2
    print(f"{len(suite['prompts'])} prompts: {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
