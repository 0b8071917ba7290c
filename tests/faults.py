"""A build that is killed at random moments, and finished: does it end as an undisturbed one does?

    bin/python tests/faults.py [--times 20] [--signal KILL|INT|TERM] [--seed 0]

Each time the whole process group of a `make eval` on a tiny model gets the signal at a random
moment of its run, the build is finished, and its weights and answers are compared with those of a
build left alone; no process and no file may be left over. `make test` does so once.
"""

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "py"), str(ROOT / "tests")]

from conftest import write_tiny_config, write_tiny_model  # noqa: E402
from files import read_json, sha256_of  # noqa: E402


def start(config: Path, build: Path, log: Path) -> subprocess.Popen:
    """`make eval` in a process group of its own."""
    words = ["make", "-j8", "eval", f"CONFIG={config}", f"BUILD={build}"]
    with log.open("ab") as stream:
        return subprocess.Popen(
            words, cwd=ROOT, stdout=stream, stderr=stream, start_new_session=True
        )


def processes_of(build: Path) -> list[str]:
    """Command lines that name the build folder."""
    listed = subprocess.run(["ps", "-eww", "-o", "args="], capture_output=True, text=True).stdout
    return [line for line in listed.splitlines() if f"{build}/" in line and "ps -eww" not in line]


def wait_until_gone(build: Path, seconds: float = 10) -> list[str]:
    """What still runs there after so many seconds; a killed program's children end in a moment."""
    deadline = time.monotonic() + seconds
    while (left := processes_of(build)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def files_of(build: Path) -> set[str]:
    """The names in a build folder, but for the logs."""
    names = {str(path.relative_to(build)) for path in build.rglob("*")}
    return {name for name in names if not name.startswith("logs")}


def results_of(build: Path) -> dict:
    """What two equal builds have in common: sha256 of the weights, texts and losses."""
    found = {str(file.relative_to(build)): sha256_of(file) for file in build.rglob("*.safetensors")}
    for name in ("eval.json", "eval_base.json"):
        for prompt in read_json(build / name)["prompts"]:
            found[f"{name} {prompt['id']}"] = prompt["text"]
    return found | {"ladder.json": read_json(build / "ladder.json")["losses"]}


def disturb(config: Path, whole: Path, build: Path, moment: float, signum: int) -> list[str]:
    """Kill a build after `moment` seconds and finish it; what is wrong then, a line each."""
    log = build.with_suffix(".log")
    log.unlink(missing_ok=True)
    shutil.rmtree(build, ignore_errors=True)
    process = start(config, build, log)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=moment)
        return disturb(config, whole, build, moment / 2, signum)  # it had ended by then
    os.killpg(process.pid, signum)
    process.wait(timeout=60)
    wrong = [f"orphan: {line}" for line in wait_until_gone(build)]
    if signum != signal.SIGKILL and "Traceback" in log.read_text(errors="replace"):
        wrong.append("a traceback")
    status = start(config, build, log).wait(timeout=300)
    if status:
        return [*wrong, f"make ended with {status}: {log.read_text()[-500:]}"]
    wrong += [f"orphan: {line}" for line in wait_until_gone(build)]
    expected, found = results_of(whole), results_of(build)
    wrong += [f"differs: {name}" for name in expected if found.get(name) != expected[name]]
    wrong += [f"stray: {name}" for name in files_of(build) - files_of(whole)]
    return wrong + [f"missing: {name}" for name in files_of(whole) - files_of(build)]


def campaign(config: Path, folder: Path, times: int, signum: int, seed: int) -> int:
    """How many of `times` disturbed builds did not end as an undisturbed one."""
    whole = folder / "whole"
    started = time.monotonic()
    if start(config, whole, folder / "whole.log").wait(timeout=600):
        raise ValueError((folder / "whole.log").read_text()[-2000:])
    length = time.monotonic() - started
    moments, failed = random.Random(seed), 0
    for n in range(times):
        moment = moments.uniform(0.02, length)
        wrong = disturb(config, whole, folder / "disturbed", moment, signum)
        failed += bool(wrong)
        shown = "; ".join(wrong) or "the same"
        print(f"{n + 1:3} of {times}, after {moment:5.2f} of {length:.1f} s: {shown}", flush=True)
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--signal", choices=("KILL", "INT", "TERM"), default="KILL")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        config = write_tiny_config(folder, write_tiny_model(folder / "tiny"))
        signum = getattr(signal, f"SIG{args.signal}")
        failed = campaign(config, folder, args.times, signum, args.seed)
    print(f"{args.times - failed} of {args.times} ended as an undisturbed build (SIG{args.signal})")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
