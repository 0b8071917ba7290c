"""What do the rows teach?

These checks fail for rows that are malformed, miscounted, or not the pinned bytes. They warn of
what training leaves out (tools, calls outside the loss) and of what makes a score look better or
worse than it is (prompts in both splits, other system prompts).
"""

import itertools
import re
from collections import Counter
from pathlib import Path

from calls import is_python
from checks import finding
from checks.parser import answers, count_calls, tools_called
from checks.settings import check_batch, declared
from files import sha256_of
from rows import read_rows
from score import EXECUTE_CODE, calls_in_text, code_of
from show import some

RARE = 5  # calls; a tool with fewer is hardly taught
PROMPT_SHOWN = 40  # characters
CALL_WORDS = re.compile(r"<function=|</?tool_?call|\bexecute_code\b")
FUNCTION = re.compile(r"\b([a-z_][a-z0-9_]*)\(")  # a tool as a system prompt writes it


def pinned_checksum(path: Path, file: Path) -> str:
    """The sha256 that `path`, a list as `shasum -a 256` writes it, has for a file of that name."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot be read as a list of checksums") from error
    for place, line in enumerate(lines, start=1):
        digest, _, name = line.partition("  ")
        if not re.fullmatch("[0-9a-f]{64}", digest) or not name:
            raise ValueError(f"{path}:{place}: expected SHA256, two spaces, a file name")
        if Path(name).name == file.name:
            return digest
    raise ValueError(f"{path}: lists no {file.name}; CHECKSUMS=none pins nothing")


def check_checksum(checksums: str, file: Path) -> list[dict]:
    """Are the bytes of a split the pinned ones? CHECKSUMS=none gives no finding."""
    if checksums == "none":
        return []
    pinned, found = pinned_checksum(Path(checksums), file), sha256_of(file)
    level, evidence = "ok", f"sha256 {found[:12]}..."
    if found != pinned:
        level, evidence = "fail", f"{evidence}, pinned {pinned[:12]}...: not the same file"
    fix = "fetch the file again; for data of your own set CHECKSUMS=none"
    what = f"{file} against {checksums}"
    return [finding(f"data.checksum.{file.stem}", level, what, evidence, fix)]


def check_count(settings: dict, file: Path) -> list[dict]:
    """Is every row of a split well formed, and are there as many as TRAIN_ROWS or VALID_ROWS say?

    Raises ValueError with path:line.
    """
    key = f"{file.stem.upper()}_ROWS"
    count, wanted = sum(1 for _ in read_rows(file)), declared(settings, key)
    level, evidence = "ok", f"{count:,} rows"
    if wanted is None:
        check_batch(settings, count, f"the {count:,} rows of {file}")
    elif count != wanted:
        level, evidence = "fail", f"{evidence}, {key}={wanted}"
    fix = f"fetch the right file, or set {key}={count} (or auto)"
    return [finding(f"data.rows.{file.stem}", level, f"rows of {file}", evidence, fix)]


def check_tools(rows, suite: dict, tools: set[str]) -> list[dict]:
    """Does training call every tool that the suite asks for, and every one its prompt names?"""
    calls = Counter(tool for _, text in answers(rows) for tool in tools_called(text))
    asked = {prompt["expected_tool"] for prompt in suite["prompts"]}
    asked |= tools & {word for p in suite["prompts"] if p["multi"] for word in p["keywords"]}
    ordered = sorted(asked, key=lambda tool: (calls[tool], tool))
    fewest = ", ".join(f"{tool} {calls[tool]}" for tool in ordered[:3])
    level, evidence = "ok", f"{len(asked)} tools, fewest calls: {fewest}"
    few = [
        f"{tool}: {f'{calls[tool]} calls' if tool in tools else 'not one of TOOLS'}"
        for tool in ordered
        if calls[tool] < RARE
    ]
    if few:
        level, enough = "warn", len(asked) - len(few)
        evidence = f"{some(few)}; the other {enough} of {len(asked)} have {RARE} or more"
    what = "calls of the suite's tools in the training rows"
    fix = "add rows that call these tools, or mend a name in the suite: else their prompts fail"
    return [
        finding("data.tools", level, what, evidence, fix),
        check_named_tools(calls, suite["system"], tools),
    ]


def check_named_tools(calls: Counter, system: str, tools: set[str]) -> dict:
    """Does training use every tool that the suite's system prompt names?"""
    named = {tool for tool in tools if tool in system} | {*FUNCTION.findall(system)}
    unused = sorted(name for name in named if not calls[name])
    level, evidence = "ok", f"{len(named)} named, all used in training"
    if unused:
        level, evidence = "warn", f"training never uses {some(unused, 5)}"
    what = "tools that the suite's system prompt names"
    fix = "the prompt offers what training never shows: take the names out, or add rows"
    return finding("data.unused_tools", level, what, evidence, fix)


def check_calls(rows, tools: set[str]) -> list[dict]:
    """Are the calls that training teaches calls that could work?"""
    names, broken, unmarked = Counter(), [], []
    for place, text in answers(rows):
        calls = calls_in_text(text)
        names.update(call["name"] for call in calls)
        if any(not is_python(code) for code in code_of(calls)):
            broken.append(place)
        if not calls and CALL_WORDS.search(text):
            unmarked.append(place)
    strange = [f"{count} of {n}" for n, count in names.items() if n not in {*tools, EXECUTE_CODE}]
    problems = {
        "calls of functions that are no tools": strange,
        "code that is not Python": broken,
        "text like a call that is none": unmarked,
    }
    found = [f"{what}: {some(places)}" for what, places in problems.items() if places]
    level = "warn" if found else "ok"
    evidence = "; ".join(found) or f"{names.total():,} calls, of {some(sorted(names)) or 'nothing'}"
    fix = "a model learns these too: mend the rows"
    return [finding("data.calls", level, "the calls that the training rows teach", evidence, fix)]


def first_request(messages: list[dict]) -> str:
    """What the user first asks for; two rows share a prompt when these are equal."""
    return next(m["content"] for m in messages if m["role"] == "user").strip()


def check_leaks(train, valid, suite: dict) -> tuple[list[dict], dict]:
    """Are prompts of the validation split, or of the suite, also training prompts? Facts: which."""
    trained = {}  # request -> the first row that has it
    for place, messages in train:
        trained.setdefault(first_request(messages), place)
    prompts = {
        "valid": {place: first_request(messages) for place, messages in valid},
        "suite": {prompt["id"]: prompt["prompt"].strip() for prompt in suite["prompts"]},
    }
    fixes = {
        "valid": "the validation loss looks better than it is: take them out of one split",
        "suite": "the score looks better than it is: take them out of training",
    }
    found, facts = [], {}
    for split, requests in prompts.items():
        leaks = [f"{place} = {trained[r]}" for place, r in requests.items() if r in trained]
        facts[f"{split}_prompts_in_train"] = leaks
        what = f"prompts of {split} that are also in train"
        level, evidence = "ok", f"0 of {len(requests)}"
        if leaks:
            level, evidence = "warn", f"{len(leaks)} of {len(requests)}: {some(leaks)}"
        found.append(finding(f"data.leaks.{split}", level, what, evidence, fixes[split]))
    return found, facts


def check_system_prompts(rows, suite: dict) -> list[dict]:
    """Is a model asked with the system prompt that it was trained with?"""
    prompts = Counter(
        messages[0]["content"] if messages[0]["role"] == "system" else "" for _, messages in rows
    )
    total, same = prompts.total(), prompts[suite["system"]]
    level, evidence = "ok", f"{same:,} of {total:,} rows have it"
    if same < total:
        level = "warn"
        listed = [
            f"{count:,} x {text[:PROMPT_SHOWN] or 'none'!r}"
            for text, count in prompts.most_common(4)
        ]
        evidence += f"; {len(prompts)} in all: {some(listed, 4)}"
    what = "the suite's system prompt in the training rows"
    fix = "the model is asked in a way it was not trained for: give rows and suite one prompt"
    return [finding("data.system_prompts", level, what, evidence, fix)]


def check_masked_calls(rows, tags: tuple[str, str], facts: dict) -> tuple[list[dict], dict]:
    """Which tool calls does --mask-prompt keep out of the loss? It trains the last message only.

    The rows that EXPAND_TURNS makes of one conversation have its place and follow each other: a
    call is trained when one of them ends with it. `tags` stand around a call.
    """
    with_calls, untrained, calls, masked = 0, 0, 0, 0
    for _, conversation in itertools.groupby(rows, key=lambda row: row[0]):
        counts = [
            [count_calls(m["content"], tags) for m in messages if m["role"] == "assistant"]
            for _, messages in conversation
        ]
        trained, written = sum(turns[-1] for turns in counts), sum(counts[-1])
        with_calls += written > 0
        untrained += written > 0 and not trained
        calls += written
        masked += written - trained
    level, evidence = "ok", f"all {calls:,} calls are in the loss"
    if masked:
        level = "fail" if untrained == with_calls else "warn"
        evidence = (
            f"{untrained:,} of {with_calls:,} rows with a call have it in an earlier turn only,"
            f" outside the loss ({masked:,} of {calls:,} calls)"
        )
    share = facts["supervised_tokens"] / max(1, facts["train_tokens"])
    evidence += f"; {share:.0%} of {facts['train_tokens']:,} tokens are supervised"
    what = "tool calls that --mask-prompt trains"
    fix = (
        "EXPAND_TURNS=1 makes a row of each assistant turn, so that every call is trained;"
        " EPOCHS or ITERS then follow the new count of rows"
    )
    found = finding("data.masked_calls", level, what, evidence, fix)
    return [found], {"calls_outside_loss": masked}
