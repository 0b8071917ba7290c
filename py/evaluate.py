"""Ask a served model every prompt of a suite and score the answers: writes eval.json."""

import argparse
import contextlib
import time
from pathlib import Path

import mlx_lm

from asking import ask_all, forget_server
from chat_format import TEMPLATE_ARGUMENTS, open_tokenizer
from client import WrongParser, choose_model, open_server
from counts import called_instead, count_formats, count_tools
from files import files_sha256, sha256_of, weights_sha256, write_json
from judge import prepare
from program import Failed, run
from rows import read_rows
from score import call_format, score_answer
from server import start_server
from settings import secret
from stats import summarize
from suite import messages_of, read_suite, read_targets, wanted_tools
from tools import read_schemas, schemas_of
from validation import mark, rows_to_ask, summarize_calls

SETTINGS = ("temperature", "max_tokens", "concurrency", "seed")
KEPT = ("finish_reason", "prompt_tokens", "completion_tokens", "seconds", "attempts", "text")


def find_target(args, parser: str | None = None) -> dict:
    """Who is asked, and what is known of the model. Starts no server.

    `identity` is what tells the model from others. Of a server that is running already neither the
    `weights` nor the `tokenizer` are known: they are missing.
    """
    if args.url:
        server = open_server(args.url, secret("EVAL_API_KEY"))
        id = choose_model(server, args.served_model)
        return {
            "server": contextlib.nullcontext(server),
            "served_id": id,
            "identity": {"url": server.url, "model": id},
            "described": {"kind": "openai", "version": None, "tool_parser": None},
        }
    if args.work:
        found = prepare(args, parser)
    else:
        served = args.serve or args.model
        found = {"served": served, "float32": served != args.model, "adapter": None}
        found["weights"] = weights_sha256(args.model)
    served, adapter = found["served"], found["adapter"]
    tokenizer = open_tokenizer(served)
    identity = {"weights": weights_sha256(served) if found["float32"] else found["weights"]}
    identity["files"] = files_sha256(served)
    if adapter:
        identity["adapters"] = weights_sha256(adapter)
        identity["adapter_config"] = files_sha256(adapter)
    return found | {
        "server": start_server(served, args.port, args.server_log, adapter),
        "served_id": str(served.resolve()),
        "identity": identity,
        "tokenizer": tokenizer,
        "described": {
            "kind": "mlx_lm.server",
            "version": mlx_lm.__version__,
            "tool_parser": tokenizer.init_kwargs.get("tool_parser_type"),
        },
    }


def ask(questions: list[dict], args, score, parser: str | None = None) -> tuple[dict, list]:
    """(who was asked, the answers). A model of others gets the tool parser that keeps its calls."""
    target = find_target(args, parser)
    try:
        return target, ask_all(questions, target, args, score)
    except WrongParser as error:
        if not args.work or parser:
            raise
        return ask(questions, args, score, error.parser)


def score_of(question: dict, answer: dict, schemas: dict, call_format: str) -> float:
    """The score of an answer; a row's is 1 with the right calls."""
    if "wanted" in question:
        return mark(question, answer, schemas)["arguments"]
    return score_answer(question, answer["text"], answer["calls"], schemas, call_format)["score"]


def entry_of(prompt: dict, answer: dict, tools: set[str], *how) -> dict:
    """A prompt's entry in eval.json. Without an answer its scores are None."""
    entry = {key: prompt[key] for key in ("id", "category", "prompt")}
    entry["wanted"] = wanted_tools(prompt)
    entry |= score_answer(prompt, answer["text"], answer["calls"], *how)
    if "error" in answer:
        entry |= {key: None for key in entry if key.endswith("score")}
    entry |= {key: answer[key] for key in KEPT if key in answer}
    entry |= {key: answer[key] for key in ("thinking", "error") if answer.get(key)}
    return entry | {"instead": called_instead(entry, tools)}


def evaluate(args) -> None:
    """Write the result, and print its score.

    It is eval.json when every question has an answer. Else it is eval.incomplete.json, and the last
    whole result stays as it is. Raises Failed then.
    """
    started = time.perf_counter()
    suite = read_suite(args.suite)
    targets = read_targets(args.targets, [prompt["category"] for prompt in suite["prompts"]])
    schemas = read_schemas(args.tools)
    format, train = args.call_format, args.data / "train.jsonl"
    if format == "auto":
        format = call_format(read_rows(train) if train.is_file() else [])
    prompts = [
        prompt | {"messages": messages_of(suite, prompt), "loose": suite["loose"]}
        for prompt in suite["prompts"]
    ]
    rows, left_out = [], 0
    if args.valid_calls >= 0:
        rows, left_out = rows_to_ask(args.data, args.valid_calls, schemas, args.chosen_rows)
    for row in rows:  # a tool of a row is no invented name
        schemas |= schemas_of(row["tools"])
    target, answered = ask([*prompts, *rows], args, lambda *pair: score_of(*pair, schemas, format))
    missing = sum("error" in answer for answer in answered)
    tools = set(schemas).union(*(schemas_of(prompt["tools"]) for prompt in prompts))
    entries = [entry_of(prompt, answered.pop(0), tools, schemas, format) for prompt in prompts]
    pairs = zip(rows, answered, strict=True)
    marked = [mark(row, answer, schemas) for row, answer in pairs if "error" not in answer]
    settings = {key: vars(args)[key] for key in SETTINGS} | TEMPLATE_ARGUMENTS
    result = {
        "schema": 1,
        "experiment": args.experiment,
        "model": {
            "path": str(args.model or args.url),
            "weights_sha256": target.get("weights"),
            "served_id": target["served_id"],
            "float32": target.get("float32", False),
            "adapters": str(args.adapters) if args.adapters else None,
            "adapters_sha256": target["identity"].get("adapters"),
            "checkpoint": args.checkpoint,
        },
        "suite": {
            "name": suite["name"],
            "sha256": sha256_of(args.suite),
            "n": len(prompts),
            "scored_by": "keywords" if any(p["keywords"] for p in prompts) else "answers",
        },
        "settings": settings | {"call_format": format},
        "server": target["described"],
        "prompts": entries,
        **summarize(entries, targets),
        "calls": summarize_calls(marked, left_out),
        "formats": count_formats(entries),
        "tools": count_tools(entries, marked, tools),
        "seconds": round(time.perf_counter() - started, 1),
    }
    name = args.out.name.removesuffix(".tmp").removesuffix(".json")
    incomplete = args.out.with_name(f"{name}.incomplete.json")
    write_json(incomplete if missing else args.out, result)
    if result["overall"] is not None:
        low, high = result["ci95"]
        exact = f" exact {result['exact_overall']:.1%}," if "exact_overall" in result else ""
        print(
            f"score {result['overall']:.1%} (95% interval {low:.1%} to {high:.1%}), strict"
            f" {result['strict_overall']:.1%},{exact} {result['seconds']:.0f} s"
        )
    if missing:
        raise Failed(f"{missing} prompts have no answer; run it again, and only they are asked")
    incomplete.unlink(missing_ok=True)
    if args.url:
        forget_server(args.answers, target["identity"]["url"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, usage=argparse.SUPPRESS)
    who = parser.add_mutually_exclusive_group(required=True)
    who.add_argument("--model", type=Path, help="folder; with --work also a name on the hub")
    who.add_argument("--url", default="", help="an OpenAI-compatible server that is running")
    parser.add_argument("--serve", type=Path, help="its float32 copy, which is served in its place")
    parser.add_argument("--work", type=Path, help="folder to ready another's model in (judge.py)")
    parser.add_argument("--adapters", type=Path, help="with --work: adapters on top of the model")
    parser.add_argument("--checkpoint", type=int, help="one of their numbered files")
    parser.add_argument("--served-model", default="", help="which model of --url to ask")
    parser.add_argument("--suite", type=Path, required=True)
    parser.add_argument("--targets", type=Path, required=True, help="JSON with 'targets'")
    parser.add_argument("--tools", type=Path, required=True, help="JSON with the tools, or none")
    parser.add_argument("--data", type=Path, default=Path("."), help="folder of the rows")
    parser.add_argument("--call-format", choices=("auto", "program", "json"), default="auto")
    parser.add_argument("--chosen-rows", type=int, help="SELECT_ROWS, if SELECT is calls")
    parser.add_argument("--valid-calls", type=int, default=-1, help="rows; 0: all; -1: none")
    parser.add_argument("--out", type=Path, required=True, help="eval.json to write")
    parser.add_argument("--answers", type=Path, help="default: answers.jsonl beside --out")
    parser.add_argument("--server-log", type=Path, required=True, help="of the server started here")
    parser.add_argument("--experiment", default="", help="name to record")
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0, help="of sampling, above temperature 0")
    parser.add_argument("--max-tokens", type=int, default=0, help="0: each prompt's own budget")
    parser.add_argument("--concurrency", type=int, default=8, help="requests in flight")
    parser.add_argument("--timeout", type=float, default=600, help="seconds for one answer")
    parser.add_argument("--port", type=int, default=0, help="0: any free port")
    args = parser.parse_args()
    args.answers = args.answers or args.out.with_name("answers.jsonl")
    evaluate(args)


if __name__ == "__main__":
    run(main)
