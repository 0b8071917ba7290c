"""How long "nothing to do" takes: `make bench-make CONFIG=demo.env`, after make demo."""

import statistics
import subprocess
import sys
import time

from conftest import ROOT, clean_environment

RUNS = 7


def main() -> None:
    # bin/python's BLAS is for this program. Every shell of make would load it, too.
    environment = clean_environment()
    for name in ("LD_PRELOAD", "LD_LIBRARY_PATH"):
        environment.pop(name, None)
    command = ["make", "eval", f"CONFIG={sys.argv[1]}"]
    seconds = []
    for _ in range(1 + RUNS):
        started = time.monotonic()
        subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
        seconds.append(time.monotonic() - started)
    seconds = sorted(seconds[1:])  # the first run fills the caches
    middle = statistics.median(seconds)
    print(f"make eval: {middle:.3f} s ({seconds[0]:.3f} to {seconds[-1]:.3f}, {RUNS} runs)")


if __name__ == "__main__":
    main()
