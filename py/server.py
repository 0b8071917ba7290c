"""Serve one model with `mlx_lm server`, on 127.0.0.1, in a process that sees no other model."""

import argparse
import contextlib
import functools
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

from program import Failed, run

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 120
LOOPBACK = ("127.0.0.1", "localhost", "::1")
USAGE = """\
Serving {model} until Ctrl-C. Ask it from another terminal:

  curl http://127.0.0.1:{port}/v1/chat/completions -H 'Content-Type: application/json' -d '{{
    "model": "{path}",
    "chat_template_kwargs": {{"enable_thinking": false}},
    "messages": [{{"role": "user", "content": "Which files are modified?"}}]}}'

Any OpenAI client works too: base URL http://127.0.0.1:{port}/v1, the model is the path above.
"""


class ServerError(Failed):
    """The server cannot give an answer that could be scored."""


def choose_port(port: int) -> int:
    """`port` if it is free on 127.0.0.1, any free one for 0. Raises ValueError if it is taken."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            text = f"EVAL_PORT={port}: {error}; choose another, or 0 for any free port"
            raise ValueError(text) from error
        return probe.getsockname()[1]


@functools.cache
def client_for(url: str) -> httpx2.Client:
    """The client for requests to `url`. It follows no redirect, which would pass a key on."""
    local = urllib.parse.urlsplit(url).hostname in LOOPBACK  # no proxy can reach this machine
    return httpx2.Client(trust_env=not local, limits=httpx2.Limits(max_connections=None))


def get_json(url: str, headers: dict | None = None, timeout: float = 10) -> dict:
    """The JSON at `url`. Raises httpx2.HTTPError, or ValueError for what is not JSON."""
    response = client_for(url).get(url, headers=headers, timeout=timeout)
    return response.raise_for_status().json()


@dataclass
class Server:
    """A server to ask: one of ours, with its process and log, or one that is already running."""

    url: str
    headers: dict = field(default_factory=dict)  # they carry the key
    process: subprocess.Popen | None = None
    log: Path | None = None

    def check(self) -> None:
        """Raise ServerError if our server can give no more answers."""
        if self.process is None:
            return
        crashed = self.process.poll() is not None
        try:
            get_json(f"{self.url}/health")
        except httpx2.HTTPStatusError:  # it still listens, but the thread that generates is dead
            crashed = True
        except (httpx2.TransportError, ValueError):  # busy or gone; the process says which
            pass
        if crashed:
            raise ServerError(
                f"the server crashed; see the end of {self.log}. The answers so far are kept: run"
                " the same command again"
            )


@contextlib.contextmanager
def start_server(model: Path, port: int, log: Path, adapters: Path | None = None):
    """Yield a Server for the model directory `model`, and end it afterwards.

    It ends when its standard input closes. We hold the other end, so it ends with us even if we are
    killed. Raises ServerError if it does not start, ValueError for a port that is taken.
    """
    port = choose_port(port)
    program = [ROOT / "bin/python", __file__, model, "--port", port, "--until-input-closes"]
    program += ["--adapters", adapters] if adapters else []
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as stream:
        process = subprocess.Popen(
            list(map(str, program)),
            stdin=subprocess.PIPE,
            stdout=stream,
            stderr=stream,
            start_new_session=True,  # so that Ctrl-C reaches us only
        )
    server = Server(f"http://127.0.0.1:{port}", process=process, log=log)
    try:
        wait_until_healthy(server.url, process, log)
        yield server
    finally:
        process.stdin.close()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_healthy(url: str, process: subprocess.Popen, log: Path) -> None:
    """Return when the server answers. Raises ServerError when it ends or never does."""
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            get_json(f"{url}/health")
            return
        except httpx2.HTTPStatusError as error:
            text = f"the server could not load the model; see the end of {log}"
            raise ServerError(text) from error
        except (httpx2.TransportError, ValueError):  # it does not listen yet
            time.sleep(0.05)
    raise ServerError(
        f"the server ended or was not ready in {START_SECONDS} s; see the end of {log}"
    )


def end_with_input(cache: str) -> None:
    """End this process, in the middle of anything, when standard input closes."""
    sys.stdin.buffer.read()
    os.rmdir(cache)
    os._exit(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="folder of the model")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--adapters", type=Path, help="folder of adapters on top of it")
    parser.add_argument("--until-input-closes", action="store_true", help="for start_server()")
    args = parser.parse_args()
    if not args.until_input_closes:
        if not args.model.is_dir():
            raise ValueError(f"{args.model}: no such model directory; make quantize makes q5")
        choose_port(args.port)
        print(USAGE.format(model=args.model, port=args.port, path=args.model.resolve()))
    # The server lists every model of the hub's cache before ours, and loads what a request names.
    with tempfile.TemporaryDirectory() as cache:
        os.environ.update(HF_HUB_CACHE=cache, HF_HUB_OFFLINE="1")
        if args.until_input_closes:
            threading.Thread(target=end_with_input, args=(cache,), daemon=True).start()
        from mlx_lm import server  # reads HF_HUB_CACHE when it is imported

        # By its resolved path, as it is asked for: else the server loads it a second time.
        sys.argv = ["mlx_lm server", "--model", str(args.model.resolve()), "--host", "127.0.0.1"]
        sys.argv += ["--port", str(args.port)]
        if args.adapters:
            sys.argv += ["--adapter-path", str(args.adapters.resolve())]
        server.main()


if __name__ == "__main__":
    run(main)
