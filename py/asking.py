"""Ask a server questions, several at a time, and keep each answer as it arrives.

A question is {id, messages, tools, max_tokens}. Its answer is kept beside all that it depends on:
the weights, the messages and the settings. What is kept is not asked again. answers.jsonl has
one line an answer: {"question": {weights, messages, ...}, "answer": {text, ...}}.
"""

import json
import os
import time
from multiprocessing.pool import ThreadPool
from pathlib import Path

import mlx.core as mx
import mlx_lm

from chat_format import TEMPLATE_ARGUMENTS, format_prompt
from client import RequestError, ask, choose_model, read_answer
from files import write_text
from score import format_of
from server import Server, ServerError


def as_text(value: dict) -> str:
    """A question as JSON: equal questions have equal texts."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def read_answers(path: Path) -> dict[str, dict]:
    """question -> answer. Cuts off half a line, which a crash leaves at the end."""
    content = path.read_bytes() if path.is_file() else b""
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)
    answers = {}
    for number, line in enumerate(content[:whole].splitlines(), start=1):
        try:
            kept = json.loads(line)
            answers[as_text(kept["question"])] = kept["answer"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}:{number}: not a kept answer; remove the line") from error
    return answers


def keep_answer(path: Path, question: str, answer: dict) -> None:
    """Add an answer to the file."""
    line = f'{{"question": {question}, "answer": {json.dumps(answer, ensure_ascii=False)}}}\n'
    with path.open("a", encoding="utf-8") as file:
        file.write(line)


def forget_server(path: Path, url: str) -> None:
    """Drop what the server at `url` has answered: tomorrow it may serve other weights."""
    with path.open(encoding="utf-8") as file:
        lines = [line for line in file if json.loads(line)["question"].get("url") != url]
    write_text(path, "".join(lines))


def request_of(question: dict, args) -> dict:
    """What a server is asked with a question, whichever model answers."""
    request = {
        "messages": question["messages"],
        "max_tokens": min(question["max_tokens"], args.max_tokens or question["max_tokens"]),
        "temperature": args.temperature,
    }
    if question["tools"]:
        request["tools"] = question["tools"]
    if args.temperature:
        request["seed"] = args.seed
    return request


def question_text(question: dict, target: dict, args) -> str:
    """All that the answer to a question depends on, as JSON text: the key of its answer."""
    return as_text(
        {
            **target["identity"],
            "seed": None,
            **request_of(question, args),
            "concurrency": args.concurrency,
            "mlx": mx.__version__,
            "mlx_lm": mlx_lm.__version__,
            **TEMPLATE_ARGUMENTS,
        }
    )


def answer_question(server: Server, question: dict, target: dict, args) -> dict:
    """Ask a question. Returns what is kept of the answer.

    Raises RequestError when there is none, ServerError for one that must not be scored.
    """
    tokenizer, tools = target.get("tokenizer"), question["tools"]
    request = {"model": target["served_id"], "chat_template_kwargs": TEMPLATE_ARGUMENTS}
    request |= request_of(question, args)
    if target.get("adapter"):
        request["adapters"] = str(target["adapter"].resolve())
    if tokenizer:
        request["logprobs"] = True  # for the ids of all tokens
    started = time.perf_counter()
    response, attempts = ask(server, request, args.timeout)
    seconds = time.perf_counter() - started
    found = response["usage"]["prompt_tokens"]
    if tokenizer:
        expected = len(format_prompt(tokenizer, question["messages"], tools))
        if found != expected:
            raise ServerError(
                f"{question['id']}: format mismatch, the server made {found} tokens of the prompt,"
                f" format_prompt() makes {expected}"
            )
    return {
        **read_answer(response, tokenizer, tools),
        "prompt_tokens": found,
        "completion_tokens": response["usage"]["completion_tokens"],
        "seconds": round(seconds, 2),
        "attempts": attempts,
    }


def ask_missing(missing: dict, answers: dict, target: dict, args, score) -> None:
    """Ask each question of `missing` (text -> question), and add its answer to `answers`.

    As it arrives, it is also kept in the file, if it is no error.
    """

    def try_to_answer(text: str) -> tuple[str, dict]:
        try:
            return text, answer_question(server, missing[text], target, args)
        except RequestError as error:
            return text, {"text": "", "calls": [], "error": str(error)}

    # If this breaks off, the pool does not wait for requests that a server still works on.
    with target["server"] as server, ThreadPool(args.concurrency) as pool:
        choose_model(server, target["served_id"])  # else another model would answer
        arriving = pool.imap_unordered(try_to_answer, missing)
        for number, (text, answer) in enumerate(arriving, start=1):
            question, answers[text] = missing[text], answer
            if "error" in answer:
                shown = f"no answer: {answer['error']}"
            else:
                keep_answer(args.answers, text, answer)
                shown = f"{score(question, answer):4.2f}  {format_of(answer['calls']):<12}"
                shown += f" {answer['completion_tokens']:5} tokens {answer['seconds']:7.1f} s"
            print(f"[{number:3}/{len(missing)}] {question['id']:<10} {shown}", flush=True)


def ask_all(questions: list[dict], target: dict, args, score) -> list[dict]:
    """The answer to each question. One that got none has an `error`, which says why.

    `score` gives the score of a question's answer, which the terminal shows.
    """
    texts = [question_text(question, target, args) for question in questions]
    answers = read_answers(args.answers)
    missing = {t: q for t, q in zip(texts, questions, strict=True) if t not in answers}
    if kept := sum(text in answers for text in texts):
        print(f"{kept} of {len(texts)} prompts are answered already", flush=True)
    if missing:
        ask_missing(missing, answers, target, args, score)
    return [answers[text] for text in texts]
