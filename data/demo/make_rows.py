"""Write the demo's training and validation rows.

    .venv/bin/python data/demo/make_rows.py
    .venv/bin/python data/demo/make_rows.py --format json --out data/demo/json

The demo trains a 135M model in minutes. Such a model can learn short requests, code of one shape,
and arguments that are copied from the request. The prose is in phrases.json. This program fills its
slots and keeps the suite's prompts out. It writes the same bytes each time.

With --format json the answers are calls by name. A call that needs the result of another one
cannot be made with it: the answer ends before it. The suite is written, too, with such answers.
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
sys.path.insert(0, str(DATA.parent / "py"))

from files import read_json, write_json  # noqa: E402
from program import run  # noqa: E402
from tools import schema_of  # noqa: E402

PHRASES = DATA / "demo/phrases.json"
# A request this close to a prompt of the suite would let the model score by recall.
NEAR_COPY = 0.75
# Rows for each tool (training, validation). Tools that are easily confused with others get more.
ROWS = {
    "text_tools": (12, 1),
    "validation": (12, 1),
    "git": (12, 1),
    "lsp": (13, 1),
    "cst": (13, 1),
    "domain": (13, 1),
}
# Rows with several calls: two in a short chain, three or four in a long one.
CHAIN_ROWS = {"short": (34, 2), "long": (38, 2)}
# A name in a prompt: `anything quoted`, some/path, file.py:3:4, snake_case.
CODE = re.compile(r"`[^`]*`|[^\s`]*\w[/._:][^\s`]*\w")
SLOT = re.compile(r"\$(?:(\w+)|\{(\w+)\})")


def near_copy(a: str, b: str) -> bool:
    """Do two prompts say nearly the same in nearly the same words?

    They are compared once more without their names: a prompt about another file is the same prompt.
    """
    masked = [CODE.sub(" code ", text.lower()) for text in (a, b)]
    for texts in ([a.lower(), b.lower()], masked):
        one, two = (re.findall(r"\w+", text) for text in texts)
        # The ratio depends on the order of the two. The higher one counts.
        for pair in ((one, two), (two, one)):
            if difflib.SequenceMatcher(None, *pair, autojunk=False).ratio() >= NEAR_COPY:
                return True
    return False


def fill(text: str, pools: dict, values: dict[str, str], rng: random.Random) -> str:
    """`text` with a value for every $slot. $Noun is $noun in CamelCase.

    A pool has the values of a slot: a list, or a range of numbers, {"from", "to"}. `values` keeps
    what was chosen for this row, so that the call has the names of the request.
    """

    def value(match):
        slot = match[1] or match[2]
        name = slot.lower()
        if name not in values:
            pool = pools[name]
            if isinstance(pool, dict):
                values[name] = str(rng.randint(pool["from"], pool["to"]))
            else:
                values[name] = fill(rng.choice(pool), pools, values, rng)
        if slot[0].isupper():
            return "".join(word.capitalize() for word in values[name].split("_"))
        return values[name]

    return SLOT.sub(value, text)


def call_text(tool: str, args: list[str], signature: str) -> str:
    """One call as Python source. The argument "=path" is the variable `path`."""
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
    """The code that answers a request: each call in order, with its result printed."""
    uses_path = any("=path" in args for _, *args in calls)
    lines = []
    for tool, *args in calls:
        lines += [f"result = {call_text(tool, args, signatures[tool])}", "print(result)"]
        if uses_path and tool == "goto_definition":
            lines.append("path = result.path")
    return "\n".join(lines)


def as_program(calls: list[list[str]], signatures: dict[str, str]) -> dict:
    """The answer that makes the calls in one program."""
    code = program(calls, signatures)
    call = (
        "<tool_call><function=execute_code>\n<parameter=code>\n"
        f"{code}\n</parameter>\n</function></tool_call>"
    )
    return {"role": "assistant", "content": call}


def as_json(calls: list[list[str]], signatures: dict[str, str]) -> dict:
    """The answer that makes the calls by name, up to the first that needs another one's result."""
    made = []
    for tool, *args in itertools.takewhile(lambda call: "=path" not in call, calls):
        types = schema_of(signatures[tool])["properties"]
        pairs = zip(types, args, strict=False)
        arguments = {k: int(a) if types[k]["type"] == "integer" else a for k, a in pairs}
        made.append({"type": "function", "function": {"name": tool, "arguments": arguments}})
    return {"role": "assistant", "content": "", "tool_calls": made}


def row(system: str, request: str, answer: dict) -> dict:
    """A row in the chat format."""
    asked = [{"role": "system", "content": system}, {"role": "user", "content": request}]
    return {"messages": [*asked, answer]}


def is_literal(call: dict) -> bool:
    """Can the call be made without the result of another? "_" stands for a computed argument."""
    return not any("_" in values for values in call["arguments"].values())


def json_suite(suite: dict) -> dict:
    """The suite whose answers are calls by name. It has no keywords: a call is right or wrong."""
    prompts = []
    for prompt in suite["prompts"]:
        known = itertools.takewhile(is_literal, prompt["answers"])
        kept = {key: prompt[key] for key in ("id", "category", "prompt", "max_tokens")}
        prompts.append(kept | {"answers": list(known)})
    return suite | {"name": f"{suite['name']}-json", "prompts": prompts}


def groups(tools: list[dict], phrases: dict):
    """Yield (name, [(calls, request), ...], number of training rows, number of validation rows)."""
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
    tools: list[dict], suite: dict, phrases: dict, answer=as_program
) -> tuple[list[dict], list[dict]]:
    """The training rows and the validation rows. Raises ValueError where the phrases run out."""
    signatures = {tool["name"]: tool["signature"] for tool in tools}
    held_out = [prompt["prompt"] for prompt in suite["prompts"]]
    pools = phrases["pools"]
    seen, train, valid = set(), [], []
    for name, templates, n_train, n_valid in groups(tools, phrases):
        # Each group has its own generator: a new phrase in one leaves the rows of the others alone.
        rng = random.Random(f"0:{name}")
        templates = rng.sample(templates, len(templates))
        made, wanted = [], n_train + n_valid
        for calls, template in itertools.islice(itertools.cycle(templates), 50 * len(templates)):
            values = {}
            request = fill(template, pools, values, rng)
            if request.lower() in seen or any(near_copy(request, text) for text in held_out):
                continue
            seen.add(request.lower())
            filled = [[tool, *(fill(a, pools, values, rng) for a in args)] for tool, *args in calls]
            made.append(row(suite["system"], request, answer(filled, signatures)))
            if len(made) == wanted:
                break
        else:
            raise ValueError(f"{PHRASES}: phrases for {len(made)} of {wanted} rows of {name}")
        train += made[:n_train]
        valid += made[n_train:]

    rng = random.Random("0:order")
    rng.shuffle(train)
    rng.shuffle(valid)
    return train, valid


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=DATA / "demo")
    parser.add_argument("--format", choices=("program", "json"), default="program")
    args = parser.parse_args()
    tools, suite = read_json(DATA / "tools.json")["tools"], read_json(DATA / "suite.json")
    answer = as_json if args.format == "json" else as_program
    try:
        train, valid = generate(tools, suite, read_json(PHRASES), answer)
    except KeyError as error:
        raise ValueError(f"{PHRASES}: has no entry {error}") from error
    args.out.mkdir(parents=True, exist_ok=True)
    for name, rows in (("train", train), ("valid", valid)):
        lines = [json.dumps(item, ensure_ascii=False) + "\n" for item in rows]
        (args.out / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    if args.format == "json":
        write_json(args.out / "suite.json", json_suite(suite))
    print(f"make_rows: {len(train)} training and {len(valid)} validation rows")


if __name__ == "__main__":
    run(main)
