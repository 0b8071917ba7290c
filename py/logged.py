"""Run a command so that its progress bars stay live in a terminal and a plain log is kept.

    python logged.py LOG COMMAND...

A program that writes to a pipe draws no bars, so in a terminal the command gets a terminal of
its own (a pty), and what it writes is passed on as it comes. The log holds the same lines as
plain text: no colour codes, and of a line that was drawn over and over only its last state.
Outside a terminal the output is plain too: mlx-lm writes colours even to a pipe.
The exit status is the command's. Ctrl-C, TERM and HUP reach the command. How long it took goes, as
one line more, into times.jsonl beside the log: `make plan` shows it.
"""

import fcntl
import json
import os
import platform
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

# CSI sequences (colours, cursor moves) and OSC sequences (titles, links)
ESCAPE = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")


def plain(line: bytes) -> bytes:
    """`line` (no newline) as it looks in the end: escapes gone, the last overdrawn state kept."""
    line = ESCAPE.sub(b"", line).rstrip(b"\r")
    return line.rpartition(b"\r")[2].rstrip()


def copy_output(source: int, log) -> None:
    """Pass what comes from `source` to stdout, and whole lines to `log` as plain text."""
    live = sys.stdout.isatty()
    pending = b""
    while True:
        try:
            data = os.read(source, 65536)
        except OSError:  # Linux reports the end of a pty as EIO
            data = b""
        if not data:
            break
        if live:
            write_all(sys.stdout.fileno(), data)
        *lines, pending = (pending + data).split(b"\n")
        keep(lines, log, live)
    if plain(pending):
        keep([pending], log, live)


def keep(lines: list[bytes], log, live: bool) -> None:
    """Write `lines` as plain text to `log`, and to stdout where they were not shown live."""
    text = b"".join(plain(line) + b"\n" for line in lines)
    log.write(text)
    log.flush()
    if not live:
        write_all(sys.stdout.fileno(), text)


def write_all(target: int, data: bytes) -> None:
    """os.write until `data` is out; a reader that went away does not stop the command."""
    while data:
        try:
            data = data[os.write(target, data) :]
        except BrokenPipeError:
            return


def open_channel() -> tuple[int, int]:
    """(read end, write end) for the command's output: a pty in a terminal, else a pipe."""
    if not sys.stdout.isatty():
        return os.pipe()
    master, slave = os.openpty()
    size = fcntl.ioctl(sys.stdout, termios.TIOCGWINSZ, struct.pack("4H", 0, 0, 0, 0))
    fcntl.ioctl(slave, termios.TIOCSWINSZ, size)
    return master, slave


def run_logged(log_path: str, command: list[str]) -> int:
    """Run `command`, write its output to `log_path`, return its exit status (128+N if killed)."""
    source, sink = open_channel()
    with open(log_path, "wb") as log:
        # Same process group: what is sent to the group, Ctrl-C say, reaches the command by itself.
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink)
        os.close(sink)

        def forward(signum, _frame):
            process.send_signal(signum)  # does nothing once the command is gone

        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(signum, forward)
        copy_output(source, log)
        status = process.wait()
    return 128 - status if status < 0 else status


def record_time(log_path: str, seconds: float) -> None:
    """Add how long a stage took on this machine to times.jsonl beside its log."""
    log = Path(log_path)
    entry = {"stage": log.stem, "seconds": round(seconds, 1), "machine": platform.node()}
    with log.with_name("times.jsonl").open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(entry) + "\n")


def main() -> int:
    if len(sys.argv) < 3:
        print("usage: logged.py LOG COMMAND...", file=sys.stderr)
        return 2
    log_path, *command = sys.argv[1:]
    started = time.monotonic()
    try:
        status = run_logged(log_path, command)
        if status == 0:
            record_time(log_path, time.monotonic() - started)
        return status
    except OSError as error:
        print(f"logged: {error.strerror}: {error.filename}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
