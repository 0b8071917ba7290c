"""A step has live bars in a terminal, a plain log, and its build folder to itself."""

import json
import os
import pty
import signal
import subprocess
import sys

import pytest

from conftest import ROOT, clean_environment, wait_for
from manifest import step_times

LOGGED = [sys.executable, str(ROOT / "py/logged.py")]


def logged(output, code: str, **options) -> subprocess.CompletedProcess:
    """A Python program as the command of the step that makes `output`."""
    words = [*LOGGED, output, sys.executable, "-c", code]
    return subprocess.run(words, env=clean_environment(), timeout=30, **options)


def in_terminal(output, code: str) -> bytes:
    """The same in a terminal; what the terminal gets to see."""
    leader, follower = pty.openpty()
    logged(output, code, stdout=follower, stderr=follower)
    os.close(follower)
    seen = b""
    try:
        while data := os.read(leader, 65536):
            seen += data
    except OSError:  # so Linux reports the end
        pass
    os.close(leader)
    return seen


def test_bars_are_live_in_a_terminal_and_the_log_is_plain(tmp_path):
    code = r"print('\x1b[1mten\x1b[0m'); print('\r10%', end=''); print('\r99%', end='')"
    seen = in_terminal(tmp_path / "fused", code)
    assert b"\x1b[1mten" in seen and b"\r10%\r99%" in seen
    assert (tmp_path / "logs/fused.log").read_text() == "ten\n99%\n"
    run = logged(tmp_path / "q5", code, capture_output=True)
    assert run.stdout == b"ten\n99%\n"  # no colours in a pipe


def test_a_failed_step_names_its_log_and_leaves_nothing_half_made(tmp_path):
    half = tmp_path / "fused.tmp"
    code = f"import os, sys; os.mkdir('{half}'); print('what went wrong'); sys.exit(3)"
    run = logged(tmp_path / "fused", code, capture_output=True, text=True)
    assert run.returncode == 3 and not half.exists()
    assert run.stderr.splitlines() == [
        f"{tmp_path}/fused: not made: what went wrong ({tmp_path}/logs/fused.log)"
    ]
    assert (tmp_path / "logs/fused.log").read_text() == "what went wrong\n"


def test_half_a_result_of_a_killed_run_is_removed_first(tmp_path):
    (tmp_path / "q5.tmp").mkdir()
    (tmp_path / "q5.tmp/half").touch()
    assert logged(tmp_path / "q5", f"import os; os.mkdir('{tmp_path}/q5.tmp')").returncode == 0


def test_a_log_holds_the_whole_step_and_begins_anew_for_the_next(tmp_path):
    """Two commands of one step, or a training and its resumption, share a log."""
    output, log = tmp_path / "adapters", tmp_path / "logs/adapters.log"
    logged(output, "print('one')")
    (tmp_path / "adapters.tmp").touch()
    logged(output, f"print('two'); open('{output}.tmp', 'w')")
    subprocess.run([ROOT / "bin/done.sh", output, "train", "ITERS=1"], check=True)
    text = log.read_text()
    assert text.startswith("one\ntwo\nmade ") and text.count("\n") == 3
    assert (tmp_path / "made/train").read_text() == "ITERS=1\n"
    logged(output, "print('three')")
    assert log.read_text() == "three\n"


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_reaches_the_command(tmp_path, signum):
    code = "import time; open(r'%s', 'w'); time.sleep(60)" % (tmp_path / "ready")
    process = subprocess.Popen(
        [*LOGGED, tmp_path / "fused", sys.executable, "-c", code],
        env=clean_environment(),
        stderr=subprocess.DEVNULL,
    )
    wait_for((tmp_path / "ready").exists)
    process.send_signal(signum)
    assert process.wait(timeout=30) == 128 + signum


def test_a_second_step_is_refused_and_a_kill_ends_the_lock(tmp_path):
    code = "import time; open(r'%s', 'w'); time.sleep(60)" % (tmp_path / "ready")
    words = [*LOGGED, tmp_path / "fused", sys.executable, "-c", code]
    first = subprocess.Popen(words, env=clean_environment(), start_new_session=True)
    wait_for((tmp_path / "ready").exists)
    (tmp_path / "q5.tmp").touch()
    second = logged(tmp_path / "q5", "print('never')", capture_output=True, text=True)
    assert second.returncode == 2 and "another make is at work here" in second.stderr
    assert (tmp_path / "q5.tmp").exists() and not (tmp_path / "logs/q5.log").exists()
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    wait_for(lambda: logged(tmp_path / "q5", "pass", capture_output=True).returncode == 0)


def test_a_step_without_output_keeps_the_old_output(tmp_path):
    (tmp_path / "made").mkdir()
    (tmp_path / "made/quantize").write_text("Q_BITS=5\n")
    (tmp_path / "q5").mkdir()
    words = [ROOT / "bin/done.sh", tmp_path / "q5", "quantize", "Q_BITS=4"]
    refused = subprocess.run(words, capture_output=True, text=True)
    assert refused.returncode == 1 and "q5: not made" in refused.stderr
    assert (tmp_path / "q5").exists()
    assert (tmp_path / "made/quantize").read_text() == "Q_BITS=5\n"


def test_a_step_of_two_programs_took_the_time_of_both(tmp_path):
    for _ in range(2):  # the last run counts
        logged(tmp_path / "adapters", "pass")
    words = [*LOGGED, tmp_path / "adapters", sys.executable, "-V"]
    subprocess.run(words, env=clean_environment(), check=True)
    lines = (tmp_path / "logs/times.jsonl").read_text().splitlines()
    seconds = [json.loads(line)["seconds"] for line in lines]
    assert len(seconds) == 3
    assert step_times(tmp_path) == {"adapters": pytest.approx(seconds[1] + seconds[2], abs=0.11)}
