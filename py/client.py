"""Ask an OpenAI-compatible server, and read all of its answer."""

# ruff: noqa: D101 - the names of classes and fields say what they are

import json
import re
import time

import httpx2
from pydantic import BaseModel, Field

from files import check
from program import describe
from score import calls_from_server, parsed_calls
from server import Server, ServerError, client_for, get_json

RETRY_WAITS = (1, 3, 9)  # seconds before the second, third and fourth attempt
# ImportError: a SOCKS proxy that the environment names needs another package.
NO_LIST = (httpx2.HTTPError, httpx2.InvalidURL, ImportError, LookupError, TypeError, ValueError)
THINKING = re.compile(r"\s*(?:<think>)?(.*?)</think>\s*", re.DOTALL)


class ToolCall(BaseModel, strict=True):
    function: dict


class Message(BaseModel, strict=True):
    content: str | None = None
    tool_calls: list[ToolCall] | None = None


class Choice(BaseModel, strict=True):
    message: Message
    finish_reason: str


class Usage(BaseModel, strict=True):
    prompt_tokens: int
    completion_tokens: int


class Completion(BaseModel, strict=True):
    """What is read of a chat completion."""

    choices: list[Choice] = Field(min_length=1)
    usage: Usage


class WrongParser(ServerError):
    """The server lost a call that the tool parser `parser` would keep."""

    def __init__(self, text: str, parser: str):
        super().__init__(text)
        self.parser = parser


class RequestError(Exception):
    """One prompt got no answer. Its text is one line; others may still be answered."""


def open_server(url: str, key: str) -> Server:
    """The server at `url`, with or without /v1 at its end. Raises ValueError for a bad key."""
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError("EVAL_API_KEY: holds a character that a key cannot have")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return Server(url.rstrip("/").removesuffix("/v1"), headers)


def choose_model(server: Server, name: str = "") -> str:
    """The id of the model to ask for: `name`, or the only one that the server lists.

    mlx_lm server lists every model in the Hugging Face cache before the one it was started with,
    and a request that names another id makes it load that other model. To take the first id would
    score the wrong model. Raises ServerError if `name` is not listed.
    """
    url = f"{server.url}/v1/models"
    try:
        listed = [entry["id"] for entry in get_json(url, server.headers)["data"]]
    except NO_LIST as error:
        raise ServerError(f"{url}: no list of models ({describe(error)})") from error
    if name in listed:
        return name
    if not name and len(listed) == 1:
        return listed[0]
    names = ", ".join(listed) or "none"
    if name:
        raise ServerError(f"{server.url} does not list the model {name}; it lists: {names}")
    raise ServerError(f"{server.url} lists {len(listed)} models; set EVAL_MODEL to one of: {names}")


def ask(server: Server, request: dict, timeout: float) -> tuple[dict, int]:
    """POST a chat completion; returns (response, attempts).

    Cut connections, timeouts, 5xx and answers that are no completion are tried again. A refused
    request (3xx, 4xx) is not. Raises RequestError in the end, ServerError if our server crashed.
    """
    url = f"{server.url}/v1/chat/completions"
    for attempt, wait in enumerate((*RETRY_WAITS, None), start=1):
        try:
            response = client_for(url).post(
                url, json=request, headers=server.headers, timeout=timeout
            )
            if response.status_code == 200:
                return check(response.json(), Completion, "no chat completion"), attempt
            reason = f"HTTP {response.status_code}: {' '.join(response.text[:300].split())}"
            refused = response.status_code < 500 and response.status_code not in (408, 429)
        except (httpx2.HTTPError, ValueError, RecursionError) as error:
            reason, refused = f"{type(error).__name__}: {error}", False
        server.check()
        if refused:
            raise RequestError(reason)
        if wait is not None:
            time.sleep(wait)
    raise RequestError(f"no answer after {attempt} attempts ({reason})")


def split_thinking(text: str) -> tuple[str, str]:
    """(thinking, answer) of a text; thinking that never ends has no answer.

    The opening tag may be missing, where the chat template has put it into the prompt. After a tool
    call has begun, a closing tag is a part of the call.
    """
    match, opened = THINKING.match(text), text.lstrip().startswith("<think>")
    if match and (opened or "<tool_call>" not in match[1]):
        return match[1].strip(), text[match.end() :]
    if opened:
        return text.lstrip().removeprefix("<think>").strip(), ""
    return "", text


def read_answer(response: dict, tokenizer=None, tools: list | None = None) -> dict:
    """{text, thinking, calls, finish_reason} of a chat completion.

    With `tokenizer` the text is decoded from the token ids of the response, because `content` has
    no tool calls. Without it, the server's tool calls are appended to `content`. Calls come from
    `tool_calls`, or else from the text. Raises ServerError for a call that the server lost.
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
    written = parsed_calls(text, tools)
    if tokenizer and tokenizer.has_tool_calling and len(calls) < len(written):
        parser = tokenizer.init_kwargs.get("tool_parser_type")
        right = next((name for name, _ in written if name != parser), parser)
        raise WrongParser(
            f"the server's tool parser ({parser}) dropped {len(written) - len(calls)} tool call(s);"
            f' set "tool_parser_type": "{right}" in the model\'s tokenizer_config.json',
            right,
        )
    answer = {
        "text": text,
        "thinking": thinking,
        "calls": calls or [call for _, call in written],
        "finish_reason": finish_reason,
    }
    # Half a surrogate pair cannot be kept.
    return json.loads(json.dumps(answer, ensure_ascii=False).encode("utf-8", "replace"))
