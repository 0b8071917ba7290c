"""Ask a served model every prompt of a suite and score the answers: writes eval.json.

The answers come over HTTP, as a user of the model would get them: from an `mlx_lm server` that is
started here for the model that was built, or, with --url, from any OpenAI-compatible server.

Each answer is kept in the file --answers as it arrives, beside all that it depends on: the weights,
the prompt and the settings. What is kept is not asked again.
"""

import argparse
import contextlib
import hashlib
import json
import time
from multiprocessing.pool import ThreadPool
from pathlib import Path

import mlx.core as mx
import mlx_lm

from answers import as_text, forget_server, keep_answer, read_answers
from chat_format import TEMPLATE_ARGUMENTS, format_prompt, open_tokenizer
from client import RequestError, ask, check_prompt_tokens, choose_model, open_server, read_answer
from files import sha256_of, weights_sha256, write_json
from program import Failed, run
from score import score_answer
from server import Server, start_server
from settings import secret
from stats import summarize
from suite import messages_of, read_suite, read_targets, read_tools

SETTINGS = ("temperature", "max_tokens", "concurrency", "seed")
KEPT = ("finish_reason", "prompt_tokens", "completion_tokens", "seconds", "attempts", "text")


def find_target(args) -> dict:
    """Who is asked, and what is known of the model. Starts no server.

    `identity` is what tells the model from others. Of a server that is running already neither the
    weights nor the tokenizer are known: they are None.
    """
    if args.url:
        server = open_server(args.url, secret("EVAL_API_KEY"))
        id = choose_model(server, args.served_model)
        return {
            "server": contextlib.nullcontext(server),
            "served_id": id,
            "identity": {"url": server.url, "model": id},
            "weights": None,
            "tokenizer": None,
            "described": {"kind": "openai", "version": None, "tool_parser": None},
        }
    served = args.serve or args.model
    tokenizer = open_tokenizer(served)
    weights = weights_sha256(args.model)
    served_weights = weights if served == args.model else weights_sha256(served)
    return {
        "server": start_server(served, args.port, args.server_log),
        "served_id": str(served.resolve()),
        "identity": {"weights": served_weights, "files": files_sha256(served)},
        "weights": weights,
        "tokenizer": tokenizer,
        "described": {
            "kind": "mlx_lm.server",
            "version": mlx_lm.__version__,
            "tool_parser": tokenizer.init_kwargs.get("tool_parser_type"),
        },
    }


def files_sha256(model: Path) -> str:
    """sha256 over what stands beside a model's weights: config, tokenizer, chat template."""
    digest = hashlib.sha256()
    for file in sorted([*model.glob("*.json"), *model.glob("*.jinja")]):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def question_of(prompt: dict, suite: dict, target: dict, args) -> str:
    """All that the answer to a prompt depends on (answers.py)."""
    return as_text(
        {
            **target["identity"],
            "messages": messages_of(suite, prompt),
            "max_tokens": min(prompt["max_tokens"], args.max_tokens or prompt["max_tokens"]),
            "temperature": args.temperature,
            "seed": args.seed if args.temperature else None,
            "concurrency": args.concurrency,
            "mlx": mx.__version__,
            "mlx_lm": mlx_lm.__version__,
            **TEMPLATE_ARGUMENTS,
        }
    )


def answer_question(server: Server, prompt: dict, question: str, target: dict, args) -> dict:
    """Ask a question, which was made of `prompt`. Returns what answers.jsonl keeps of the answer.

    Raises RequestError when there is none, ServerError for one that must not be scored.
    """
    asked, tokenizer = json.loads(question), target["tokenizer"]
    request = {"model": target["served_id"], "chat_template_kwargs": TEMPLATE_ARGUMENTS}
    request |= {key: asked[key] for key in ("messages", "max_tokens", "temperature")}
    if asked["seed"] is not None:
        request["seed"] = asked["seed"]
    if tokenizer:
        request["logprobs"] = True  # for the ids of all tokens
    started = time.perf_counter()
    response, attempts = ask(server, request, args.timeout)
    seconds = time.perf_counter() - started
    if tokenizer:
        expected = len(format_prompt(tokenizer, asked["messages"]))
        check_prompt_tokens(prompt["id"], response, expected)
    return {
        **read_answer(response, tokenizer),
        "prompt_tokens": response["usage"]["prompt_tokens"],
        "completion_tokens": response["usage"]["completion_tokens"],
        "seconds": round(seconds, 2),
        "attempts": attempts,
    }


def ask_missing(missing: dict, answers: dict, target: dict, args) -> dict[str, str]:
    """Ask each question of `missing` (question -> prompt); returns {question: error} of the failed.

    Adds each answer to `answers`, and to the file of answers, as it arrives.
    """

    def try_to_answer(question: str) -> tuple[str, dict | RequestError]:
        try:
            return question, answer_question(server, missing[question], question, target, args)
        except RequestError as error:
            return question, error

    errors = {}
    # If this breaks off, the pool does not wait for requests that a server still works on.
    with target["server"] as server, ThreadPool(args.concurrency) as pool:
        choose_model(server, target["served_id"])  # else another model would answer
        arriving = pool.imap_unordered(try_to_answer, missing)
        for number, (question, answer) in enumerate(arriving, start=1):
            prompt = missing[question]
            if isinstance(answer, RequestError):
                errors[question] = str(answer)
                shown = f"no answer: {answer}"
            else:
                answers[question] = answer
                keep_answer(args.answers, question, answer)
                shown = progress(prompt, answer)
            print(f"[{number:3}/{len(missing)}] {prompt['id']:<10} {shown}", flush=True)
    return errors


def progress(prompt: dict, answer: dict) -> str:
    """What the terminal shows of an answer."""
    scored = score_answer(prompt, answer["text"], answer["calls"])
    return (
        f"{scored['score']:4.2f}  {scored['format']:<12} {answer['completion_tokens']:5} tokens"
        f" {answer['seconds']:7.1f} s"
    )


def entry_of(prompt: dict, answer: dict | None, error: str | None, tools: set[str]) -> dict:
    """A prompt's entry in eval.json; without an answer its scores are None and `error` says why."""
    entry = {key: prompt[key] for key in ("id", "category", "prompt")}
    if answer is None:
        entry |= score_answer(prompt, "", [], tools)
        return entry | {"score": None, "strict_score": None, "text": "", "error": error}
    entry |= score_answer(prompt, answer["text"], answer["calls"], tools)
    entry |= {key: answer[key] for key in KEPT}
    if answer["thinking"]:
        entry["thinking"] = answer["thinking"]
    return entry


def evaluate(args) -> dict:
    """Write the result and return it.

    It is eval.json when every prompt has an answer. Else it is eval.incomplete.json, and the last
    whole result stays as it is.
    """
    started = time.perf_counter()
    suite, targets = read_suite(args.suite), read_targets(args.targets)
    tools, target = read_tools(args.tools), find_target(args)
    asked = [(question_of(prompt, suite, target, args), prompt) for prompt in suite["prompts"]]
    answers, errors = read_answers(args.answers), {}
    missing = {question: prompt for question, prompt in asked if question not in answers}
    if kept := sum(question in answers for question, _ in asked):
        print(f"{kept} of {len(asked)} prompts are answered already", flush=True)
    if missing:
        errors = ask_missing(missing, answers, target, args)
    entries = [entry_of(p, answers.get(q), errors.get(q), tools) for q, p in asked]
    result = {
        "schema": 1,
        "experiment": args.experiment,
        "model": {
            "path": str(args.model or args.url),
            "weights_sha256": target["weights"],
            "served_id": target["served_id"],
        },
        "suite": {"name": suite["name"], "sha256": sha256_of(args.suite), "n": len(asked)},
        "settings": {key: vars(args)[key] for key in SETTINGS} | TEMPLATE_ARGUMENTS,
        "server": target["described"],
        "prompts": entries,
        **summarize(entries, targets),
        "seconds": round(time.perf_counter() - started, 1),
    }
    name = args.out.name.removesuffix(".tmp").removesuffix(".json")
    incomplete = args.out.with_name(f"{name}.incomplete.json")
    if errors:
        write_json(incomplete, result)
        return result
    write_json(args.out, result)
    incomplete.unlink(missing_ok=True)
    if args.url:
        forget_server(args.answers, target["identity"]["url"])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    who = parser.add_mutually_exclusive_group(required=True)
    who.add_argument("--model", type=Path, help="folder of the model that is scored")
    who.add_argument("--url", default="", help="an OpenAI-compatible server that is running")
    parser.add_argument("--serve", type=Path, help="its float32 copy, which is served in its place")
    parser.add_argument("--served-model", default="", help="which model of --url to ask")
    parser.add_argument("--suite", type=Path, required=True)
    parser.add_argument("--targets", type=Path, required=True, help="JSON with 'targets'")
    parser.add_argument("--tools", type=Path, required=True, help="JSON with the tools' names")
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
    result = evaluate(args)
    if result["overall"] is not None:
        low, high = result["ci95"]
        print(
            f"score {result['overall']:.1%} (95% interval {low:.1%} to {high:.1%}), strict"
            f" {result['strict_overall']:.1%}, {result['seconds']:.0f} s"
        )
    if count := result.get("errors"):
        raise Failed(f"{count} prompts have no answer; run it again, and only they are asked")


if __name__ == "__main__":
    run(main)
