"""Start `mlx_lm server` for one model, find that model's id, and ask it questions over HTTP."""

import contextlib
import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

SERVER = Path(__file__).resolve().parent.parent / "bin" / "server.sh"
START_SECONDS = 120
RETRY_WAITS = (1, 4)  # seconds before the second and the third attempt


class ServerError(Exception):
    """The server cannot give an answer that could be scored. Its text is one line."""


def choose_port(port: int) -> int:
    """`port` if it is free on 127.0.0.1, any free one for 0. Raises ValueError if it is taken."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise ValueError(
                f"EVAL_PORT={port}: {error.strerror}; choose another, or 0 for any free port"
            ) from error
        return probe.getsockname()[1]


@contextlib.contextmanager
def running_server(model: Path, port: int, log: Path):
    """Serve the model directory `model`; yields the base URL; the server is gone afterwards.

    bin/server.sh keeps the server alive only while we hold its standard input, so it ends even
    when this process is killed.
    """
    port = choose_port(port)
    log.parent.mkdir(parents=True, exist_ok=True)
    # A group of its own: on Ctrl-C we end it after our own clean-up, not in the middle of it.
    process = subprocess.Popen(
        [str(SERVER), str(model), str(port), str(log)],
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until_healthy(url, process, log)
        yield url
    finally:
        process.stdin.close()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()


def wait_until_healthy(url: str, process: subprocess.Popen, log: Path) -> None:
    """Return when /health answers. Raises ServerError when the server ends or never does."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ServerError(f"the server ended while starting; see the end of {log}")
        try:
            get_json(f"{url}/health")
            return
        except urllib.error.HTTPError as error:
            # 503: its generating thread has died, which is how a model that fails to load shows.
            raise ServerError(
                f"the server could not load the model; see the end of {log}"
            ) from error
        except OSError:  # not listening yet
            time.sleep(0.05)
    raise ServerError(f"the server did not answer within {START_SECONDS} s; see the end of {log}")


def get_json(url: str, timeout: float = 10) -> dict:
    """The JSON object at `url`; OSError when it cannot be had, ValueError if it is not JSON."""
    with urllib.request.urlopen(url, timeout=timeout) as response:
        return json.load(response)


def find_model_id(url: str, model: Path) -> str:
    """The id under which the server lists `model`: its resolved path, and nothing else.

    mlx_lm server lists every model in the Hugging Face cache before the one it was started
    with, and a request that names another id makes it load that other model: taking the first
    id scores the wrong model. Raises ServerError when the path is not listed.
    """
    wanted = str(Path(model).resolve())
    listed = [entry["id"] for entry in get_json(f"{url}/v1/models")["data"]]
    if wanted not in listed:
        raise ServerError(
            f"the server at {url} does not list {wanted} (it lists {', '.join(listed) or 'none'});"
            " refusing to evaluate another model"
        )
    return wanted


def ask(url: str, request: dict, timeout: float) -> tuple[dict, int]:
    """POST a chat completion; returns (response, attempts). Raises ServerError in the end.

    Cut connections, timeouts and 5xx are tried again; a refused request (4xx) is not.
    """
    body = json.dumps(request).encode()
    post = urllib.request.Request(
        f"{url}/v1/chat/completions", body, {"Content-Type": "application/json"}
    )
    for attempt in range(1, len(RETRY_WAITS) + 2):
        try:
            with urllib.request.urlopen(post, timeout=timeout) as response:
                return json.load(response), attempt
        except urllib.error.HTTPError as error:
            reason = f"HTTP {error.code}: {error.read(300).decode(errors='replace')}"
            if error.code < 500:
                raise ServerError(reason) from error
        except (OSError, ValueError) as error:
            reason = f"{type(error).__name__}: {error}"
        if attempt <= len(RETRY_WAITS):
            time.sleep(RETRY_WAITS[attempt - 1])
    raise ServerError(f"no answer after {attempt} attempts ({reason})")
