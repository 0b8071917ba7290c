"""What concurrency and q5-float32 are worth: `make bench-evaluate CONFIG=demo.env`.

The same model answers the suite one request at a time, then several at a time, then as q5 itself.
Shown are the time, and how many answers are those of the first. Needs a build that is done.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from conftest import ROOT, clean_environment
from settings import load_settings

MAX_TOKENS = 160


def answers(model: Path, concurrency: int) -> dict[str, str]:
    """Prompt id -> answer, from evaluate.py."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "eval.json"
        program = [ROOT / "bin/python", ROOT / "py/evaluate.py", "--model", model, "--out", out]
        program += ["--suite", ROOT / "data/suite.json", "--targets", ROOT / "data/baseline.json"]
        program += ["--tools", ROOT / "data/tools.json", "--server-log", f"{folder}/log"]
        program += ["--max-tokens", MAX_TOKENS, "--concurrency", concurrency]
        words, log = list(map(str, program)), subprocess.DEVNULL
        subprocess.run(words, env=clean_environment(), check=True, stdout=log)
        return {prompt["id"]: prompt["text"] for prompt in json.loads(out.read_text())["prompts"]}


def main():
    build = ROOT / load_settings(Path(sys.argv[1]))["BUILD"]
    if not (build / "q5").is_dir():
        sys.exit(f"bench-evaluate: {build} holds no q5; make eval first")
    served = build / "q5-float32" if (build / "q5-float32").is_dir() else build / "q5"
    print(f"27 prompts, at most {MAX_TOKENS} tokens each:")
    first, base = None, None
    for model, concurrency in ((served, 1), (served, 8), (build / "q5", 8)):
        started = time.perf_counter()
        found = answers(model, concurrency)
        seconds = time.perf_counter() - started
        first, base = first or found, base or seconds
        same = sum(found[id] == first[id] for id in first)
        print(
            f"  {model.name:<12} {concurrency} at a time {seconds:7.1f} s"
            f"  {base / seconds:5.2f} times as fast  {same} of {len(first)} answers the same",
            flush=True,
        )


if __name__ == "__main__":
    main()
