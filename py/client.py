"""Ask an OpenAI-compatible server, and read all of its answer.

What must not happen silently: another model answers (find_model_id), the server formats the
prompt in another way than training did (check_prompt_tokens), its tool parser drops a call
(read_answer).
"""

import http.client
import json
import re
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

from score import calls_from_server, parsed_calls
from server import ServerError, get_json, open_url

RETRY_WAITS = (1, 3, 9)  # seconds before the second, third and fourth attempt
THINKING = re.compile(r"\s*(?:<think>)?(.*?)</think>\s*", re.DOTALL)


class RequestError(Exception):
    """One prompt got no answer. Its text is one line; others may still be answered."""


class Endpoint:
    """A server that somebody else runs: EVAL_URL. What it does when it crashes is their affair."""

    starts = 1

    def __init__(self, url: str, headers: dict | None = None):
        self.url, self.headers = url.rstrip("/").removesuffix("/v1"), headers or {}

    def revive(self, starts: int) -> None:
        """Nothing can be done here."""


def listed_models(url: str, headers: dict) -> list[str]:
    """Ids that the server lists. Raises ServerError when it does not answer as such a server."""
    request = urllib.request.Request(f"{url}/v1/models", headers=headers)
    try:
        return [entry["id"] for entry in get_json(request)["data"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ServerError(f"{url}/v1/models: no list of models ({error})") from error


def find_model_id(url: str, model: Path) -> str:
    """The id under which our server lists `model`: its resolved path, and nothing else.

    mlx_lm server lists every model in the Hugging Face cache before the one it was started
    with, and a request that names another id makes it load that other model: taking the first
    id scores the wrong model. Raises ServerError when the path is not listed.
    """
    wanted = str(Path(model).resolve())
    listed = listed_models(url, {})
    if wanted not in listed:
        raise ServerError(
            f"the server at {url} does not list {wanted} (it lists {', '.join(listed) or 'none'});"
            " refusing to evaluate another model"
        )
    return wanted


def choose_model_id(server: Endpoint, name: str) -> str:
    """The id to ask somebody else's server for: `name`, or "" for the only one it lists.

    Raises ServerError when that leaves a choice, or names what is not there.
    """
    listed = listed_models(server.url, server.headers)
    if not name and len(listed) == 1:
        return listed[0]
    if name in listed:
        return name
    what = f"does not list EVAL_MODEL={name}" if name else f"lists {len(listed)} models"
    raise ServerError(f"{server.url} {what}; name one of: {', '.join(listed) or 'none'}")


def ask(server, request: dict, timeout: float, stop=None) -> tuple[dict, int]:
    """POST a chat completion to a ModelServer or Endpoint; returns (response, attempts).

    Cut connections, timeouts, 5xx and answers that are none are tried again, a refused request
    (4xx) is not; a crashed server of ours is started again. Raises RequestError in the end, or as
    soon as the event `stop` is set, and ServerError when the server cannot be started.
    """
    stop = stop or threading.Event()
    headers = {"Content-Type": "application/json", **server.headers}
    for attempt, wait in enumerate((*RETRY_WAITS, None), start=1):
        starts = server.starts
        url = f"{server.url}/v1/chat/completions"
        post = urllib.request.Request(url, json.dumps(request).encode(), headers)
        try:
            response = json.loads(read_all(post, timeout))
            check_response(response)
            return response, attempt
        except urllib.error.HTTPError as error:
            text = " ".join(error.read(300).decode(errors="replace").split())
            reason = f"HTTP {error.code}: {text}"
            if error.code < 500 and error.code not in (408, 429):
                raise RequestError(reason) from error
        except (OSError, ValueError, RecursionError, http.client.HTTPException) as error:
            reason = f"{type(error).__name__}: {error}"
        if not stop.is_set():
            server.revive(starts)
        if wait is None or stop.wait(wait):
            break
    raise RequestError(f"no answer after {attempt} attempts ({reason})")


def read_all(request: urllib.request.Request, timeout: float) -> bytes:
    """The body of a response, which must have come within `timeout` seconds in all."""
    deadline = time.monotonic() + timeout
    with open_url(request, timeout) as stream:
        parts = []
        while part := stream.read1(1 << 16):
            parts.append(part)
            if time.monotonic() > deadline:
                raise TimeoutError(f"not whole after {timeout:g} s")
        if stream.length:  # what Content-Length promised and did not come
            raise http.client.IncompleteRead(b"", stream.length)
    return b"".join(parts)


def check_response(response) -> None:
    """Raise ValueError when `response` is no chat completion that can be read."""
    try:
        choice, usage = response["choices"][0], response["usage"]
        message = choice["message"]
        calls = message.get("tool_calls") or []
        tokens = (choice.get("logprobs") or {}).get("content") or []
        good = {
            "content": isinstance(message.get("content"), (str, type(None))),
            "tool_calls": all(isinstance(call["function"], dict) for call in calls),
            "finish_reason": isinstance(choice["finish_reason"], str),
            "logprobs": all(isinstance(entry, dict) for entry in tokens),
            "prompt_tokens": type(usage["prompt_tokens"]) is int,
            "completion_tokens": type(usage["completion_tokens"]) is int,
        }
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError(f"the answer is no chat completion ({error})") from error
    if wrong := [name for name, is_good in good.items() if not is_good]:
        raise ValueError(f"the answer is no chat completion (odd {wrong[0]})")


def check_prompt_tokens(id: str, response: dict, expected: int) -> None:
    """Raise ServerError when the server made another number of tokens of the prompt than we do."""
    found = response["usage"]["prompt_tokens"]
    if found != expected:
        raise ServerError(
            f"{id}: format mismatch, the server made {found} tokens of the prompt, format_prompt()"
            f" makes {expected}"
        )


def split_thinking(text: str) -> tuple[str, str]:
    """(thinking, answer) of a text; thinking that never ends has no answer.

    The opening tag may be missing, where the chat template has put it into the prompt; after a tool
    call has begun, a closing tag is a part of the call.
    """
    match, opened = THINKING.match(text), text.lstrip().startswith("<think>")
    if match and (opened or "<tool_call>" not in match[1]):
        return match[1].strip(), text[match.end() :]
    if opened:
        return text.lstrip().removeprefix("<think>").strip(), ""
    return "", text


def read_answer(response: dict, tokenizer=None) -> dict:
    """{text, thinking, calls, finish_reason} of a chat completion.

    With `tokenizer` the text is decoded from the token ids of the response: `content` lacks what
    the server took for a tool call. Without, the calls that the server returned are written
    behind it. Calls come from `tool_calls`, else from the text. Raises ServerError for a call that
    the server lost.
    """
    choice = response["choices"][0]
    message, finish_reason = choice["message"], choice["finish_reason"]
    thinking = message.get("reasoning") or message.get("reasoning_content") or ""
    text = message.get("content") or ""
    logprobs = (choice.get("logprobs") or {}).get("content") or []
    if tokenizer and logprobs:
        tokens = [entry["id"] for entry in logprobs]
        if tokens[-1] in tokenizer.eos_token_ids:
            tokens.pop()
        thinking, text = split_thinking(tokenizer.decode(tokens))
    elif not thinking:
        thinking, text = split_thinking(text)
    calls = calls_from_server(message.get("tool_calls") or [])
    if not tokenizer:
        if finish_reason == "tool_calls" and not calls:
            raise ServerError(
                "the server ended an answer with a tool call that it does not return: its parser"
                " does not read this model's calls; set the right one there, or none"
            )
        text += "".join(f"\n<tool_call>{json.dumps(call)}</tool_call>" for call in calls)
    written = parsed_calls(text)
    if tokenizer and tokenizer.has_tool_calling and len(calls) < len(written):
        parser = tokenizer.init_kwargs.get("tool_parser_type")
        others = dict.fromkeys(name for name, _ in written if name != parser)
        right = '" or "'.join(others or [parser])
        raise ServerError(
            f"the server's tool parser ({parser}) dropped {len(written) - len(calls)} tool call(s);"
            f' set "tool_parser_type": "{right}" in the model\'s tokenizer_config.json'
        )
    answer = {
        "text": text,
        "thinking": thinking,
        "calls": calls or [call for _, call in written],
        "finish_reason": finish_reason,
    }
    # Half a surrogate pair cannot be kept.
    return json.loads(json.dumps(answer, ensure_ascii=False).encode("utf-8", "replace"))
