"""Ask a served model every prompt of a suite and score the answers: writes eval.json.

The answers come over HTTP, as a user of the model would get them: from a real `mlx_lm server`
started here for the model that was built, or, with --url, from any OpenAI-compatible server that
is already running. Each answer is kept as it arrives; what an interrupted run has asked is not
asked again.
"""

import argparse
import contextlib
import hashlib
import json
import os
import sys
import time
from pathlib import Path

import mlx_lm

from asking import answer_at, ask_suite, keeping, kept_answers
from chat_format import TEMPLATE_ARGUMENTS, open_tokenizer
from client import Endpoint, choose_model_id, find_model_id
from files import sha256_of, weights_sha256
from score import score_answer
from server import ModelServer, ServerError
from settings import secret
from stats import summarize
from suite import read_suite, read_targets

API_KEY = "EVAL_API_KEY"  # a secret, so neither a setting nor an option


@contextlib.contextmanager
def open_target(args):
    """Who is asked, and the one model to ask for: {server, served_id, tokenizer, weights, files}.

    The last two are sha256s; of somebody else's server they and the tokenizer are None.
    """
    if args.url:
        key = secret(API_KEY)
        if not key.isascii() or not key.isprintable() or " " in key:
            raise ValueError(f"{API_KEY}: holds a character that a key cannot have")
        server = Endpoint(args.url, {"Authorization": f"Bearer {key}"} if key else {})
        id = choose_model_id(server, args.served_model)
        unknown = dict.fromkeys(("tokenizer", "weights", "files"))
        yield {"server": server, "served_id": id, **unknown}
        return
    if not args.model.is_dir():
        raise ValueError(f"{args.model}: no such model directory")
    served = args.serve or args.model
    known = {
        "tokenizer": open_tokenizer(served),
        "weights": weights_sha256(args.model),
        "files": files_sha256(served),
    }
    with ModelServer(served, args.port, args.server_log) as server:
        yield {"server": server, "served_id": find_model_id(server.url, served), **known}


def files_sha256(model: Path) -> str:
    """sha256 over what stands beside a model's weights: config, tokenizer, chat template."""
    digest = hashlib.sha256()
    for file in sorted([*model.glob("*.json"), *model.glob("*.jinja")]):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def answers_key(args, target: dict, suite_sha256: str) -> dict:
    """What must be equal for a kept answer to be of use."""
    return {
        "weights": target["weights"] or args.url,
        "served": target["served_id"],
        "files": target["files"],
        "suite": suite_sha256,
        "temperature": args.temperature,
        "max_tokens": args.max_tokens,
        "seed": args.seed,
        "mlx_lm": mlx_lm.__version__,
        **TEMPLATE_ARGUMENTS,
    }


def describe_run(args, target: dict, suite: dict, suite_sha256: str) -> dict:
    """What stands before the prompts in the result: who was asked what, and how."""
    tokenizer = target["tokenizer"]
    return {
        "schema": 1,
        "experiment": args.experiment,
        "model": {
            "path": str(args.model or args.url),
            "weights_sha256": target["weights"],
            "served_id": target["served_id"],
        },
        "suite": {"name": suite["name"], "sha256": suite_sha256, "n": len(suite["prompts"])},
        "settings": {
            "temperature": args.temperature,
            "max_tokens": args.max_tokens,
            "concurrency": args.concurrency,
            "seed": args.seed,
            "float32_twin": bool(args.serve) and args.serve != args.model,
            **TEMPLATE_ARGUMENTS,
        },
        "server": {
            "kind": "mlx_lm.server" if tokenizer else "openai",
            "version": mlx_lm.__version__ if tokenizer else None,
            "tool_parser": tokenizer.init_kwargs.get("tool_parser_type") if tokenizer else None,
        },
    }


def entry_of(prompt: dict, answer: dict | None, error: str | None) -> dict:
    """A prompt's entry in eval.json; without an answer its scores are None and `error` says why."""
    head = {key: prompt[key] for key in ("id", "category", "prompt")}
    if answer is None:
        nothing = {"score": None, "strict_score": None, "format": "none", "tools_called": []}
        return head | nothing | {"keywords_found": [], "text": "", "error": error}
    keys = ("finish_reason", "prompt_tokens", "completion_tokens", "seconds", "attempts", "text")
    return {
        **head,
        **score_answer(prompt, answer["text"], answer["calls"]),
        **{key: answer[key] for key in keys},
        **({"thinking": answer["thinking"]} if answer["thinking"] else {}),
    }


def evaluate(args) -> dict:
    """Write the result, and return its totals. Raises ValueError for bad input, ServerError.

    It is eval.json when every prompt has an answer. Else it is eval.incomplete.json, the last whole
    result stays as it is, and the answers are kept for the next time.
    """
    started = time.perf_counter()
    suite = read_suite(args.suite)
    targets = read_targets(args.targets)
    suite_sha256 = sha256_of(args.suite)
    with open_target(args) as target:
        places = kept_answers(args.answers, answers_key(args, target, suite_sha256))
        kept = len(places)
        if kept:
            print(f"{kept} of {len(suite['prompts'])} prompts are answered already", flush=True)
        asked = time.perf_counter()
        errors = ask_suite(target, suite, places, args)
        seconds = time.perf_counter() - asked
    tokens = 0

    def entries():
        nonlocal tokens
        for prompt in suite["prompts"]:
            error = errors.get(prompt["id"])
            answer = None if error else answer_at(args.answers, places[prompt["id"]])
            tokens += answer["completion_tokens"] if answer else 0
            yield entry_of(prompt, answer, error)

    def totals(scored):
        result = summarize(scored, targets)
        result["seconds"] = round(time.perf_counter() - started, 1)
        if not kept:  # else only a part of the tokens was made in this time
            result["tokens_per_second"] = round(tokens / seconds, 1)
        return result

    head = describe_run(args, target, suite, suite_sha256)
    result = write_result(args.incomplete if errors else args.out, head, entries(), totals)
    if not errors:
        args.incomplete.unlink(missing_ok=True)
        args.answers.unlink()
    return result


def write_result(out: Path, head: dict, entries, totals) -> dict:
    """Write `head`, the prompts one by one, then `totals(scores)`, which is returned.

    Only the scores of the prompts are held in memory.
    """
    staging, scored = out.with_name(out.name + ".tmp"), []
    with staging.open("w", encoding="utf-8") as stream:
        stream.write(json.dumps(head, indent=2, ensure_ascii=False).removesuffix("\n}"))
        stream.write(',\n  "prompts": [')
        for entry in entries:
            stream.write((",\n" if scored else "\n") + json.dumps(entry, ensure_ascii=False))
            scored.append({key: entry[key] for key in ("category", "score", "strict_score")})
        stream.write("\n  ],")
        tail = totals(scored)
        stream.write(json.dumps(tail, indent=2, ensure_ascii=False).removeprefix("{") + "\n")
    staging.replace(out)
    return tail


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    who = parser.add_mutually_exclusive_group(required=True)
    who.add_argument("--model", type=Path, help="folder of the model that is scored")
    who.add_argument("--url", default="", help="an OpenAI-compatible server that is running")
    parser.add_argument("--serve", type=Path, help="the model's float32 twin, served in its place")
    parser.add_argument("--served-model", default="", help="which model of --url to ask")
    parser.add_argument("--suite", type=Path, required=True)
    parser.add_argument("--targets", type=Path, required=True, help="JSON with 'targets'")
    parser.add_argument("--out", type=Path, required=True, help="eval.json to write")
    parser.add_argument("--server-log", type=Path, help="default: server.log beside --out")
    parser.add_argument("--experiment", default="", help="name to record")
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0, help="of sampling, above temperature 0")
    parser.add_argument("--max-tokens", type=int, default=0, help="0: each prompt's own budget")
    parser.add_argument("--concurrency", type=int, default=8, help="requests in flight")
    parser.add_argument("--timeout", type=float, default=600, help="seconds for one answer")
    parser.add_argument("--port", type=int, default=0, help="0: any free port")
    args = parser.parse_args()
    args.server_log = args.server_log or args.out.with_name("server.log")
    name = args.out.name.removesuffix(".tmp").removesuffix(".json")
    args.answers = args.out.with_name(f"{name}.answers.jsonl")
    args.incomplete = args.out.with_name(f"{name}.incomplete.json")
    return args


def check_args(args) -> None:
    """Raise ValueError for a number that makes no sense."""
    ranges = {"temperature": (0, 100), "timeout": (0.001, 1e6), "concurrency": (1, 1024)}
    ranges |= {"max_tokens": (0, 1e9), "port": (0, 65535), "seed": (0, 2**32 - 1)}
    for name, (low, high) in ranges.items():
        if not low <= getattr(args, name) <= high:
            raise ValueError(f"--{name.replace('_', '-')}: expected {low:g} to {high:g}")


def describe_score(result: dict) -> str:
    """The totals in a line."""
    low, high = result["ci95"]
    rate = result.get("tokens_per_second")
    return (
        f"score {result['overall']:.1%} (95% interval {low:.1%} to {high:.1%}), strict"
        f" {result['strict_overall']:.1%}, {result['seconds']:.0f} s"
        + (f", {rate:.0f} tokens/s" if rate else "")
    )


def main() -> int:
    args = parse_args()
    try:
        check_args(args)
        with keeping(args.answers):
            result = evaluate(args)
    except (ValueError, OSError) as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return 2
    except ServerError as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("evaluate: interrupted; the answers so far are kept", file=sys.stderr, flush=True)
        os._exit(130)  # not waiting for requests that somebody else's server still works on
    if result["overall"] is not None:
        print(describe_score(result))
    if "errors" in result:
        text = f"{result['errors']} prompts have no answer; asked again, only they are asked"
        print(f"evaluate: {text}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
