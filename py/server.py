"""Serve one model with `mlx_lm server`, on 127.0.0.1, in a process that sees no other model.

As a program it serves until Ctrl-C (`make serve`). The evaluation starts the same program with
ModelServer, and the server then ends when the evaluation ends.
"""

import argparse
import functools
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from pathlib import Path

import httpx2

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 120
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class ServerError(Exception):
    """The server cannot give an answer that could be scored. Its text is one line."""


def choose_port(port: int) -> int:
    """`port` if it is free on 127.0.0.1, any free one for 0. Raises ValueError if it is taken."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            raise ValueError(
                f"EVAL_PORT={port}: {error}; choose another, or 0 for any free port"
            ) from error
        return probe.getsockname()[1]


@functools.cache
def open_client(past_proxies: bool) -> httpx2.Client:
    """A client for many requests at once. It follows no redirect, which would pass a key on."""
    return httpx2.Client(trust_env=not past_proxies, limits=httpx2.Limits(max_connections=None))


def client_for(url: str) -> httpx2.Client:
    """The client for `url`. A proxy that the environment names cannot reach this machine."""
    return open_client(past_proxies=urllib.parse.urlsplit(url).hostname in LOOPBACK)


def get_json(url: str, headers: dict | None = None, timeout: float = 10) -> dict:
    """The JSON at `url`. Raises httpx2.HTTPError, or ValueError for what is not JSON."""
    response = client_for(url).get(url, headers=headers, timeout=timeout)
    return response.raise_for_status().json()


class ModelServer:
    """`mlx_lm server` for the model directory `model`, as a context manager; `url` is its address.

    The server ends when its standard input closes. We hold the other end, so it ends with us,
    however we end. Raises ServerError when it does not start, ValueError for a port that is taken.
    """

    headers = {}  # a request needs no key

    def __init__(self, model: Path, port: int, log: Path):
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        port = choose_port(port)
        self.url = f"http://127.0.0.1:{port}"
        program = [ROOT / "bin/python", __file__, model, "--port", port, "--until-input-closes"]
        with log.open("ab") as stream:
            # In a session of its own it gets no Ctrl-C. We end it when our work is put away.
            self.process = subprocess.Popen(
                list(map(str, program)),
                stdin=subprocess.PIPE,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )

    def __enter__(self):
        try:
            wait_until_healthy(self.url, self.process, self.log)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self) -> None:
        """End the process. Kill it when it does not go by itself."""
        self.process.stdin.close()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def check(self) -> None:
        """Raise ServerError when the server can give no more answers."""
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


def wait_until_healthy(url: str, process: subprocess.Popen, log: Path) -> None:
    """Return when the server answers. Raises ServerError when it ends or never does."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ServerError(f"the server ended while starting; see the end of {log}")
        try:
            get_json(f"{url}/health")
            return
        except httpx2.HTTPStatusError as error:
            raise ServerError(
                f"the server could not load the model; see the end of {log}"
            ) from error
        except (httpx2.TransportError, ValueError):  # it does not listen yet
            time.sleep(0.05)
    raise ServerError(f"the server did not answer within {START_SECONDS} s; see the end of {log}")


def serve(model: Path, port: int, until_input_closes: bool) -> None:
    """Run `mlx_lm server` in this process, with an empty model cache and without the hub.

    The server lists every model of the cache before ours, and loads what a request names.
    """
    with tempfile.TemporaryDirectory() as cache:
        os.environ.update(HF_HUB_CACHE=cache, HF_HUB_OFFLINE="1")
        if until_input_closes:
            threading.Thread(target=end_with_input, args=(cache,), daemon=True).start()
        from mlx_lm import server  # reads HF_HUB_CACHE when it is imported

        sys.argv = ["mlx_lm server", "--model", str(model), "--host", "127.0.0.1"]
        sys.argv += ["--port", str(port)]
        server.main()


def end_with_input(cache: str) -> None:
    """End this process, in the middle of anything, when standard input closes."""
    sys.stdin.buffer.read()
    os.rmdir(cache)
    os._exit(0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="folder of the model")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--until-input-closes", action="store_true", help="for the evaluation")
    args = parser.parse_args()
    try:
        if not args.until_input_closes:
            if not args.model.is_dir():
                raise ValueError(f"{args.model}: no such model directory; make quantize makes q5")
            args.port = choose_port(args.port)
            print(USAGE.format(model=args.model, port=args.port, path=args.model.resolve()))
        serve(args.model, args.port, args.until_input_closes)
    except (ValueError, OSError) as error:
        print(f"serve: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # before the server is up; later it ends by itself
        return 130
    return 0


USAGE = """\
Serving {model} until Ctrl-C. Ask it from another terminal:

  curl http://127.0.0.1:{port}/v1/chat/completions -H 'Content-Type: application/json' -d '{{
    "model": "{path}",
    "chat_template_kwargs": {{"enable_thinking": false}},
    "messages": [{{"role": "user", "content": "Which files are modified?"}}]}}'

Any OpenAI client works too: base URL http://127.0.0.1:{port}/v1, the model is the path above.
"""

if __name__ == "__main__":
    sys.exit(main())
