"""Find out in seconds whether a run would fail. Writes preflight.json, and preflight.ok if not.

The checks are in checks/, one subject a file. Each returns findings {id, level: "fail" | "warn" |
"ok", what, evidence, fix}. Input that cannot be read is a finding, too. preflight.ok is written
only if no finding has the level "fail". With STRICT=1 a warning is a failure.
"""

import argparse
import logging
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path

from chat_format import open_tokenizer
from checks import data, finding, plan
from checks import settings as config
from checks.parser import check_instrument, check_parser
from checks.rows import check_splits, check_suite
from checks.tokenizer import check_tokenizer
from expand_turns import training_rows
from files import read_json, write_json
from models import KEYS, TOKENIZER_FILES, find_model, revisions
from rows import placed_rows
from served import tags
from settings import add_config, load_settings, number
from shapes import model_facts
from show import in_columns
from suite import read_suite, read_tools

# The ids of the checks begin with these words. If one is missing, its input could not be read.
GROUPS = ("data", "tokenizer", "template", "served", "instrument", "plan", "resources")


def open_models(settings: dict, attempt) -> tuple[dict, dict]:
    """Folders and tokenizers: base first, reference second, None for what cannot be read."""
    folders, tokenizers = {}, {}
    for key in KEYS:
        id = f"model.{key.lower()}"
        folder = folders[key] = attempt(id, find_model, settings, key, TOKENIZER_FILES)
        if tokenizers and folder == folders["BASE_MODEL"]:
            tokenizers[key] = tokenizers["BASE_MODEL"]
        else:
            served = key == "BASE_MODEL"
            tokenizers[key] = folder and attempt(id, open_tokenizer, folder, served)
    return folders, tokenizers


def run_checks(settings: dict) -> tuple[list[dict], dict, bool]:
    """Run every check that can be run. Returns (findings, facts, was all input readable?)."""
    findings, facts, unreadable = [], {"experiment": settings["EXPERIMENT"]}, []

    def attempt(id: str, question, *args):
        """question(*args). If its input cannot be read, there is a finding, and None."""
        try:
            return question(*args)
        except Exception as error:  # libraries raise many kinds of errors on broken files
            unreadable.append(id)
            findings.append(finding(id, "fail", "input that cannot be used", describe(error)))
            return None

    def ask(id: str, question, *args) -> bool:
        """Keep the findings of one question, and its facts if it has any. Could it be answered?"""
        answer = attempt(id, question, *args)
        found, more = answer if isinstance(answer, tuple) else (answer or [], {})
        findings.extend(found)
        facts.update(more)
        return answer is not None

    if not ask("config.settings", config.check_settings, settings):
        return findings, facts, False
    ask("config.services", config.check_services, settings)
    ask("config.build", config.check_folder, settings)
    ask("config.results", config.check_results, settings)
    files = [Path(settings["DATA"]) / f"{split}.jsonl" for split in ("train", "valid")]
    rows_readable = True
    for file in files:
        if file.is_file():
            ask(f"data.checksum.{file.stem}", data.check_checksum, settings["CHECKSUMS"], file)
        rows_readable &= ask(f"data.rows.{file.stem}", data.check_count, settings, file)

    # Each check reads the rows again, so that they need not fit into memory.
    train, valid = (partial(placed_rows, file) for file in files)
    trained = partial(training_rows, settings, "train")
    suite = attempt("suite.schema", read_suite, Path(settings["SUITE"]))
    tools = attempt("tools.schema", read_tools, Path(settings["TOOLS"]))
    folders, tokenizers = open_models(settings, attempt)
    base, reference = tokenizers.values()
    if base and reference:
        special = Path(settings["SPECIAL_TOKENS"])
        ask("tokenizer.special_tokens", check_tokenizer, folders, tokenizers, special)

    facts["models"] = {
        key: {"model": settings[key], "revision": revisions(settings).get(settings[key])}
        for key in KEYS
    }
    if rows_readable:
        for split in ("train", "valid"):
            facts[f"{split}_rows"] = sum(1 for _ in training_rows(settings, split))
    if rows_readable and base:
        limit = number(settings, "MAX_SEQ_LENGTH")
        readable = ask("template.render", check_splits, base, reference, trained(), valid(), limit)
        if suite:
            ask("suite.render", check_suite, base, suite)
        ask("served.parser", check_parser, base, train)
        parser = facts.get("tool_parser") or "qwen3_coder"
        if facts.get("tool_calls"):
            if readable:
                ask("data.masked_calls", data.check_masked_calls, trained(), tags(parser), facts)
            if tools:
                ask("instrument.gold", check_instrument, base, parser, valid(), tools)
    if rows_readable and suite:
        if tools:
            ask("data.tools", data.check_tools, train(), suite, tools)
            ask("data.calls", data.check_calls, train(), tools)
        ask("data.leaks", data.check_leaks, train(), valid(), suite)
        ask("data.system_prompts", data.check_system_prompts, train(), suite)

    folder = folders["BASE_MODEL"]
    if folder and (folder / "config.json").is_file():
        shape = attempt("model.base_model", read_json, folder / "config.json")
        model = shape and attempt("plan.model", model_facts, shape, settings)
        if model and ask("config.settings", config.check_layers, settings, model["layers"]):
            model = facts["model"] = plan.with_float32(model)
            ask("model.vocabulary", plan.check_vocabulary, facts.get("largest_id", 0), model)
            rows = [
                facts.get(key.lower()) or config.declared(settings, key)
                for key in ("TRAIN_ROWS", "VALID_ROWS")
            ]
            if all(rows):
                ask("plan.epochs", plan.check_arithmetic, settings, *rows, model)
            missing = plan.missing_bytes(settings, model)
            ask("resources.disk", plan.check_resources, settings, model, missing)
            ask("resources.download", plan.check_download, folder, model)
    return findings, facts, not unreadable


def describe(error: Exception) -> str:
    """The message of an exception in one line, with its type unless it is one of ours."""
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    text = " ".join(str(error).splitlines())
    return text if isinstance(error, ValueError) else f"{type(error).__name__}: {text}"


def say(findings: list[dict], facts: dict, seconds: float) -> None:
    """Print the findings that are not ok, each with its evidence and its fix, and a summary."""
    for entry in findings:
        if entry["level"] != "ok":
            print(in_columns(f"{entry['level']}  ", f"{entry['id']}: {entry['evidence']}"))
            if entry["fix"]:
                print(in_columns("      -> ", entry["fix"]))
    levels = Counter(entry["level"] for entry in findings)
    counts = f"{levels['ok']} checks ok, {levels['warn']} warned, {levels['fail']} failed"
    print(f"{counts}, {seconds:.1f} s")
    if facts["not_checked"]:
        print("Not checked, because of what failed above:", ", ".join(facts["not_checked"]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_config(parser)
    parser.add_argument("--out", type=Path, required=True, help="folder for the two files")
    args = parser.parse_args()
    started = time.perf_counter()
    logging.getLogger("transformers").setLevel(logging.ERROR)  # its advice hides our lines
    try:
        settings = load_settings(args.config)
        for old in ("preflight.ok", "made/preflight"):
            (args.out / old).unlink(missing_ok=True)
        findings, facts, readable = run_checks(settings)
        if settings["STRICT"] == "1":
            for entry in findings:
                entry["level"] = "fail" if entry["level"] == "warn" else entry["level"]
        seen = {entry["id"].partition(".")[0] for entry in findings}
        facts["not_checked"] = [group for group in GROUPS if group not in seen]
        report = {"schema": 1, "checks": findings, "facts": facts}
        write_json(args.out / "preflight.json", report)
    except (ValueError, OSError) as error:
        print(f"preflight: {describe(error)}", file=sys.stderr)
        return 2
    say(findings, facts, time.perf_counter() - started)
    failed = [entry for entry in findings if entry["level"] == "fail"]
    if not failed:
        (args.out / "preflight.ok").touch()
        return 0
    text = "; ".join(filter(None, (failed[0]["evidence"], failed[0]["fix"])))
    more = f" ({len(failed) - 1} more in {args.out / 'preflight.json'})" if failed[1:] else ""
    print(f"preflight: {failed[0]['id']}: {text}{more}", file=sys.stderr)
    return 1 if readable else 2


if __name__ == "__main__":
    sys.exit(main())
