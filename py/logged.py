"""Run a command so that its progress bars stay live in a terminal and a plain log is kept.

    python logged.py [--quiet] [--discard PATH] LOG COMMAND...

A program that writes to a pipe draws no bars, so in a terminal the command gets a terminal of
its own (a pty), and what it writes is passed on as it comes. The log holds the same lines as
plain text: no colour codes, and of a line that was drawn over and over only its last state.
Outside a terminal the output is plain too: mlx-lm writes colours even to a pipe. With NO_COLOR a
terminal gets none either. Of a traceback the log has all and the screen its last line. With --quiet
nothing is shown but, when the command fails, its last line.

The exit status is the command's. Ctrl-C, TERM and HUP reach the command, and it ends when whoever
started this program is gone. When it fails, PATH, half written, is removed, and a full disk is
called one. How long it took, and the most memory that one of its processes had, goes as one line
more into times.jsonl beside the log, for `make plan` and `make rehearse`.
"""

import argparse
import contextlib
import fcntl
import json
import os
import platform
import re
import resource
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from pathlib import Path

INTERRUPTED = (128 + signal.SIGHUP, 128 + signal.SIGINT, 128 + signal.SIGTERM)
FULL = 10_000_000  # bytes; with less left, a failure is the disk's
TRACEBACK = b"Traceback (most recent call last):"
MORE = re.compile(rb"Traceback |During handling of|The above exception")
# CSI sequences (colours, cursor moves) and OSC sequences (titles, links)
COLOUR = re.compile(rb"\x1b\[[0-9;:]*m")
UNFINISHED = re.compile(rb"\x1b(?:\[[0-9;:]*)?\Z")
ESCAPE = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")


def plain(line: bytes) -> bytes:
    """`line` (no newline) as it looks in the end: escapes gone, the last overdrawn state kept."""
    line = ESCAPE.sub(b"", line).rstrip(b"\r")
    return line.rpartition(b"\r")[2].rstrip()


def screen(write):
    """A function that shows bytes by `write`, as they come; of a traceback its last line only."""
    hidden = None  # what of a traceback has come since its last whole line

    def show(data: bytes) -> None:
        nonlocal hidden
        if hidden is None:
            shown, header, rest = data.partition(TRACEBACK)
            write(shown)
            if not header:
                return
            hidden, data = b" ", rest  # a space: the header's own line is not the last
        *lines, hidden = (hidden + data).split(b"\n")
        for n, line in enumerate(lines):
            if not line[:1].isspace() and not MORE.match(line) and plain(line):
                rest, hidden = b"\n".join([line, *lines[n + 1 :], hidden]), None
                show(rest)
                return

    return show


def without_colour(write):
    """A function that passes bytes to `write` as they come, colours left out."""
    held = b""  # the beginning of a sequence whose end is still to come

    def show(data: bytes) -> None:
        nonlocal held
        data = COLOUR.sub(b"", held + data)
        held = data[start.start() :] if (start := UNFINISHED.search(data)) else b""
        write(data[: len(data) - len(held)])

    return show


def copy_output(source: int, log, check, quiet: bool) -> None:
    """Pass what comes from `source` to stdout, and whole lines to `log` as plain text.

    `check` is called every second in which nothing comes; `quiet` shows nothing.
    """
    live = sys.stdout.isatty()
    show = screen(lambda data: quiet or write_all(sys.stdout.fileno(), data))
    if os.environ.get("NO_COLOR"):
        show = without_colour(show)
    pending = b""
    while True:
        if not select.select([source], [], [], 1)[0]:
            check()
            continue
        try:
            data = os.read(source, 65536)
        except OSError:  # Linux reports the end of a pty as EIO
            data = b""
        if not data:
            break
        if live:
            show(data)
        *lines, pending = (pending + data).split(b"\n")
        keep(lines, log, None if live else show)
    if plain(pending):
        keep([pending], log, None if live else show)


def keep(lines: list[bytes], log, show) -> None:
    """Write `lines` as plain text to `log`, and with `show` where they were not shown live."""
    text = b"".join(plain(line) + b"\n" for line in lines)
    log.write(text)
    log.flush()
    if show:
        show(text)


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


def drop_broken_kernels(since: float | None = None) -> None:
    """Remove what an interrupted compiler left in mlx's cache: mlx would load it for ever after.

    On a CPU mlx compiles kernels while it runs. Empty ones go, and those younger than `since`.
    """
    for library in Path(tempfile.gettempdir(), "mlx").glob("*/cpu/*.so"):
        with contextlib.suppress(OSError):  # another run removes it too
            state = library.stat()
            if state.st_size == 0 or (since is not None and state.st_mtime >= since):
                library.unlink()


def run_logged(log_path: str, command: list[str], quiet: bool) -> int:
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
        parent = os.getppid()

        def check():
            if os.getppid() != parent:
                process.terminate()

        copy_output(source, log, check, quiet)
        status = process.wait()
    return 128 - status if status < 0 else status


def last_line(log_path: str) -> str:
    """What the command said last."""
    lines = Path(log_path).read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line for line in reversed(lines) if line.strip()), "")


def record_time(log_path: str, seconds: float) -> None:
    """Add how long a stage took on this machine, and its peak memory, to times.jsonl."""
    log = Path(log_path)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    peak *= 1 if platform.system() == "Darwin" else 1024  # bytes there, kilobytes elsewhere
    entry = {"stage": log.stem, "seconds": round(seconds, 1), "machine": platform.node()}
    entry["peak_bytes"] = peak
    with log.with_name("times.jsonl").open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(entry) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quiet", action="store_true", help="show nothing but what is wrong")
    parser.add_argument("--discard", type=Path, help="remove this when the command fails")
    parser.add_argument("log", help="where the plain text goes")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    args = parser.parse_args()
    stage, started, clock = Path(args.log).stem, time.monotonic(), time.time()
    try:
        drop_broken_kernels()
        status = run_logged(args.log, args.command, args.quiet)
        if status > 128:
            drop_broken_kernels(clock)
        if status == 0:
            record_time(args.log, time.monotonic() - started)
            return 0
        full = shutil.disk_usage(Path(args.log).parent).free < FULL
        if args.discard and args.discard.is_dir():
            shutil.rmtree(args.discard)
        if args.quiet:
            print(last_line(args.log), file=sys.stderr)
    except OSError as error:
        print(f"logged: {error.strerror}: {error.filename}", file=sys.stderr)
        return 2
    if full:
        print(f"{stage}: the disk is full; free some, then make goes on from here", file=sys.stderr)
    elif status not in INTERRUPTED and TRACEBACK in Path(args.log).read_bytes():
        print(f"{stage}: failed; {args.log} has all that it said", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
