"""Kill builds at random moments and finish them. Do they end as a build that was left alone?

    bin/python tests/faults.py [--times 20] [--signal KILL|INT|TERM] [--seed 0]

Each time `make eval` on a tiny model gets the signal, with all its children. Then make runs again.
Weights, answers and file names must be those of the other build, and no process may be left.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "py"))

from conftest import start_make, wait_for, write_tiny_config, write_tiny_model  # noqa: E402
from files import read_json, sha256_of  # noqa: E402


def start(config: Path, build: Path) -> subprocess.Popen:
    with build.with_suffix(".log").open("ab") as log:
        return start_make("-j8", "eval", f"CONFIG={config}", f"BUILD={build}", output=log)


def is_gone(build: Path) -> bool:
    """Does no process name the build folder?"""
    listed = subprocess.run(["ps", "-eww", "-o", "args="], capture_output=True, text=True).stdout
    return not [line for line in listed.splitlines() if f"{build}/" in line and "ps " not in line]


def contents(build: Path) -> dict:
    """What two equal builds have in common: file names, weights, answers and losses."""
    names = [path.relative_to(build) for path in build.rglob("*")]
    found = {str(name): "there" for name in names if name.parts[0] != "logs"}
    for file in build.rglob("*.safetensors"):
        found[str(file.relative_to(build))] = sha256_of(file)
    for name in ("eval.json", "eval_base.json"):
        found[name] = [prompt["text"] for prompt in read_json(build / name)["prompts"]]
    found["ladder.json"] = read_json(build / "ladder.json")["losses"]
    return found


def disturb(config: Path, whole: Path, build: Path, moment: float, signum: int) -> list[str]:
    """Kill a build after `moment` seconds and finish it; what is wrong then."""
    log = build.with_suffix(".log")
    log.unlink(missing_ok=True)
    shutil.rmtree(build, ignore_errors=True)
    process = start(config, build)
    time.sleep(moment)
    if process.poll() is not None:  # too late
        return disturb(config, whole, build, moment / 2, signum)
    os.killpg(process.pid, signum)
    process.wait(timeout=60)
    wait_for(lambda: is_gone(build))
    wrong = []
    if signum != signal.SIGKILL and "Traceback" in log.read_text(errors="replace"):
        wrong.append("a traceback")
    status = start(config, build).wait(timeout=300)
    if status:
        return [*wrong, f"make ended with {status}: {log.read_text()[-500:]}"]
    wait_for(lambda: is_gone(build))
    expected, found = contents(whole), contents(build)
    names = sorted(expected.keys() | found.keys())
    return wrong + [name for name in names if expected.get(name) != found.get(name)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--signal", choices=("KILL", "INT", "TERM"), default="KILL")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    signum, moments = getattr(signal, f"SIG{args.signal}"), random.Random(args.seed)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        config = write_tiny_config(folder, write_tiny_model(folder / "tiny"))
        started = time.monotonic()
        assert start(config, folder / "whole").wait(timeout=600) == 0, "see whole.log"
        length, failed = time.monotonic() - started, 0
        for n in range(args.times):
            moment = moments.uniform(0.02, length)
            wrong = disturb(config, folder / "whole", folder / "disturbed", moment, signum)
            failed += bool(wrong)
            said = f"differs: {', '.join(wrong)}" if wrong else "the same"
            print(f"{n + 1:3}, after {moment:5.2f} of {length:.1f} s: {said}", flush=True)
    print(f"{args.times - failed} of {args.times} ended as the build that was left alone")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
