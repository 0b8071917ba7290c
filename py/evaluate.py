"""Ask a served model every prompt of a suite and score the answers: writes eval.json.

The answers come from a real `mlx_lm server` over HTTP, as a user of the model would get them.
What must not happen silently: another model answers (server.find_model_id), the server formats
the prompt differently from training (prompt_tokens is compared with format_prompt), or its
tool parser drops a call (all tokens are asked for, so the text is complete whatever it drops).
"""

import argparse
import hashlib
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mlx_lm
import numpy as np

from chat_format import TEMPLATE_ARGUMENTS, format_prompt, open_tokenizer
from files import write_json
from models import locate_model
from score import calls_from_server, calls_in_text, score_answer
from server import ServerError, ask, find_model_id, running_server
from suite import messages_of, read_suite, read_targets

BOOTSTRAP_SAMPLES = 10_000
BOOTSTRAP_SEED = 40


def weights_sha256(model: Path) -> str:
    """sha256 over the bytes of the model's safetensors files, in the order of their names."""
    digest = hashlib.sha256()
    for file in sorted(model.glob("*.safetensors")):
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def read_answer(response: dict, tokenizer) -> tuple[str, list[dict], str]:
    """(all the text the model wrote, its tool calls, finish_reason) of a chat completion.

    The text is decoded from the token ids of the response: `content` lacks what the server took
    for a tool call. Raises ServerError for a call that the server lost.
    """
    choice = response["choices"][0]
    message, finish_reason = choice["message"], choice["finish_reason"]
    tokens = [entry["id"] for entry in (choice.get("logprobs") or {}).get("content", [])]
    if tokens and tokens[-1] in tokenizer.eos_token_ids:
        tokens.pop()
    text = tokenizer.decode(tokens) if tokens else message.get("content") or ""
    calls = calls_from_server(message.get("tool_calls") or [])
    written = calls_in_text(text)
    if finish_reason == "tool_calls" and len(calls) < len(written):
        parser = tokenizer.init_kwargs.get("tool_parser_type")
        raise ServerError(
            f"the server's tool parser ({parser}) dropped {len(written) - len(calls)} tool call(s);"
            ' set "tool_parser_type": "qwen3_coder" in the model\'s tokenizer_config.json'
        )
    return text, calls or written, finish_reason


def answer_prompt(url: str, served_id: str, tokenizer, suite: dict, prompt: dict, args) -> dict:
    """Ask one prompt and return its entry in eval.json. Raises ServerError."""
    messages = messages_of(suite, prompt)
    expected_tokens = len(format_prompt(tokenizer, messages))
    started = time.perf_counter()
    response, attempts = ask(
        url,
        {
            "model": served_id,
            "messages": messages,
            "max_tokens": min(prompt["max_tokens"], args.max_tokens or prompt["max_tokens"]),
            "temperature": args.temperature,
            "logprobs": True,
            "chat_template_kwargs": TEMPLATE_ARGUMENTS,
        },
        args.timeout,
    )
    seconds = time.perf_counter() - started
    usage = response["usage"]
    if usage["prompt_tokens"] != expected_tokens:
        raise ServerError(
            f"{prompt['id']}: format mismatch, the server made {usage['prompt_tokens']} tokens of"
            f" the prompt, format_prompt() makes {expected_tokens}"
        )
    text, calls, finish_reason = read_answer(response, tokenizer)
    return {
        "id": prompt["id"],
        "category": prompt["category"],
        **score_answer(prompt, text, calls),
        "finish_reason": finish_reason,
        "prompt_tokens": usage["prompt_tokens"],
        "completion_tokens": usage["completion_tokens"],
        "seconds": round(seconds, 2),
        "attempts": attempts,
        "text": text,
    }


def answer_suite(url: str, served_id: str, tokenizer, suite: dict, args) -> list[dict]:
    """Every prompt's entry, in the suite's order; prints one line for each as it arrives."""
    prompts = suite["prompts"]
    lock = threading.Lock()
    done = 0

    def answer(prompt):
        nonlocal done
        entry = answer_prompt(url, served_id, tokenizer, suite, prompt, args)
        with lock:
            done += 1
            print(
                f"[{done:3}/{len(prompts)}] {entry['id']:<10} {entry['score']:4.2f}"
                f"  {entry['format']:<12} {entry['completion_tokens']:5} tokens"
                f" {entry['seconds']:7.1f} s"
            )
        return entry

    with ThreadPoolExecutor(args.concurrency) as pool:
        futures = [pool.submit(answer, prompt) for prompt in prompts]
        try:
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(cancel_futures=True)  # do not ask the rest
            raise


def mean(values: list[float]) -> float:
    return round(sum(values) / len(values), 4)


def bootstrap_interval(scores: list[float]) -> list[float]:
    """95% percentile bootstrap interval of the mean of `scores`, with a fixed seed."""
    rng = np.random.default_rng(BOOTSTRAP_SEED)
    samples = rng.choice(np.array(scores), (BOOTSTRAP_SAMPLES, len(scores))).mean(axis=1)
    low, high = np.percentile(samples, [2.5, 97.5])
    return [round(float(low), 4), round(float(high), 4)]


def summarize(prompts: list[dict], targets: dict) -> dict:
    """Categories, totals, interval and verdict of scored prompts.

    The verdict is "pass" when the total and every category meet their registered targets.
    """
    categories = {}
    for prompt in prompts:
        categories.setdefault(prompt["category"], []).append(prompt)
    summary = {
        name: {
            "n": len(members),
            "score": mean([p["score"] for p in members]),
            "strict_score": mean([p["strict_score"] for p in members]),
        }
        for name, members in categories.items()
    }
    overall = mean([p["score"] for p in prompts])
    met = overall >= targets["overall"] and all(
        summary[name]["score"] >= target
        for name, target in targets["categories"].items()
        if name in summary
    )
    return {
        "categories": summary,
        "overall": overall,
        "strict_overall": mean([p["strict_score"] for p in prompts]),
        "ci95": bootstrap_interval([p["score"] for p in prompts]),
        "verdict": "pass" if met else "fail",
    }


def evaluate(args) -> dict:
    """The content of eval.json. Raises ValueError for bad input, ServerError for a bad server."""
    started = time.perf_counter()
    suite = read_suite(args.suite)
    targets = read_targets(args.targets)
    model = locate_model(args.model)
    served = args.serve or model
    tokenizer = open_tokenizer(served)
    with running_server(served, args.port, args.server_log) as url:
        served_id = find_model_id(url, served)
        answers = answer_suite(url, served_id, tokenizer, suite, args)
    return {
        "schema": 1,
        "experiment": args.experiment,
        "model": {
            "path": args.model,
            "weights_sha256": weights_sha256(model),
            "served_id": served_id,
        },
        "suite": {
            "name": suite["name"],
            "sha256": hashlib.sha256(args.suite.read_bytes()).hexdigest(),
            "n": len(suite["prompts"]),
        },
        "settings": {
            "temperature": args.temperature,
            "max_tokens": args.max_tokens,
            "concurrency": args.concurrency,
            "float32_twin": served != model,
            **TEMPLATE_ARGUMENTS,
        },
        "server": {
            "kind": "mlx_lm.server",
            "version": mlx_lm.__version__,
            "tool_parser": tokenizer.init_kwargs.get("tool_parser_type"),
        },
        "prompts": answers,
        **summarize(answers, targets),
        "seconds": round(time.perf_counter() - started, 1),
    }


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="model that is scored: a path or a hub id")
    parser.add_argument("--serve", type=Path, help="its float32 twin, served in its place")
    parser.add_argument("--suite", type=Path, required=True)
    parser.add_argument("--targets", type=Path, required=True, help="JSON with 'targets'")
    parser.add_argument("--out", type=Path, required=True, help="eval.json to write")
    parser.add_argument("--server-log", type=Path, required=True)
    parser.add_argument("--experiment", default="", help="name to record")
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--max-tokens", type=int, default=0, help="0: each prompt's own budget")
    parser.add_argument("--concurrency", type=int, default=8, help="requests in flight")
    parser.add_argument("--timeout", type=float, default=600, help="seconds for one answer")
    parser.add_argument("--port", type=int, default=0, help="0: any free port")
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    try:
        result = evaluate(args)
    except (ValueError, OSError) as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return 2
    except ServerError as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("evaluate: interrupted; nothing was written", file=sys.stderr)
        return 130
    write_json(args.out, result)
    low, high = result["ci95"]
    print(
        f"score {result['overall']:.1%} (95% interval {low:.1%} to {high:.1%}),"
        f" strict {result['strict_overall']:.1%}, {result['seconds']:.0f} s: {args.out}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
