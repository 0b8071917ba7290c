"""Find out in seconds whether a run would fail. preflight.ok is written only if no check fails.

The checks are in checks/, one subject a file. preflight.json has their findings, and facts. With
STRICT=1 a warning is a failure, unless there is nothing to do about it.
"""

import argparse
import gc
import logging
import sys
import time
from collections import Counter
from pathlib import Path

from chat_format import open_tokenizer
from checks import data, finding, plan
from checks import settings as config
from checks.parser import check_instrument, check_parser
from checks.rows import check_splits, check_suite, written_rows
from checks.schemas import check_answers, check_format, check_schemas
from checks.tokenizer import check_tokenizer
from expand_turns import expand
from files import read_json, write_json
from models import KEYS, TOKENIZER_FILES, find_model, revisions
from program import describe, run
from rows import read_rows
from served import tags
from settings import add_config, load_settings, number
from shapes import model_facts
from show import in_columns
from suite import read_suite, read_targets
from tools import read_schemas, schemas_of


def run_checks(settings: dict) -> tuple[list[dict], dict, bool]:
    """Run the checks whose input can be read. Returns (findings, facts, could all be read?)."""
    findings, facts, unreadable = [], {"experiment": settings["EXPERIMENT"]}, []

    def attempt(id: str, question, *arguments):
        """question(*arguments). If its input cannot be used, None, and that is a finding.

        An argument is None if it could not be read. Then the question is not asked.
        """
        if any(argument is None for argument in arguments):
            return None
        try:
            return question(*arguments)
        except Exception as error:  # libraries raise many kinds of errors on broken files
            unreadable.append(id)
            failure = finding(id, "fail", "input that cannot be used", describe(error))
            if failure not in findings:
                findings.append(failure)
            return None

    def ask(id: str, question, *arguments) -> None:
        """Keep the findings of one question, and its facts if it has any."""
        answer = attempt(id, question, *arguments)
        found, more = answer if isinstance(answer, tuple) else (answer or [], {})
        findings.extend(found)
        facts.update(more)

    ask("config.settings", config.check_settings, settings)
    if unreadable:
        return findings, facts, False
    ask("config.services", config.check_services, settings)
    ask("config.build", config.check_folder, settings)
    ask("config.results", config.check_baseline, settings)
    targets = attempt("config.results", read_targets, Path(settings["TARGETS"]))

    rows, expanded, counts = {}, {}, {}  # with EXPAND_TURNS=1 a row for each answer
    for split in ("train", "valid"):
        id, file = f"data.rows.{split}", Path(settings["DATA"]) / f"{split}.jsonl"
        if settings["CHECKSUMS"] != "none" and file.is_file():
            ask(f"data.checksum.{split}", data.check_checksum, Path(settings["CHECKSUMS"]), file)
        counts[split] = config.declared(settings, f"{split.upper()}_ROWS")
        found = attempt(id, list, read_rows(file))
        ask(id, data.check_count, settings, file, found)
        if id not in unreadable:
            rows[split], expanded[split] = found, list(expand(settings, found))
            counts[split] = facts[f"{split}_rows"] = len(expanded[split])
    train, valid, trained = rows.get("train"), rows.get("valid"), expanded.get("train")
    suite = attempt("suite.schema", read_suite, Path(settings["SUITE"]))
    schemas = attempt("tools.schema", read_schemas, Path(settings["TOOLS"]))
    special = Path(settings["SPECIAL_TOKENS"])
    folders, tokenizers = {}, {}
    for key in KEYS:
        id = f"model.{key.lower()}"
        folders[key] = attempt(id, find_model, settings, key, TOKENIZER_FILES)
        if tokenizers and folders[key] == folders["BASE_MODEL"]:  # the base is its own reference
            tokenizers[key] = tokenizers["BASE_MODEL"]
        else:
            tokenizers[key] = attempt(id, open_tokenizer, folders[key], key == "BASE_MODEL")
    base, reference = tokenizers.values()
    noted = revisions(settings)
    facts["models"] = {
        key: {"model": settings[key], "revision": noted.get(settings[key])} for key in KEYS
    }

    if base and reference:
        ask("tokenizer.special_tokens", check_tokenizer, folders, tokenizers, special)
    limit = number(settings, "MAX_SEQ_LENGTH")
    ask("template.render", check_splits, base, reference, trained, valid, limit)
    ask("suite.render", check_suite, base, suite)
    ask("suite.answers", check_answers, suite, schemas)
    ask("suite.categories", config.check_categories, suite, targets)
    ask("data.call_format", check_format, settings, train)
    if facts.get("call_format") == "json":
        ask("data.schemas", check_schemas, train, schemas)
    if schemas is not None:  # from here on a tool of any row, or prompt, is a tool
        for holder in [row for _, row in train or []] + (suite or {"prompts": []})["prompts"]:
            schemas |= schemas_of(holder.get("tools", []))
    # The answers as the template writes them; None if the template refuses them, which is said.
    with_text = [
        attempt("template.render", written_rows, base, split) for split in (train, trained, valid)
    ]
    ask("served.parser", check_parser, base, with_text[0])
    if facts.get("tool_calls"):
        parser = facts["tool_parser"] or "qwen3_coder"
        tokens = facts.get("supervised_tokens"), facts.get("train_tokens")
        ask("data.masked_calls", data.check_masked_calls, *with_text[:2], tags(parser), *tokens)
        how = schemas, facts.get("call_format")
        ask("instrument.gold", check_instrument, base, parser, with_text[2], *how)
    ask("data.tools", data.check_tools, train, suite, schemas)
    ask("data.calls", data.check_calls, train, schemas)
    ask("data.leaks", data.check_leaks, train, valid, suite)
    ask("data.select", data.check_select, settings, train, valid, schemas)
    ask("data.system_prompts", data.check_system_prompts, train, suite)

    folder = folders["BASE_MODEL"]
    shape = attempt("plan.model", read_json, folder and folder / "config.json")
    model = attempt("plan.model", model_facts, shape, settings)
    ask("config.settings", config.check_layers, settings, model and model["layers"])
    if model and "config.settings" not in unreadable:
        facts["model"] = model
        ask("model.vocabulary", plan.check_vocabulary, facts.get("largest_id"), model)
        ask("plan.epochs", plan.check_arithmetic, settings, *counts.values(), model)
        build, sizes = Path(settings["BUILD"]), plan.output_bytes(settings, model)
        missing = {k: n for k, n in sizes.items() if not (build / k / "config.json").is_file()}
        ask("resources.disk", plan.check_resources, settings, model, missing)
        ask("resources.download", plan.check_download, folder, model)
    return findings, facts, not unreadable


def say(findings: list[dict], seconds: float) -> None:
    """Print the findings that are not ok, the failures last, and a summary."""
    for entry in sorted(findings, key=lambda entry: entry["level"] == "fail"):
        if entry["level"] != "ok":
            print(in_columns(f"{entry['level']}  ", f"{entry['id']}: {entry['evidence']}"))
            if entry["fix"]:
                print(in_columns("      -> ", entry["fix"]))
    levels = Counter(entry["level"] for entry in findings)
    counts = f"{levels['ok']} checks ok, {levels['warn']} warned, {levels['fail']} failed"
    print(f"{counts}, {seconds:.1f} s")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_config(parser)
    parser.add_argument("--out", type=Path, required=True, help="folder for the two files")
    args = parser.parse_args()
    started = time.perf_counter()
    logging.getLogger("transformers").setLevel(logging.ERROR)  # its advice hides our lines
    settings = load_settings(args.config)
    for old in ("preflight.ok", "made/preflight"):
        (args.out / old).unlink(missing_ok=True)
    findings, facts, readable = run_checks(settings)
    if settings["STRICT"] == "1":
        for entry in findings:
            if entry["level"] == "warn" and entry["fix"]:
                entry["level"] = "fail"
    write_json(args.out / "preflight.json", {"schema": 1, "checks": findings, "facts": facts})
    say(findings, time.perf_counter() - started)
    if not readable:
        print("Some checks were left out: they need the input that cannot be used.")
    failed = [entry["id"] for entry in findings if entry["level"] == "fail"]
    if failed:
        print(f"preflight: failed checks: {', '.join(failed)}; see above", file=sys.stderr)
        return 1 if readable else 2
    (args.out / "preflight.ok").touch()
    return 0


if __name__ == "__main__":
    gc.disable()  # it would search the tokenizers' 300,000 entries for garbage: a tenth of the time
    run(main)
