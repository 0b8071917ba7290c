"""Ask a served model every prompt of a suite and score the answers: writes eval.json.

The answers come over HTTP, as a user of the model would get them: from a real `mlx_lm server`
started here for the model that was built, or, with --url, from any OpenAI-compatible server that
is already running. Each answer is kept as it arrives; what an interrupted run has asked is not
asked again.
"""

import argparse
import contextlib
import hashlib
import os
import sys
import time
from pathlib import Path

import mlx_lm

import answers
from asking import ask_suite
from chat_format import TEMPLATE_ARGUMENTS, open_tokenizer
from client import Endpoint, choose_model_id, find_model_id
from files import sha256_of, weights_sha256
from result import entry_of, write_result
from server import ModelServer, ServerError
from suite import read_suite, read_targets
from summary import summarize

API_KEY = "EVAL_API_KEY"  # environment variable; a secret, so neither a setting nor an option


def files_sha256(model: Path) -> str:
    """sha256 over what stands beside a model's weights: config, tokenizer, chat template."""
    digest = hashlib.sha256()
    for file in sorted([*model.glob("*.json"), *model.glob("*.jinja")]):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def describe_target(args) -> dict:
    """Who is asked: {served, tokenizer, headers, sha256}; no server yet."""
    if args.url:
        key = os.environ.get(API_KEY, "")
        if not key.isascii() or not key.isprintable() or " " in key:
            raise ValueError(f"{API_KEY}: holds a character that a key cannot have")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return {"served": None, "tokenizer": None, "headers": headers, "sha256": None}
    model = args.model
    if not model.is_dir():
        raise ValueError(f"{model}: no such model directory")
    served = args.serve or model
    return {
        "served": served,
        "tokenizer": open_tokenizer(served),
        "headers": {},
        "sha256": weights_sha256(model),
    }


def answers_key(args, target: dict, suite_sha256: str) -> dict:
    """What must be equal for a kept answer to be of use."""
    return {
        "weights": target["sha256"] or args.url,
        "served": target["served_id"],
        "files": target["served"] and files_sha256(target["served"]),
        "suite": suite_sha256,
        "temperature": args.temperature,
        "max_tokens": args.max_tokens,
        "seed": args.seed,
        "mlx_lm": mlx_lm.__version__,
        **TEMPLATE_ARGUMENTS,
    }


@contextlib.contextmanager
def serving(args, target: dict):
    """The server to ask, with target["served_id"] set to the one model to ask it for."""
    server = (
        Endpoint(args.url)
        if args.url
        else ModelServer(target["served"], args.port, args.server_log)
    )
    with server:
        target["served_id"] = (
            choose_model_id(server.url, args.served_model, target["headers"])
            if args.url
            else find_model_id(server.url, target["served"])
        )
        yield server


def describe_run(args, target: dict, suite: dict, suite_sha256: str) -> dict:
    """What stands before the prompts in the result: who was asked what, and how."""
    tokenizer = target["tokenizer"]
    return {
        "schema": 1,
        "experiment": args.experiment,
        "model": {
            "path": str(args.model or args.url),
            "weights_sha256": target["sha256"],
            "served_id": target["served_id"],
        },
        "suite": {"name": suite["name"], "sha256": suite_sha256, "n": len(suite["prompts"])},
        "settings": {
            "temperature": args.temperature,
            "max_tokens": args.max_tokens,
            "concurrency": args.concurrency,
            "seed": args.seed,
            "float32_twin": bool(args.serve) and args.serve != Path(args.model),
            **TEMPLATE_ARGUMENTS,
        },
        "server": {
            "kind": "mlx_lm.server" if tokenizer else "openai",
            "version": mlx_lm.__version__ if tokenizer else None,
            "tool_parser": tokenizer.init_kwargs.get("tool_parser_type") if tokenizer else None,
        },
    }


def evaluate(args) -> dict:
    """Write the result; returns its totals. Raises ValueError for bad input, ServerError.

    It is eval.json when every prompt has an answer. Else it is eval.incomplete.json, the last whole
    result stays as it is, and the answers are kept for the next time.
    """
    started = time.perf_counter()
    suite = read_suite(args.suite)
    targets = read_targets(args.targets)
    target = describe_target(args)
    suite_sha256 = sha256_of(args.suite)
    with serving(args, target) as server:
        places = answers.read_places(args.answers, answers_key(args, target, suite_sha256))
        kept = len(places)
        if kept:
            print(f"{kept} of {len(suite['prompts'])} prompts are answered already", flush=True)
        asked = time.perf_counter()
        errors = ask_suite(server, target, suite, places, args)
        seconds = time.perf_counter() - asked
    head = describe_run(args, target, suite, suite_sha256)
    tokens = 0

    def entries():
        nonlocal tokens
        for prompt in suite["prompts"]:
            place = places.get(prompt["id"])
            answer = None if place is None else answers.read_at(args.answers, place)
            tokens += answer["completion_tokens"] if answer else 0
            yield entry_of(prompt, answer, errors.get(prompt["id"], ""))

    def tail_of(scored):
        total = {"seconds": round(time.perf_counter() - started, 1)}
        if not kept:  # else only a part of the tokens was made in this time
            total["tokens_per_second"] = round(tokens / seconds, 1)
        return summarize(scored, targets) | total

    incomplete = args.out.with_name(args.out.stem + ".incomplete.json")
    if errors:
        return write_result(incomplete, head, entries(), tail_of)
    result = write_result(args.out, head, entries(), tail_of)
    incomplete.unlink(missing_ok=True)
    args.answers.unlink()
    return result


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
    args.answers = args.out.with_name(args.out.stem + ".answers.jsonl")
    return args


def check_args(args) -> None:
    """Raise ValueError for a number that makes no sense."""
    ranges = {"temperature": (0, 100), "timeout": (0.001, 1e6), "concurrency": (1, 1024)}
    ranges |= {"max_tokens": (0, 1e9), "port": (0, 65535), "seed": (0, 2**32 - 1)}
    for name, (low, high) in ranges.items():
        if not low <= getattr(args, name) <= high:
            raise ValueError(f"--{name.replace('_', '-')}: expected {low:g} to {high:g}")


def main() -> int:
    args = parse_args()
    try:
        check_args(args)
        with answers.keeping(args.answers):
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


def describe_score(result: dict) -> str:
    """The totals in a line."""
    low, high = result["ci95"]
    rate = result.get("tokens_per_second")
    return (
        f"score {result['overall']:.1%} (95% interval {low:.1%} to {high:.1%}), strict"
        f" {result['strict_overall']:.1%}, {result['seconds']:.0f} s"
        + (f", {rate:.0f} tokens/s" if rate else "")
    )


if __name__ == "__main__":
    sys.exit(main())
