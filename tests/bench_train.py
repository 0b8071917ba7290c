"""How much longer training takes under py/train.py than by the bare `mlx_lm lora` command.

    make bench-train CONFIG=demo.env          after make demo

Both run in turns. It prints the median of the ratios, and whether both wrote the same weights.
"""

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

STARTS = {"bare": ["-m"], "train.py": ["py/train.py", "--patience", "5"]}
OPTIONS = "--train --mask-prompt --iters 30 --batch-size 2 --val-batches 5 --steps-per-eval 10"


def main() -> None:
    settings, ratios = load_settings(Path(sys.argv[1])), []
    lora = ["mlx_lm", "lora", *OPTIONS.split(), "--data", settings["DATA"]]
    lora += ["--model", f"{settings['BUILD']}/base", "--adapter-path"]
    with tempfile.TemporaryDirectory() as scratch:
        for _ in range(3):
            seconds = {}
            for name, start in STARTS.items():
                started = time.monotonic()
                words = ["bin/python", *start, *lora, f"{scratch}/{name}"]
                subprocess.run(words, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
                seconds[name] = time.monotonic() - started
                print(f"{name:<9} {seconds[name]:7.2f} s", flush=True)
            ratios.append(seconds["train.py"] / seconds["bare"])
        weights = {sha256_of(Path(scratch, name, "adapters.safetensors")) for name in STARTS}
    print(f"train.py / bare: median {statistics.median(ratios):.3f}")
    print("the same weights" if len(weights) == 1 else "OTHER WEIGHTS")


if __name__ == "__main__":
    main()
