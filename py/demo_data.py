"""Write the demo's training and validation rows.

The real run trains on rows that only fit an 8B model. The demo shows the whole recipe on a laptop's
CPU in minutes, so it needs rows a 135M model can learn: short requests, one regular shape of code,
and arguments that can be copied from the request. The prose is in data/demo/phrases.json; this
program fills its slots, keeps the suite's prompts out, and gives the same bytes for the same seed.
"""

import argparse
import ast
import difflib
import itertools
import json
import os
import random
import re
import sys
from pathlib import Path

from files import read_json

ROOT = Path(__file__).resolve().parent.parent
# A prompt this close to a suite prompt would let the model score by recall.
NEAR_COPY = 0.75
# Rows per tool (train, validation). Tools that are easily confused with each other get more.
ROWS = {
    "text_tools": (12, 1),
    "validation": (12, 1),
    "git": (12, 1),
    "lsp": (13, 1),
    "cst": (13, 1),
    "domain": (13, 1),
}
# Rows per kind of chain: two tools, then three or four.
CHAIN_ROWS = {"short": (34, 7), "long": (38, 7)}
# What a prompt names rather than says: `anything quoted`, some/path, file.py:3:4, snake_case.
CODE = re.compile(r"`[^`]*`|[^\s`]*\w[/._:][^\s`]*\w")
SLOT = re.compile(r"\$(?:(\w+)|\{(\w+)\})")


def near_copy(a, b):
    """Whether two prompts say nearly the same thing in nearly the same words.

    Compared as they are, and once more with code and paths masked: a suite prompt about another
    file is still that prompt.
    """
    for code in ("", " code "):
        texts = [CODE.sub(code, text.lower()) if code else text.lower() for text in (a, b)]
        one, two = (re.findall(r"\w+", text) for text in texts)
        # The ratio depends on the order of the two, so a pair is judged by its worse one.
        for pair in ((one, two), (two, one)):
            if difflib.SequenceMatcher(None, *pair, autojunk=False).ratio() >= NEAR_COPY:
                return True
    return False


def parameters(signature):
    """The (name, type) pairs of a tool's signature, in order."""
    function = ast.parse(f"def {signature}: ...").body[0]
    return [(arg.arg, ast.unparse(arg.annotation)) for arg in function.args.args]


def fill(text, pools, values, rng):
    """Replace every $slot in text; a slot keeps its value within one row, so calls copy requests.

    $Noun is $noun in CamelCase. A pool is a list to choose from, or a {"from", "to"} of numbers.
    """

    def value(match):
        name = match[1] or match[2]
        if name[0].isupper():
            return "".join(word.capitalize() for word in value_of(name.lower()).split("_"))
        return value_of(name)

    def value_of(name):
        if name not in values:
            pool = pools[name]
            if isinstance(pool, dict):
                values[name] = str(rng.randint(pool["from"], pool["to"]))
            else:
                values[name] = fill(rng.choice(pool), pools, values, rng)
        return values[name]

    return SLOT.sub(value, text)


def call_text(tool, args, signature):
    """One call as Python source; the argument "=path" means the variable of that name."""
    shown = []
    for arg, (_, kind) in zip(args, parameters(signature), strict=False):
        if arg.startswith("="):
            shown.append(arg[1:])
        else:
            shown.append(arg if kind == "int" else json.dumps(arg, ensure_ascii=False))
    return f"{tool}({', '.join(shown)})"


def program(calls, signatures):
    """The code that answers a request: each call in order, its result printed.

    One shape throughout, so that a small model settles on it.
    """
    texts = [call_text(tool, args, signatures[tool]) for tool, *args in calls]
    if len(texts) == 1:
        return f"result = {texts[0]}\nprint(result)"
    wanted = any("=path" in args for _, *args in calls)
    lines = []
    for (tool, *_), text in zip(calls, texts, strict=True):
        lines += [f"result = {text}", "print(result)"]
        if wanted and tool == "goto_definition":
            lines.append("path = result.path")
    return "\n".join(lines)


def row(system, request, code):
    """One training row in the chat format, its answer in the tool call format to learn."""
    call = (
        "<tool_call><function=execute_code>\n<parameter=code>\n"
        f"{code}\n</parameter>\n</function></tool_call>"
    )
    turns = [("system", system), ("user", request), ("assistant", call)]
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


def requests_for(tool, phrases):
    """All ([call], request) templates of one tool."""
    return [
        ([[tool["name"], *case["args"]]], request)
        for case in phrases["tools"][tool["name"]]
        for request in case["requests"]
    ]


def jobs(tools, phrases):
    """Every group of rows: (name, [(calls, request)...], training rows, validation rows)."""
    for tool in tools:
        yield (tool["name"], requests_for(tool, phrases), *ROWS[tool["category"]])
    for kind, counts in CHAIN_ROWS.items():
        chains = [c for c in phrases["chains"] if (len(c["calls"]) == 2) == (kind == "short")]
        templates = [(chain["calls"], text) for chain in chains for text in chain["requests"]]
        yield (kind, templates, *counts)


def generate(tools, suite, phrases, seed=0):
    """The (train, valid) rows for a seed. Raises ValueError where the phrases run out."""
    signatures = {tool["name"]: tool["signature"] for tool in tools}
    held_out = [prompt["prompt"] for prompt in suite["prompts"]]
    seen, train, valid = set(), [], []

    def ask(calls, template, rng):
        """(request, calls) with the slots filled; None where the request is not new enough."""
        values = {}
        request = fill(template, phrases["pools"], values, rng)
        if request.lower() in seen or any(near_copy(request, text) for text in held_out):
            return None
        seen.add(request.lower())
        return request, [
            [tool, *(fill(arg, phrases["pools"], values, rng) for arg in args)]
            for tool, *args in calls
        ]

    for name, templates, n_train, n_valid in jobs(tools, phrases):
        # One generator for each group: a phrase added to one leaves the other groups' rows alone.
        rng = random.Random(f"{seed}:{name}")
        templates = rng.sample(templates, len(templates))
        made = []
        for calls, template in itertools.islice(itertools.cycle(templates), 50 * len(templates)):
            if asked := ask(calls, template, rng):
                request, filled = asked
                made.append(row(suite["system"], request, program(filled, signatures)))
            if len(made) == n_train + n_valid:
                break
        else:
            wanted = n_train + n_valid
            raise ValueError(f"phrases for {name} give {len(made)} rows of {wanted} wanted")
        train += made[:n_train]
        valid += made[n_train:]

    rng = random.Random(f"{seed}:order")
    rng.shuffle(train)
    rng.shuffle(valid)
    return train, valid


def write_rows(path, rows):
    """Write rows as JSON lines, under the final name only once they are whole."""
    partial = path.with_name(path.name + ".partial")
    with open(partial, "w", encoding="utf-8", newline="\n") as out:
        out.writelines(json.dumps(item, ensure_ascii=False) + "\n" for item in rows)
    os.replace(partial, path)


def main(argv=None):
    """Command line: read tools, suite and phrases, write train.jsonl and valid.jsonl."""
    parser = argparse.ArgumentParser(description="Write the demo's training and validation rows.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ROOT / "data/demo")
    parser.add_argument("--tools", type=Path, default=ROOT / "data/tools.json")
    parser.add_argument("--suite", type=Path, default=ROOT / "data/suite.json")
    parser.add_argument("--phrases", type=Path, default=ROOT / "data/demo/phrases.json")
    args = parser.parse_args(argv)
    try:
        tools, suite = read_json(args.tools), read_json(args.suite)
        train, valid = generate(tools["tools"], suite, read_json(args.phrases), args.seed)
    except KeyError as error:
        print(
            f"demo_data: no entry {error}: add it to {args.phrases}, or mend {args.tools} or "
            f"{args.suite}",
            file=sys.stderr,
        )
        return 2
    except ValueError as error:
        print(f"demo_data: {error}; add or mend entries there", file=sys.stderr)
        return 2
    args.out.mkdir(parents=True, exist_ok=True)
    write_rows(args.out / "train.jsonl", train)
    write_rows(args.out / "valid.jsonl", valid)
    print(f"demo_data: {len(train)} training and {len(valid)} validation rows", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
