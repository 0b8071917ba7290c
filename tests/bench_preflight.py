"""Time and memory of preflight by the number of training rows: `make bench-preflight`.

The rows are those of DATA, over and over, each with its number in the request. The tokenizer is
Qwen3's.
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

DATA = ROOT / os.environ.get("DATA", "data/demo")


def write_experiment(folder: Path, count: int) -> Path:
    """An env file, beside `count` training rows."""
    rows = [row["messages"] for _, row in read_rows(DATA / "train.jsonl")]
    with (folder / "data/train.jsonl").open("w", encoding="utf-8") as out:
        for number, messages in enumerate(itertools.islice(itertools.cycle(rows), count)):
            messages = [dict(message) for message in messages]
            asked = next(message for message in messages if message["role"] == "user")
            asked["content"] += f" ({number})"
            out.write(json.dumps({"messages": messages}) + "\n")
    paths = {"BUILD": folder / "build", "DATA": folder / "data", "BASE_MODEL": folder / "8b"}
    paths |= {"REFERENCE_MODEL": folder / "coder"}
    promises = {"TRAIN_ROWS": count, "VALID_ROWS": "auto", "COVERAGE": "auto", "TRAINABLE": "auto"}
    training = {"ITERS": count, "BATCH_SIZE": 1, "EPOCHS": 1, "EVAL_EXACT": 1}
    special_tokens = {"SPECIAL_TOKENS": "data/special_tokens_qwen3.json"}
    return write_config(folder / "x.env", **paths, **promises, **training, **special_tokens)


def measure(config: Path, out: Path) -> tuple[float, float]:
    """(seconds, peak memory in MB) of one preflight process."""
    command = [ROOT / "bin/python", ROOT / "py/preflight.py", "--config", config, "--out", out]
    started = time.perf_counter()
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, cwd=ROOT, env=clean_environment(), stdout=quiet)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit("bench-preflight: preflight failed")
    unit = 1e6 if sys.platform == "darwin" else 1e3  # macOS counts bytes, Linux kilobytes
    return time.perf_counter() - started, usage.ru_maxrss / unit


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tokenizer = qwen_tokenizer_json()
        write_qwen_model(folder / "8b", tokenizer, "qwen3", QWEN3_8B)
        write_qwen_model(folder / "coder", tokenizer, "qwen3_coder", QWEN3_8B)
        (folder / "data").mkdir()
        (folder / "data/valid.jsonl").write_bytes((DATA / "valid.jsonl").read_bytes())
        for count in (1_000, 10_000, 100_000):
            seconds, megabytes = measure(write_experiment(folder, count), folder)
            print(f"{count:7,} rows {seconds:8.1f} s {megabytes:7.0f} MB", flush=True)


if __name__ == "__main__":
    main()
