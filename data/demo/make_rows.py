"""Write the demo's training and validation rows.

    .venv/bin/python data/demo/make_rows.py

The real run trains on rows that only an 8B model can learn. The demo runs on a laptop's CPU in
minutes. So it needs rows for a 135M model: short requests, code of one regular shape, and arguments
that can be copied from the request. The prose is in phrases.json. This program fills its slots,
keeps the suite's prompts out, and gives the same bytes for the same seed.
"""

import argparse
import ast
import difflib
import itertools
import json
import random
import re
import sys
from pathlib import Path

DATA = Path(__file__).resolve().parent.parent
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


def near_copy(a: str, b: str) -> bool:
    """Do two prompts say nearly the same in nearly the same words?

    Compared as they are, and once more with code and paths masked: a suite prompt about another
    file is still that prompt.
    """
    masked = [CODE.sub(" code ", text.lower()) for text in (a, b)]
    for texts in ([a.lower(), b.lower()], masked):
        one, two = (re.findall(r"\w+", text) for text in texts)
        # The ratio depends on the order of the two, so a pair is judged by its worse one.
        for pair in ((one, two), (two, one)):
            if difflib.SequenceMatcher(None, *pair, autojunk=False).ratio() >= NEAR_COPY:
                return True
    return False


def fill(text: str, pools: dict, values: dict[str, str], rng: random.Random) -> str:
    """`text` with every $slot replaced; `values` has those of this row, so calls copy requests.

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


def call_text(tool: str, args: list[str], signature: str) -> str:
    """One call as Python source; the argument "=path" means the variable of that name."""
    parameters = ast.parse(f"def {signature}: ...").body[0].args.args
    shown = []
    for arg, parameter in zip(args, parameters, strict=False):
        if arg.startswith("="):
            shown.append(arg[1:])
        elif ast.unparse(parameter.annotation) == "int":
            shown.append(arg)
        else:
            shown.append(json.dumps(arg, ensure_ascii=False))
    return f"{tool}({', '.join(shown)})"


def program(calls: list[list[str]], signatures: dict[str, str]) -> str:
    """The code that answers a request: each call in order, its result printed.

    One shape throughout, so that a small model settles on it.
    """
    uses_path = any("=path" in args for _, *args in calls)
    lines = []
    for tool, *args in calls:
        lines += [f"result = {call_text(tool, args, signatures[tool])}", "print(result)"]
        if uses_path and tool == "goto_definition":
            lines.append("path = result.path")
    return "\n".join(lines)


def row(system: str, request: str, code: str) -> dict:
    """One training row in the chat format, its answer in the tool call format to learn."""
    call = (
        "<tool_call><function=execute_code>\n<parameter=code>\n"
        f"{code}\n</parameter>\n</function></tool_call>"
    )
    turns = [("system", system), ("user", request), ("assistant", call)]
    return {"messages": [{"role": role, "content": content} for role, content in turns]}


def groups(tools: list[dict], phrases: dict):
    """Yield groups of rows: (name, [(calls, request)...], training rows, validation rows)."""
    for tool in tools:
        name = tool["name"]
        cases = phrases["tools"][name]
        templates = [([[name, *case["args"]]], text) for case in cases for text in case["requests"]]
        yield (name, templates, *ROWS[tool["category"]])
    for kind, counts in CHAIN_ROWS.items():
        chains = [c for c in phrases["chains"] if (len(c["calls"]) == 2) == (kind == "short")]
        templates = [(chain["calls"], text) for chain in chains for text in chain["requests"]]
        yield (kind, templates, *counts)


def generate(
    tools: list[dict], suite: dict, phrases: dict, seed: int = 0
) -> tuple[list[dict], list[dict]]:
    """The (train, valid) rows for a seed. Raises ValueError where the phrases run out."""
    signatures = {tool["name"]: tool["signature"] for tool in tools}
    held_out = [prompt["prompt"] for prompt in suite["prompts"]]
    pools = phrases["pools"]
    seen, train, valid = set(), [], []
    for name, templates, n_train, n_valid in groups(tools, phrases):
        # One generator for each group: a phrase added to one leaves the other groups' rows alone.
        rng = random.Random(f"{seed}:{name}")
        templates = rng.sample(templates, len(templates))
        made, wanted = [], n_train + n_valid
        for calls, template in itertools.islice(itertools.cycle(templates), 50 * len(templates)):
            values = {}
            request = fill(template, pools, values, rng)
            if request.lower() in seen or any(near_copy(request, text) for text in held_out):
                continue
            seen.add(request.lower())
            filled = [[tool, *(fill(a, pools, values, rng) for a in args)] for tool, *args in calls]
            made.append(row(suite["system"], request, program(filled, signatures)))
            if len(made) == wanted:
                break
        else:
            raise ValueError(f"phrases for {name} give {len(made)} rows of {wanted} wanted")
        train += made[:n_train]
        valid += made[n_train:]

    rng = random.Random(f"{seed}:order")
    rng.shuffle(train)
    rng.shuffle(valid)
    return train, valid


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=DATA / "demo")
    parser.add_argument("--tools", type=Path, default=DATA / "tools.json")
    args = parser.parse_args(argv)
    suite, phrases = DATA / "suite.json", DATA / "demo/phrases.json"
    try:
        tools = json.loads(args.tools.read_text(encoding="utf-8"))["tools"]
        texts = [json.loads(file.read_text(encoding="utf-8")) for file in (suite, phrases)]
        train, valid = generate(tools, *texts, args.seed)
    except KeyError as error:
        mend = f"add it to {phrases}, or mend {args.tools} or {suite}"
        print(f"make_rows: no entry {error}: {mend}", file=sys.stderr)
        return 2
    except ValueError as error:
        print(f"make_rows: {args.tools}, {phrases} or {suite}: {error}", file=sys.stderr)
        return 2
    args.out.mkdir(parents=True, exist_ok=True)
    for name, rows in (("train", train), ("valid", valid)):
        lines = [json.dumps(item, ensure_ascii=False) + "\n" for item in rows]
        (args.out / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    print(f"make_rows: {len(train)} training and {len(valid)} validation rows", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
