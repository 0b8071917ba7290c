"""Ask a server every prompt of a suite, many at a time, and keep each answer as it arrives."""

import threading
import time
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

import answers
from chat_format import TEMPLATE_ARGUMENTS, format_prompt
from client import RequestError, ask, check_prompt_tokens, read_answer
from result import progress_line
from suite import messages_of

LINES = 200  # progress lines printed at most


def request_for(suite: dict, prompt: dict, target: dict, args) -> dict:
    """The chat completion request that asks `prompt`."""
    request = {
        "model": target["served_id"],
        "messages": messages_of(suite, prompt),
        "max_tokens": budget(prompt, args),
        "temperature": args.temperature,
        "chat_template_kwargs": TEMPLATE_ARGUMENTS,
    }
    if target["tokenizer"]:
        request["logprobs"] = True  # for the ids of all tokens
    return request | ({"seed": args.seed} if args.temperature else {})


def budget(prompt: dict, args) -> int:
    """Tokens that the answer to `prompt` may take."""
    return min(prompt["max_tokens"], args.max_tokens or prompt["max_tokens"])


def answer_prompt(server, target: dict, suite: dict, prompt: dict, args, stop) -> dict:
    """Ask one prompt; returns what is kept of its answer. Raises ServerError, RequestError."""
    expected = target["tokenizer"] and len(
        format_prompt(target["tokenizer"], messages_of(suite, prompt))
    )
    started = time.perf_counter()
    request = request_for(suite, prompt, target, args)
    response, attempts = ask(server, request, args.timeout, target["headers"], stop)
    if expected is not None:
        check_prompt_tokens(prompt["id"], response, expected)
    return {
        "id": prompt["id"],
        **read_answer(response, target["tokenizer"]),
        "prompt_tokens": response["usage"]["prompt_tokens"],
        "completion_tokens": response["usage"]["completion_tokens"],
        "seconds": round(time.perf_counter() - started, 2),
        "attempts": attempts,
    }


def ask_suite(server, target: dict, suite: dict, places: dict, args) -> dict[str, str]:
    """Ask every prompt that has no place in the answers yet; returns {id: error} of the failed.

    Adds each answer to the file of answers, and its place to `places`, as it arrives.
    """
    pending = [prompt for prompt in suite["prompts"] if prompt["id"] not in places]
    total, every = len(suite["prompts"]), max(1, len(suite["prompts"]) // LINES)
    errors, stop = {}, threading.Event()
    pool = ThreadPoolExecutor(args.concurrency)
    running = {}

    def collect(futures):
        for future in futures:
            prompt = running.pop(future)
            try:
                answer = future.result()
            except RequestError as error:
                errors[prompt["id"]] = str(error)
                print(f"{prompt['id']}: no answer: {error}", flush=True)
                continue
            places[prompt["id"]] = answers.append(args.answers, answer)
            done = len(places) + len(errors)
            if done % every == 0 or done == total:
                print(progress_line(done, total, prompt, answer), flush=True)

    try:
        for prompt in pending:
            future = pool.submit(answer_prompt, server, target, suite, prompt, args, stop)
            running[future] = prompt
            if len(running) >= 2 * args.concurrency:  # a few waiting, never all of a long suite
                collect(wait(running, return_when=FIRST_COMPLETED).done)
        while running:
            collect(wait(running, return_when=FIRST_COMPLETED).done)
    finally:
        stop.set()
        pool.shutdown(wait=False, cancel_futures=True)
    return errors
