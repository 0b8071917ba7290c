"""logged.py keeps bars alive in a terminal, a plain log on disk, and the exit status."""

import os
import pty
import signal
import subprocess
import sys

import pytest

from conftest import ROOT, on_terminal, wait_for
from logged import plain, screen, without_colour

LOGGED = [sys.executable, str(ROOT / "py/logged.py")]
IS_TERMINAL = "import sys; print(sys.stdout.isatty())"


@pytest.mark.parametrize(
    ("drawn", "kept"),
    [
        (b"plain", b"plain"),
        (b"\x1b[1;32mgreen\x1b[0m text\r", b"green text"),
        (b"\r 10%\r 50%\r100%", b"100%"),
        (b"\x1b[2K\r\x1b]0;title\x07done", b"done"),
        ("bar ███".encode(), "bar ███".encode()),
    ],
)
def test_a_line_is_kept_as_it_looked_in_the_end(drawn, kept):
    assert plain(drawn) == kept


@pytest.mark.parametrize("status", [0, 3])
def test_output_and_status_are_the_commands(tmp_path, status):
    code = f"import sys; print('out'); print('err', file=sys.stderr); sys.exit({status})"
    run = subprocess.run(
        [*LOGGED, tmp_path / "log", sys.executable, "-c", code], capture_output=True, text=True
    )
    assert run.returncode == status
    assert sorted(run.stdout.split()) == ["err", "out"]
    assert sorted((tmp_path / "log").read_text().split()) == ["err", "out"]


def test_in_a_pipe_there_are_no_colours(tmp_path):
    code = r"print('\x1b[1;32mgreen\x1b[0m'); print('end', end='')"
    command = [*LOGGED, tmp_path / "log", sys.executable, "-c", code]
    assert subprocess.run(command, capture_output=True).stdout == b"green\nend\n"


def test_in_a_pipe_the_command_gets_a_pipe(tmp_path):
    command = [*LOGGED, tmp_path / "log", sys.executable, "-c", IS_TERMINAL]
    assert subprocess.run(command, capture_output=True, text=True).stdout == "False\n"


def test_in_a_terminal_the_command_gets_a_terminal(tmp_path):
    master, slave = pty.openpty()
    command = [*LOGGED, tmp_path / "log", sys.executable, "-c", IS_TERMINAL]
    run = subprocess.run(command, stdout=slave, timeout=30)
    os.close(slave)
    assert run.returncode == 0
    assert b"True" in os.read(master, 1000)
    os.close(master)
    assert (tmp_path / "log").read_bytes() == b"True\n"


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_command(tmp_path, signum):
    code = "print('up', flush=True); import time; time.sleep(60)"
    process = subprocess.Popen(
        [*LOGGED, tmp_path / "log", sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdout.readline() == b"up\n"
    process.send_signal(signum)
    process.communicate(timeout=10)
    assert process.returncode == 128 + signum or process.returncode == 1


def test_a_command_that_cannot_start_is_one_line(tmp_path):
    run = subprocess.run([*LOGGED, tmp_path / "log", "/no/such"], capture_output=True, text=True)
    assert (run.returncode, len(run.stderr.splitlines())) == (2, 1)


FAILING = "print('before', flush=True); raise ValueError('the reason')"


def test_of_a_traceback_the_screen_shows_the_last_line_and_the_log_has_all(tmp_path):
    command = [*LOGGED, tmp_path / "x.log", sys.executable, "-c", FAILING]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.stdout == "before\nValueError: the reason\n"
    assert run.stderr == f"x: failed; {tmp_path}/x.log has all that it said\n"
    assert "Traceback (most recent call last):" in (tmp_path / "x.log").read_text()


def test_in_a_terminal_too(tmp_path):
    master, slave = pty.openpty()
    command = [*LOGGED, tmp_path / "x.log", sys.executable, "-c", FAILING]
    subprocess.run(command, stdout=slave, stderr=subprocess.DEVNULL, timeout=30)
    os.close(slave)
    shown = os.read(master, 10000).decode().split()
    assert shown == ["before", "ValueError:", "the", "reason"]


@pytest.mark.parametrize("size", [1, 3, 50])
def test_a_traceback_in_pieces(size):
    said = b"one\nTraceback (most recent call last):\n  File x\n    y\nError: z\ntwo\n"
    shown = []
    show = screen(shown.append)
    header = said.index(b"Trace")
    show(said[: header + 40])  # the header comes in one piece: Python writes it so
    for n in range(header + 40, len(said), size):
        show(said[n : n + size])
    assert b"".join(shown) == b"one\nError: z\ntwo\n"


def test_what_a_failed_command_left_half_written_goes(tmp_path):
    (tmp_path / "half").mkdir()
    words = [LOGGED[0], LOGGED[1], "--discard", tmp_path / "half", tmp_path / "log"]
    for status, there in ((0, True), (3, False)):
        code = f"import sys; sys.exit({status})"
        run = subprocess.run([*words, sys.executable, "-c", code], capture_output=True)
        assert (run.returncode, (tmp_path / "half").exists()) == (status, there)


def test_the_command_ends_with_whoever_started_it(tmp_path):
    """SIGKILL to make alone must leave no training behind."""
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    words = [*LOGGED, str(tmp_path / "log"), sys.executable, "-c", code]
    starter = "import subprocess, sys, time; subprocess.Popen(sys.argv[1:]); time.sleep(600)"
    parent = subprocess.Popen([sys.executable, "-c", starter, *words], stdout=subprocess.DEVNULL)
    wait_for(lambda: (tmp_path / "log").exists() and (tmp_path / "log").read_text().strip())
    pid = int((tmp_path / "log").read_text())
    parent.kill()
    parent.wait()

    def gone() -> bool:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        return False

    wait_for(gone)


def in_terminal(tmp_path, code: str, *options, **environment) -> bytes:
    """What a terminal gets to see of a command that runs `code`."""
    command = [*LOGGED, *options, tmp_path / "log", sys.executable, "-c", code]
    return on_terminal(command, os.environ | environment)


def test_a_terminal_has_no_colours_with_no_color(tmp_path):
    code = r"print('\x1b[1;32mgreen\x1b[0m\r\x1b[2Kdone')"
    assert b"\x1b[1;32mgreen" in in_terminal(tmp_path, code, NO_COLOR="")
    assert in_terminal(tmp_path, code, NO_COLOR="1").startswith(b"green\r\x1b[2Kdone")


def test_a_colour_that_comes_in_pieces_is_left_out_too():
    seen = []
    show = without_colour(seen.append)
    for part in (b"\x1b[1;3", b"2mgreen\x1b", b"[0m", b"\r\x1b[2K", b"done\x1b[33m\n"):
        show(part)
    assert b"".join(seen) == b"green\r\x1b[2Kdone\n"


def test_quiet_shows_nothing_but_a_failure(tmp_path):
    assert in_terminal(tmp_path, "print('at work')", "--quiet") == b""
    assert (tmp_path / "log").read_text() == "at work\n"
    code = "import sys; print('at work'); print('train: 1 is no rate'); sys.exit(2)"
    run = subprocess.run(
        [*LOGGED, "--quiet", tmp_path / "log", sys.executable, "-c", code],
        capture_output=True,
        text=True,
    )
    assert (run.returncode, run.stdout, run.stderr) == (2, "", "train: 1 is no rate\n")
