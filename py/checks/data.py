"""What do the rows teach?"""

import re
from collections import Counter
from pathlib import Path

from calls import EXECUTE_CODE, invented, parse
from checks import finding
from checks.parser import count_calls, tools_called
from checks.settings import check_batch, declared
from files import sha256_of
from rows import assistant_texts, evenly, first_request, text_of
from score import calls_in_text, code_of
from settings import number
from show import some
from suite import wanted_tools
from validation import unseen_calls

RARE = 5  # calls; a tool with fewer is hardly taught
CALL_WORDS = re.compile(r"<function=|</?tool_?call|\bexecute_code\b")
FUNCTION = re.compile(r"\b([a-z_][a-z0-9_]*)\(")  # a tool as a system prompt writes it


def check_checksum(checksums: Path, file: Path) -> list[dict]:
    """Are the bytes of a split those of `checksums`, a list as `shasum -a 256` writes it?"""
    pinned, found = {}, sha256_of(file)
    for line in checksums.read_text(encoding="utf-8").splitlines():
        digest, _, name = line.partition("  ")
        pinned.setdefault(Path(name).name, digest)  # the first counts, as in bin/fetch.sh
    if file.name not in pinned:
        raise ValueError(
            f"{checksums}: has no line for {file.name}: SHA256, two spaces, the name;"
            " CHECKSUMS=none pins nothing"
        )
    level, evidence = "ok", f"sha256 {found[:12]}..."
    if found != pinned[file.name]:
        level = "fail"
        evidence += f", pinned {pinned[file.name][:12]}...: not the same file"
    fix = "fetch the file again; for data of your own set CHECKSUMS=none"
    what = f"{file} against {checksums}"
    return [finding(f"data.checksum.{file.stem}", level, what, evidence, fix)]


def check_count(settings: dict, file: Path, rows: list) -> list[dict]:
    """Does a split have as many rows as TRAIN_ROWS or VALID_ROWS says?"""
    key, count = f"{file.stem.upper()}_ROWS", len(rows)
    wanted = declared(settings, key)
    level, evidence = "ok", f"{count:,} rows"
    if wanted is None:
        check_batch(settings, count, f"the {count:,} rows of {file}")
    elif count != wanted:
        level, evidence = "fail", f"{evidence}, {key}={wanted}"
    fix = f"fetch the right file, or set {key}={count} (or auto)"
    return [finding(f"data.rows.{file.stem}", level, f"rows of {file}", evidence, fix)]


def check_tools(rows: list, suite: dict, schemas: dict[str, dict]) -> list[dict]:
    """Does training call every tool that the suite asks for, and every one its prompt names?"""
    calls = Counter(tool for _, text in assistant_texts(rows) for tool in tools_called(text))
    asked = {prompt["expected_tool"] for prompt in suite["prompts"] if prompt["keywords"]}
    for prompt in suite["prompts"]:
        wanted = set(wanted_tools(prompt))  # for several keywords these, which may be no tools
        asked |= wanted & schemas.keys() if prompt["keywords"] else wanted
    ordered = sorted(asked, key=lambda tool: (calls[tool], tool))
    counts = [f"{tool}: {calls[tool]} calls" for tool in ordered]
    few = sum(calls[tool] < RARE for tool in asked)
    level, evidence = "ok", f"{len(asked)} tools, with the fewest calls {some(counts)}"
    if few:
        level, evidence = "warn", some(counts[:few])
        if few < len(asked):
            evidence += f"; the other {len(asked) - few} have {RARE} or more"
    what = "calls of the suite's tools in the training rows"
    fix = "add rows that call these tools, or mend a name in the suite: else their prompts may fail"
    named = check_named_tools(calls, suite["system"], schemas)
    return [finding("data.tools", level, what, evidence, fix), named]


def check_named_tools(calls: Counter, system: str, schemas: dict[str, dict]) -> dict:
    """Does training use every tool that the suite's system prompt names?"""
    named = {tool for tool in schemas if tool in system} | {*FUNCTION.findall(system)}
    unused = sorted(name for name in named if not calls[name])
    level, evidence = "ok", f"{len(named)} named, all used in training"
    if unused:
        level, evidence = "warn", f"training never uses {some(unused, 5)}"
    what = "tools that the suite's system prompt names"
    fix = "the prompt offers what training never shows: take the names out, or add rows"
    return finding("data.unused_tools", level, what, evidence, fix)


def check_calls(rows: list, schemas: dict[str, dict]) -> list[dict]:
    """Are the calls that training teaches calls that could work?"""
    names, strange, broken, unmarked = Counter(), [], [], []
    for place, text in assistant_texts(rows):
        calls = calls_in_text(text)
        names.update(call["name"] for call in calls)
        unknown = [name for code in code_of(calls) for name in invented(code, schemas)]
        strange += [f"{place} calls {name}" for name in unknown]
        if any(parse(code) is None for code in code_of(calls)):
            broken.append(place)
        if not calls and CALL_WORDS.search(text):
            unmarked.append(place)
    known = {*schemas, EXECUTE_CODE}
    strange += [f"{count} calls of {name}" for name, count in names.items() if name not in known]
    problems = {
        "functions that are no tool": strange,
        "code that is not Python": broken,
        "text like a call that is none": unmarked,
    }
    found = [f"{what}: {some(places)}" for what, places in problems.items() if places]
    level = "warn" if found else "ok"
    evidence = "; ".join(found) or f"{names.total():,} calls"
    fix = "a model learns these too: mend the rows"
    return [finding("data.calls", level, "the calls that the training rows teach", evidence, fix)]


def check_leaks(train: list, valid: list, suite: dict) -> tuple[list[dict], dict]:
    """Are prompts of the validation split, or of the suite, also training prompts? Facts: which."""
    trained = {first_request(row): place for place, row in reversed(train)}
    asked = {
        "valid": ("validation loss", {place: first_request(row) for place, row in valid}),
        "suite": ("score", {p["id"]: p["prompt"].strip() for p in suite["prompts"]}),
    }
    found, facts = [], {}
    for split, (measure, requests) in asked.items():
        leaks = [f"{place} = {trained[r]}" for place, r in requests.items() if r in trained]
        facts[f"{split}_prompts_in_train"] = leaks
        what = f"prompts of {split} that are also in train"
        level, evidence = "ok", f"0 of {len(requests)}"
        if leaks:
            level, evidence = "warn", f"{len(leaks)} of {len(requests)}: {some(leaks)}"
        fix = f"the {measure} looks better than it is: take them out of train, or of {split}"
        found.append(finding(f"data.leaks.{split}", level, what, evidence, fix))
    return found, facts


def check_select(settings: dict, train: list, valid: list, schemas: dict) -> list[dict]:
    """With SELECT=calls: is there a validation row that the checkpoints can be asked?"""
    if settings["SELECT"] != "calls":
        return []
    unseen, seen = unseen_calls(train, valid, schemas)
    left = len(unseen) - len(evenly(unseen, number(settings, "SELECT_ROWS")))
    evidence = f"{len(unseen)} of {len(valid)}; training has seen {seen} more"
    evidence += f"; {left} are left for the evaluation"
    level = "fail" if not unseen else "ok" if left else "warn"
    what = "validation rows with a call, for SELECT=calls"
    fix = (
        "set SELECT=loss or a smaller SELECT_ROWS, or add rows with calls and prompts of their own"
    )
    return [finding("data.select", level, what, evidence, fix)]


def check_system_prompts(rows: list, suite: dict) -> list[dict]:
    """Is a model asked with the system prompt that it was trained with?"""
    first = [row["messages"][0] for _, row in rows]
    prompts = Counter(m["content"] if m["role"] == "system" else "" for m in first)
    same = prompts[suite["system"]]
    asked = "the suite's system prompt" if suite["system"] else "no system prompt, as the suite"
    level, evidence = "ok", f"{same:,} of {len(rows):,} training rows have {asked}"
    if same < len(rows):
        level = "warn"
        for text, count in prompts.most_common(4):
            evidence += f"; {count:,} rows have {repr(text[:40]) if text else 'no system prompt'}"
    what = "the suite's system prompt in the training rows"
    fix = "the model is asked in a way it was not trained for: give rows and suite one prompt"
    return [finding("data.system_prompts", level, what, evidence, fix)]


def check_masked_calls(
    train: list, trained: list, tags: tuple[str, str], supervised: int, tokens: int
) -> tuple[list[dict], dict]:
    """Which tool calls does --mask-prompt keep out of the loss? It trains the last message only.

    `trained` has the rows as training sees them. With EXPAND_TURNS several come from one row of
    `train`, and have its place. `tags` stand around a call.
    """
    written, in_loss = Counter(), Counter()  # place -> number of calls
    for place, text in assistant_texts(train):
        written[place] += count_calls(text, tags)
    for place, row in trained:
        in_loss[place] += count_calls(text_of(row["messages"][-1]), tags)
    with_calls = [place for place, count in written.items() if count]
    untrained = [place for place in with_calls if not in_loss[place]]
    calls, masked = written.total(), written.total() - in_loss.total()
    level, evidence = "ok", f"all {calls:,} calls are in the loss"
    if masked:
        level = "fail" if untrained == with_calls else "warn"
        evidence = (
            f"{len(untrained):,} of {len(with_calls):,} rows with a call have it in an earlier turn"
            f" only, outside the loss ({masked:,} of {calls:,} calls)"
        )
    evidence += f"; {supervised / tokens:.0%} of {tokens:,} tokens are supervised"
    what = "tool calls that --mask-prompt trains"
    fix = (
        "EXPAND_TURNS=1 makes a row of each assistant turn, so that every call is trained;"
        " EPOCHS or ITERS then follow the new count of rows"
    )
    found = finding("data.masked_calls", level, what, evidence, fix)
    return [found], {"calls_outside_loss": masked}
