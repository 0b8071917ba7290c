"""What concurrency and q5-float32 are worth: `make bench-evaluate CONFIG=demo.env`.

One model and one suite, in one run: asked one request at a time, concurrently, by `mlx_lm generate`
started anew for each prompt, and q5 itself in the place of q5-float32. Shown beside each: the
time, and how many answers are those of the first. Needs a build that is done.
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
CONCURRENCY = 8


def evaluated(model: Path, concurrency: int) -> dict[str, str]:
    """Prompt id -> answer, from evaluate.py."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "eval.json"
        program = [ROOT / "bin/python", ROOT / "py/evaluate.py", "--model", model, "--out", out]
        program += ["--suite", ROOT / "data/suite.json", "--targets", ROOT / "data/baseline.json"]
        program += ["--tools", ROOT / "data/tools.json"]
        program += ["--max-tokens", MAX_TOKENS, "--concurrency", concurrency]
        run(program)
        return {p["id"]: p["text"] for p in json.loads(out.read_text())["prompts"]}


def generated(model: Path) -> dict[str, str]:
    """Prompt id -> answer, from one `mlx_lm generate` after the other."""
    suite = json.loads((ROOT / "data/suite.json").read_text())
    answers = {}
    for prompt in suite["prompts"]:
        program = [ROOT / "bin/python", "-m", "mlx_lm", "generate", "--model", model]
        program += ["--system-prompt", suite["system"], "--prompt", prompt["prompt"]]
        program += ["--max-tokens", MAX_TOKENS, "--temp", 0, "--verbose", "False"]
        program += ["--chat-template-config", '{"enable_thinking": false}']
        answers[prompt["id"]] = run(program).removesuffix("\n")
    return answers


def run(program: list) -> str:
    done = subprocess.run(
        list(map(str, program)),
        cwd=ROOT,
        env=clean_environment(),
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout


def main():
    build = ROOT / load_settings(Path(sys.argv[1]))["BUILD"]
    copy = build / "q5-float32"
    model = copy if copy.is_dir() else build / "q5"
    if not model.is_dir():
        sys.exit(f"bench-evaluate: {build} holds no q5; make eval first")
    ways = {
        "one request at a time": lambda: evaluated(model, 1),
        f"{CONCURRENCY} requests at a time": lambda: evaluated(model, CONCURRENCY),
        "mlx_lm generate for each": lambda: generated(model),
    }
    if model == copy:
        ways[f"q5 itself, {CONCURRENCY} at a time"] = lambda: evaluated(build / "q5", CONCURRENCY)
    print(f"{model}, 27 prompts, at most {MAX_TOKENS} tokens each:")
    first, base = None, None
    for name, way in ways.items():
        started = time.perf_counter()
        answers = way()
        seconds = time.perf_counter() - started
        first, base = first or answers, base or seconds
        same = sum(answers[id] == first[id] for id in first)
        print(
            f"  {name:<26} {seconds:7.1f} s  {base / seconds:5.2f} times as fast"
            f"  {same} of {len(first)} answers the same",
            flush=True,
        )


if __name__ == "__main__":
    main()
