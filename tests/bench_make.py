"""How long "nothing to do" takes: make eval, and dvc and snakemake on five stages of their own.

    make bench-make CONFIG=demo.env          after make demo
    PATH=/where/dvc/and/snakemake/are:$PATH make bench-make CONFIG=demo.env

The three take turns; what is printed is the median and the range of so many runs each. dvc and
snakemake are measured where they are on the PATH (uvx, pipx or a venv brings them).
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RUNS = 7
STAGES = ("preflight", "train", "fuse", "quantize", "evaluate")


def prepare_dvc(folder: Path) -> list[str]:
    """Five stages, each a copy of what the one before made."""
    lines, before = ["stages:"], "rows"
    for name in STAGES:
        lines += [f"  {name}:", f"    cmd: cp {before} {name}.out"]
        lines += [f"    deps: [{before}]", f"    outs: [{name}.out]"]
        before = f"{name}.out"
    (folder / "dvc.yaml").write_text("\n".join(lines) + "\n")
    subprocess.run(["dvc", "init", "--quiet", "--no-scm"], cwd=folder, check=True)
    return ["dvc", "repro"]


def prepare_snakemake(folder: Path) -> list[str]:
    """The same five as rules."""
    rules, before = [f"rule all:\n    input: '{STAGES[-1]}.out'\n"], "rows"
    for name in STAGES:
        made = f"{name}.out"
        rules += [f"rule {name}:\n    input: '{before}'\n    output: '{made}'\n"]
        rules[-1] += "    shell: 'cp {input} {output}'\n"
        before = made
    (folder / "Snakefile").write_text("\n".join(rules))
    return ["snakemake", "--cores", "1", "--quiet", "all"]


def seconds(command: list[str], folder: Path) -> float:
    """Wall time of a command that must succeed."""
    started = time.monotonic()
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return time.monotonic() - started


def main() -> None:
    config = sys.argv[1]
    others = {"dvc": prepare_dvc, "snakemake": prepare_snakemake}
    with tempfile.TemporaryDirectory() as scratch:
        jobs = {"make eval": (["make", "eval", f"CONFIG={config}"], ROOT)}
        for name, prepare in others.items():
            if not shutil.which(name):
                print(f"{name}: not on the PATH, not measured", file=sys.stderr)
                continue
            folder = Path(scratch, name)
            folder.mkdir()
            (folder / "rows").write_text("rows\n")
            jobs[name] = (prepare(folder), folder)
        # As from a terminal: without the outer make's words, and without bin/python's BLAS, which
        # every shell would load.
        outer = ("MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "SETTINGS", "MAKING")
        for name in (*outer, "LD_PRELOAD", "LD_LIBRARY_PATH"):
            os.environ.pop(name, None)
        times: dict[str, list[float]] = {name: [] for name in jobs}
        for command, folder in jobs.values():
            seconds(command, folder)  # builds what is not there, and warms the caches
        for _ in range(RUNS):
            for name, (command, folder) in jobs.items():
                times[name].append(seconds(command, folder))
    for name, taken in times.items():
        middle = statistics.median(taken)
        print(f"{name:<10} {middle:.3f} s  ({min(taken):.3f} to {max(taken):.3f}, {RUNS} runs)")


if __name__ == "__main__":
    main()
