"""Time and memory of preflight by the number of training rows: `make bench-preflight`.

The tokenizers are Qwen3's (151,669 tokens); the rows are those of DATA, repeated as often as needed
with requests of their own. Each size runs in a process of its own, small and large in one run.
"""

import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from conftest import ROOT, clean_environment, write_config
from qwen import QWEN3_8B, qwen_tokenizer_json, write_qwen_model
from rows import read_rows

SIZES = (1_000, 10_000, 100_000)


def write_repeated(source: Path, path: Path, count: int) -> None:
    """Write `count` rows: those of `source` over and over, each with its number in the request."""
    rows = [messages for _, messages in read_rows(source)]
    with path.open("w", encoding="utf-8") as out:
        for number, messages in enumerate(itertools.islice(itertools.cycle(rows), count)):
            messages = [dict(message) for message in messages]
            asked = next(message for message in messages if message["role"] == "user")
            asked["content"] += f" ({number})"
            out.write(json.dumps({"messages": messages}) + "\n")


def measure(folder: Path, data: Path, count: int) -> tuple[float, float]:
    """(seconds, peak memory in MB) of one preflight process over `count` rows."""
    (folder / "data").mkdir(exist_ok=True)
    write_repeated(data / "train.jsonl", folder / "data/train.jsonl", count)
    (folder / "data/valid.jsonl").write_bytes((data / "valid.jsonl").read_bytes())
    config = write_config(
        folder / "x.env",
        BUILD=folder / "build",
        DATA=folder / "data",
        BASE_MODEL=folder / "8b",
        REFERENCE_MODEL=folder / "coder",
        SPECIAL_TOKENS="data/special_tokens_qwen3.json",
        TRAIN_ROWS=count,
        VALID_ROWS=sum(1 for _ in read_rows(data / "valid.jsonl")),
        **{"NUM_LAYERS": 16, "COVERAGE": 44, "TRAINABLE": 9.699},
        **{"ITERS": count, "BATCH_SIZE": 1, "EPOCHS": 1, "EVAL_EXACT": 1},
    )
    command = [ROOT / "bin/python", ROOT / "py/preflight.py", "--config", config, "--out", folder]
    started = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=ROOT, env=clean_environment(), stdout=subprocess.PIPE, text=True
    )
    process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    if status:
        sys.exit(f"bench-preflight: preflight failed on {count} rows")
    # macOS counts bytes, Linux kilobytes
    return seconds, usage.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def main():
    data = ROOT / os.environ.get("DATA", "data/demo")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tokenizer = qwen_tokenizer_json()
        write_qwen_model(folder / "8b", tokenizer, "qwen3", QWEN3_8B)
        write_qwen_model(folder / "coder", tokenizer, "qwen3_coder", QWEN3_8B)
        print(f"preflight on rows of {data.name}, Qwen3's tokenizer:")
        previous = None
        for count in SIZES:
            seconds, megabytes = measure(folder, data, count)
            line = f"  {count:7,} rows {seconds:8.1f} s {megabytes:7.0f} MB"
            if previous:
                more = count - previous[0]
                line += f"   {1e3 * (seconds - previous[1]) / more:.2f} ms for each row more"
            print(line, flush=True)
            previous = count, seconds


if __name__ == "__main__":
    main()
