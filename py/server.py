"""The life of one `mlx_lm server`: started, watched, revived if it crashes, gone at the end."""

import contextlib
import http.client
import json
import os
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

SERVER = Path(__file__).resolve().parent.parent / "bin" / "server.sh"
START_SECONDS = 120
RESTARTS = 2
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """Leaves a redirect as the error that it is here."""

    def redirect_request(self, *_):
        """Follow nothing."""


DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}), NoRedirect)
PROXIED = urllib.request.build_opener(NoRedirect)


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


def open_url(request: str | urllib.request.Request, timeout: float):
    """urllib's urlopen, but past any proxy for this machine's own addresses, and no redirects.

    A proxy could not reach, and should not see, what is meant for this machine. A redirect would
    take a key to another server; it is an HTTPError.
    """
    url = request if isinstance(request, str) else request.full_url
    opener = DIRECT if urllib.parse.urlsplit(url).hostname in LOOPBACK else PROXIED
    return opener.open(request, timeout=timeout)


def get_json(url: str | urllib.request.Request, timeout: float = 10) -> dict:
    """The JSON object at `url`; OSError when it cannot be had, ValueError if it is not JSON."""
    try:
        with open_url(url, timeout) as response:
            return json.load(response)
    except http.client.HTTPException as error:
        raise OSError(f"cut off ({error})") from error


class ModelServer:
    """`mlx_lm server` for the model directory `model`, as a context manager.

    bin/server.sh keeps the server alive only while we hold its standard input, so it ends even
    when this process is killed. `url` is where it listens; after a crash another.
    """

    headers = {}  # nothing but what every request has

    def __init__(self, model: Path, port: int, log: Path):
        self.model, self.port, self.log = model, port, log
        self.process, self.starts = None, 0
        self.lock = threading.Lock()

    def __enter__(self):
        self.log.parent.mkdir(parents=True, exist_ok=True)
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self) -> None:
        """Start the process and wait until it answers. Raises ServerError, ValueError."""
        port = choose_port(self.port)
        self.starts += 1
        # A group of its own: on Ctrl-C we end it after our own clean-up, not in the middle of it.
        self.process = subprocess.Popen(
            [str(SERVER), str(self.model), str(port), str(self.log)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        self.url = f"http://127.0.0.1:{port}"
        wait_until_healthy(self.url, self.process, self.log)

    def stop(self) -> None:
        """End the process; kill it when it does not go by itself."""
        if not self.process:
            return
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, 9)
            self.process.wait()

    def revive(self, starts: int) -> None:
        """Start the server again if it has crashed; `starts` is its count before the failure.

        Many requests fail at once when a server goes: only the first of them starts it again.
        Raises ServerError when it has crashed too often.
        """
        with self.lock:
            if self.starts != starts or self.process.poll() is None and is_healthy(self.url):
                return
            if self.starts > RESTARTS:
                raise ServerError(f"the server crashed {self.starts} times; see {self.log}")
            self.stop()
            self.start()


def is_healthy(url: str) -> bool:
    """Does the server say that it can generate? /health is 503 once its generating thread died."""
    try:
        get_json(f"{url}/health")
    except urllib.error.HTTPError:
        return False
    except (OSError, ValueError):  # busy or gone: whether it is gone, its process says
        return True
    return True


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
        except (OSError, ValueError):  # not listening yet
            time.sleep(0.05)
    raise ServerError(f"the server did not answer within {START_SECONDS} s; see the end of {log}")
