"""Ask an OpenAI-compatible server, and read all of its answer.

Three things must not happen silently: another model answers (find_model_id), the server formats
the prompt in another way than training did (check_prompt_tokens), its tool parser drops a call
(read_answer).
"""

import json
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType

import httpx2

from score import calls_from_server, parsed_calls
from server import ServerError, client_for, get_json

RETRY_WAITS = (1, 3, 9)  # seconds before the second, third and fourth attempt
THINKING = re.compile(r"\s*(?:<think>)?(.*?)</think>\s*", re.DOTALL)


class RequestError(Exception):
    """One prompt got no answer. Its text is one line; others may still be answered."""


@dataclass
class Endpoint:
    """A server that somebody else runs: EVAL_URL, and the headers that carry its key."""

    url: str
    headers: dict = field(default_factory=dict)

    def check(self) -> None:
        """Whether it has crashed cannot be known."""


def open_endpoint(url: str, key: str) -> Endpoint:
    """The server at `url`, with or without /v1 at its end. Raises ValueError for a bad key."""
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError("EVAL_API_KEY: holds a character that a key cannot have")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return Endpoint(url.rstrip("/").removesuffix("/v1"), headers)


def first_line(error: Exception) -> str:
    """What an error says, in one line."""
    return str(error).partition("\n")[0]


def listed_models(server) -> list[str]:
    """Ids that the server lists. Raises ServerError when it does not answer as such a server."""
    url = f"{server.url}/v1/models"
    try:
        return [entry["id"] for entry in get_json(url, server.headers)["data"]]
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError, KeyError, TypeError) as error:
        raise ServerError(f"{url}: no list of models ({first_line(error)})") from error
    except ImportError as error:  # for the SOCKS proxy that the environment names
        raise ServerError(f"{url}: no list of models ({first_line(error)})") from error


def find_model_id(url: str, model: Path) -> str:
    """The id under which our server lists `model`: its resolved path, and nothing else.

    mlx_lm server lists every model in the Hugging Face cache before the one it was started
    with, and a request that names another id makes it load that other model: taking the first
    id scores the wrong model. Raises ServerError when the path is not listed.
    """
    wanted = str(Path(model).resolve())
    listed = listed_models(Endpoint(url))
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
    listed = listed_models(server)
    if not name and len(listed) == 1:
        return listed[0]
    if name in listed:
        return name
    what = f"does not list EVAL_MODEL={name}" if name else f"lists {len(listed)} models"
    raise ServerError(f"{server.url} {what}; name one of: {', '.join(listed) or 'none'}")


def ask(server, request: dict, timeout: float) -> tuple[dict, int]:
    """POST a chat completion to a ModelServer or Endpoint; returns (response, attempts).

    Cut connections, timeouts, 5xx and answers that are none are tried again. A refused request
    (3xx, 4xx) is not. Raises RequestError in the end, and ServerError when our server has crashed.
    """
    for attempt, wait in enumerate((*RETRY_WAITS, None), start=1):
        try:
            status, body = post(server, request, timeout)
            if status == 200:
                return check_response(json.loads(body)), attempt
            reason = f"HTTP {status}: {' '.join(body[:300].decode(errors='replace').split())}"
            refused = status < 500 and status not in (408, 429)
        except (httpx2.HTTPError, ValueError, RecursionError) as error:
            reason, refused = f"{type(error).__name__}: {first_line(error)}", False
        server.check()
        if refused:
            raise RequestError(reason)
        if wait is not None:
            time.sleep(wait)
    raise RequestError(f"no answer after {attempt} attempts ({reason})")


def post(server, request: dict, timeout: float) -> tuple[int, bytes]:
    """(status, body) of a chat completion. All of it must come within `timeout` seconds."""
    url, body = f"{server.url}/v1/chat/completions", b""
    deadline = time.monotonic() + timeout
    with client_for(url).stream(
        "POST", url, json=request, headers=server.headers, timeout=timeout
    ) as response:
        for part in response.iter_bytes():
            body += part
            if time.monotonic() > deadline:
                raise httpx2.ReadTimeout(f"not whole after {timeout:g} s")
    return response.status_code, body


def check_response(response) -> dict:
    """`response` itself. Raises ValueError when it is no chat completion that can be read."""
    try:
        choice, usage = response["choices"][0], response["usage"]
        message = choice["message"]
        good = (
            isinstance(message.get("content"), (str, NoneType))
            and isinstance(choice["finish_reason"], str)
            and isinstance(usage["prompt_tokens"] + usage["completion_tokens"], int)
            and all(isinstance(c["function"], dict) for c in message.get("tool_calls") or [])
        )
    except (KeyError, IndexError, TypeError, AttributeError):
        good = False
    if not good:
        raise ValueError("the answer is no chat completion")
    return response


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
