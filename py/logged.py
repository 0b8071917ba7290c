"""Run one command of a step: alone in its build folder, with live progress bars and a plain log.

    python logged.py OUTPUT COMMAND...

OUTPUT is what the Makefile's rule makes. A lock on its folder keeps a second make out; it ends with
the process, also after kill -9. A killed run may have left OUTPUT.tmp, which is removed first.
"""

import fcntl
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

from program import run

ESCAPES = re.compile(rb"\x1b\[[0-?]*[ -/]*[@-~]")
INTERRUPTED = [128 + n for n in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)]
FULL = 10_000_000  # bytes; with less free disk, a failure is the disk's


def plain(line: bytes) -> bytes:
    """The line as it looked in the end: no escapes, and only what was drawn last."""
    return ESCAPES.sub(b"", line).rstrip(b"\r").rpartition(b"\r")[2].rstrip() + b"\n"


def copy_output(source: int, log, live: bool) -> None:
    """Copy what comes from `source` to stdout and, in plain lines, to `log`."""
    data, pending = b"?", b""
    while data:
        try:
            data = os.read(source, 65536)
        except OSError:  # Linux reports the end of a terminal as an error
            data = b""
        *lines, pending = (pending + data).split(b"\n")
        if pending and not data:
            lines.append(pending)
        text = b"".join(map(plain, lines))
        log.write(text)
        log.flush()
        os.write(1, data if live else text)


def run_command(command: list[str], log, lock: int) -> int:
    """Run `command`, which inherits the lock; its exit status, 128+N if signal N ended it."""
    live = sys.stdout.isatty()
    source, sink = pty.openpty() if live else os.pipe()
    if live:
        fcntl.ioctl(sink, termios.TIOCSWINSZ, fcntl.ioctl(1, termios.TIOCGWINSZ, bytes(8)))
    no_input, _ = os.pipe()  # never ends: mlx.launch would spin on an input that has ended
    process = subprocess.Popen(command, stdin=no_input, stdout=sink, stderr=sink, pass_fds=[lock])
    os.close(sink)
    signal.signal(signal.SIGINT, lambda *_: None)  # a terminal sends Ctrl-C to the command as well
    for signum in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, lambda number, _: process.send_signal(number))
    copy_output(source, log, live)
    status = process.wait()
    return 128 - status if status < 0 else status


def main() -> int:
    output, command = Path(sys.argv[1]), sys.argv[2:]
    folder, half_made = output.parent, f"{output}.tmp"
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ValueError(f"{folder}: another make is at work here; wait for it") from None
    subprocess.run(["rm", "-rf", half_made], check=True)
    path = folder / "logs" / f"{output.stem}.log"
    path.parent.mkdir(exist_ok=True)
    ended = path.is_file() and b"\nmade " in path.read_bytes()  # bin/done.sh writes that line
    started = time.monotonic()
    with path.open("wb" if ended else "ab") as log:  # a new log, or more of the step's last one
        status = run_command(command, log, lock)
    if status:
        subprocess.run(["rm", "-rf", half_made], check=True)
        if status not in INTERRUPTED:
            said = path.read_text(encoding="utf-8", errors="replace").rstrip()
            why = said.rpartition("\n")[2].strip() or "it said nothing"
            if shutil.disk_usage(folder).free < FULL:
                why = "the disk is full; free some, then run make again"
            print(f"{output}: not made: {why} ({path})", file=sys.stderr)
        return status
    seconds = round(time.monotonic() - started, 1)
    entry = {"output": output.name, "program": command[1], "seconds": seconds}
    with (folder / "logs/times.jsonl").open("a") as stream:
        stream.write(json.dumps(entry) + "\n")
    return 0


if __name__ == "__main__":
    run(main)
