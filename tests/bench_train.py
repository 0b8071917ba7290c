"""What py/train.py costs: the bare `mlx_lm lora` command and the same under it, in turns.

    make bench-train CONFIG=demo.env          after make demo

Prints the ratio of wall and of CPU time of each pair and their medians, and whether both wrote the
same weights. Reports and validations are as frequent as in the real run: every 10 iterations.
"""

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "py"))

from files import sha256_of  # noqa: E402
from settings import load_settings  # noqa: E402

PAIRS = 3
ITERATIONS = 30


def timed(words: list) -> tuple[float, float]:
    """(wall, CPU) seconds of a command."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(list(map(str, words)), cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.monotonic() - started, cpu


def main() -> None:
    settings = load_settings(Path(sys.argv[1]))
    model, data = Path(settings["BUILD"]) / "base", settings["DATA"]
    python = ROOT / "bin/python"
    starts = {"bare": [python, "-m"], "train.py": [python, "py/train.py", "--patience", 5]}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in starts}
    with tempfile.TemporaryDirectory() as scratch:
        for pair in range(PAIRS):
            for name in sorted(starts, reverse=bool(pair % 2)):
                words = ["mlx_lm", "lora", "--train", "--mask-prompt", "--model", model]
                words += ["--data", data, "--iters", ITERATIONS, "--batch-size", 2]
                words += ["--val-batches", 5, "--steps-per-eval", 10, "--save-every", 10]
                words += ["--adapter-path", f"{scratch}/{name}"]
                times[name].append(timed([*starts[name], *words]))
                wall, cpu = times[name][-1]
                print(f"{name:<9} {wall:7.2f} s wall  {cpu:7.2f} s CPU", flush=True)
        weights = {sha256_of(Path(scratch, name, "adapters.safetensors")) for name in starts}
    for n, kind in enumerate(("wall", "CPU")):
        pairs = zip(times["train.py"], times["bare"], strict=True)
        ratios = [ours[n] / bare[n] for ours, bare in pairs]
        shown = ", ".join(f"{ratio:.3f}" for ratio in ratios)
        print(f"train.py / bare, {kind} time: {shown}; median {statistics.median(ratios):.3f}")
    print("the same weights" if len(weights) == 1 else "OTHER WEIGHTS")


if __name__ == "__main__":
    main()
