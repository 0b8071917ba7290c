"""Ask a server every prompt of a suite, many at a time, and keep each answer as it arrives.

The answers are kept in a JSONL file, so that an interrupted evaluation goes on where it stopped:
the first line says what was asked (the key: weights, suite, settings), each other line is the
answer to one prompt. Answers to anything else than the same key are not used. Only their places in
the file are held, so that a suite of 10,000 prompts takes no more memory than one of 300.
"""

import contextlib
import fcntl
import itertools
import json
import threading
import time
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path

from chat_format import TEMPLATE_ARGUMENTS, format_prompt
from client import RequestError, ask, check_prompt_tokens, read_answer
from score import score_answer
from suite import messages_of

LINES = 200  # progress lines printed at most


@contextlib.contextmanager
def keeping(path: Path):
    """Hold the file of answers at `path`. Raises ValueError when another evaluation holds it."""
    path.touch()
    with path.open("rb") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ValueError(
                f"{path}: another evaluation is writing here; wait for it, or name another BUILD"
            ) from error
        try:
            yield
        finally:
            if path.is_file() and not path.stat().st_size:
                path.unlink()  # nothing was asked


def kept_answers(path: Path, key: dict) -> dict[str, int]:
    """Prompt id -> place in the file, of the answers that were given under `key`.

    A file with another key is begun anew; a line that was cut off in the middle, and all after it,
    is dropped.
    """
    head = json.dumps({"key": key}).encode() + b"\n"
    places, whole = {}, len(head)
    with path.open("r+b") as stream:
        if stream.readline() != head:
            stream.seek(0)
            stream.write(head)
            stream.truncate()
        for line in stream:
            try:
                id = json.loads(line)["id"]
            except (ValueError, RecursionError):
                break
            if not line.endswith(b"\n"):
                break
            places[id] = whole
            whole += len(line)
        stream.truncate(whole)
    return places


def keep(path: Path, answer: dict) -> int:
    """Add one answer to the file, whole or not at all; returns its place."""
    with path.open("ab") as stream:
        place = stream.tell()
        stream.write(json.dumps(answer, ensure_ascii=False).encode() + b"\n")
    return place


def answer_at(path: Path, place: int) -> dict:
    """The answer at that place of the file."""
    with path.open("rb") as stream:
        stream.seek(place)
        return json.loads(stream.readline())


def request_for(suite: dict, prompt: dict, target: dict, args) -> dict:
    """The chat completion request that asks `prompt`."""
    request = {
        "model": target["served_id"],
        "messages": messages_of(suite, prompt),
        "max_tokens": min(prompt["max_tokens"], args.max_tokens or prompt["max_tokens"]),
        "temperature": args.temperature,
        "chat_template_kwargs": TEMPLATE_ARGUMENTS,
    }
    if target["tokenizer"]:
        request["logprobs"] = True  # for the ids of all tokens
    return request | ({"seed": args.seed} if args.temperature else {})


def answer_prompt(target: dict, suite: dict, prompt: dict, args, stop) -> dict:
    """Ask one prompt; returns what is kept of its answer. Raises ServerError, RequestError."""
    request, tokenizer = request_for(suite, prompt, target, args), target["tokenizer"]
    expected = tokenizer and len(format_prompt(tokenizer, request["messages"]))
    started = time.perf_counter()
    response, attempts = ask(target["server"], request, args.timeout, stop)
    if tokenizer:
        check_prompt_tokens(prompt["id"], response, expected)
    return {
        "id": prompt["id"],
        **read_answer(response, tokenizer),
        "prompt_tokens": response["usage"]["prompt_tokens"],
        "completion_tokens": response["usage"]["completion_tokens"],
        "seconds": round(time.perf_counter() - started, 2),
        "attempts": attempts,
    }


def ask_suite(target: dict, suite: dict, places: dict, args) -> dict[str, str]:
    """Ask every prompt that has no answer in `places` yet; returns {id: error} of the failed.

    Adds each answer to the file args.answers, and to `places`, as it arrives. Raises ServerError.
    """
    prompts, errors, stop = suite["prompts"], {}, threading.Event()
    total, every = len(prompts), max(1, len(prompts) // LINES)
    to_ask = iter([prompt for prompt in prompts if prompt["id"] not in places])
    pool, running = ThreadPoolExecutor(args.concurrency), {}
    try:
        while True:
            # A few wait in line, never all of a long suite.
            for prompt in itertools.islice(to_ask, 2 * args.concurrency - len(running)):
                running[pool.submit(answer_prompt, target, suite, prompt, args, stop)] = prompt
            if not running:
                return errors
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                prompt = running.pop(future)
                try:
                    answer = future.result()
                except RequestError as error:
                    errors[prompt["id"]] = str(error)
                    print(f"{prompt['id']}: no answer: {error}", flush=True)
                    continue
                places[prompt["id"]] = keep(args.answers, answer)
                done = len(places) + len(errors)
                if done % every == 0 or done == total:
                    print(progress_line(done, total, prompt, answer), flush=True)
    finally:
        stop.set()
        pool.shutdown(wait=False, cancel_futures=True)


def progress_line(done: int, total: int, prompt: dict, answer: dict) -> str:
    """One answered prompt for the terminal."""
    scored = score_answer(prompt, answer["text"], answer["calls"])
    return (
        f"[{done:3}/{total}] {prompt['id']:<10} {scored['score']:4.2f}  {scored['format']:<12}"
        f" {answer['completion_tokens']:5} tokens {answer['seconds']:7.1f} s"
    )
