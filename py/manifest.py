"""Write manifest.json, which says what made a build, or check the files against it."""

import argparse
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

from files import read_json, read_json_lines, sha256_of, write_json
from models import revisions
from program import Failed, run
from settings import ROOT, add_config, load_settings

MODELS = ("adapters", "fused", "q5", "q5-float32")
RESULTS = ("ladder.json", "eval.json", "eval_base.json", "compare.md")
INPUTS = ("SUITE", "TOOLS", "SPECIAL_TOKENS", "CHECKSUMS", "TARGETS", "BASELINE")
PACKAGES = ("mlx", "mlx-lm", "transformers", "tokenizers")
# The keys of adapter_config.json that say how the adapters were trained.
TRAINED_WITH = "model data fine_tune_type num_layers iters batch_size learning_rate seed".split()


def input_files(settings: dict) -> list[Path]:
    """The data files that the steps read."""
    rows = [Path(settings["DATA"]) / f"{split}.jsonl" for split in ("train", "valid")]
    named = [Path(settings[key]) for key in INPUTS]
    lock = Path("py/requirements.lock")
    return [file for file in dict.fromkeys([*rows, *named, lock]) if file.is_file()]


def output_files(build: Path) -> list[Path]:
    """The files that the steps have made in `build`."""
    found = [file for name in MODELS for file in sorted((build / name).glob("**/*"))]
    return [file for file in [*found, *(build / name for name in RESULTS)] if file.is_file()]


def git_state() -> dict | None:
    """The commit of this repository and whether files differ from it; None without git."""

    def git(*words) -> str:
        command = ["git", "-C", str(ROOT), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return {"commit": git("rev-parse", "HEAD"), "changed": bool(changed)}
    except (OSError, subprocess.CalledProcessError):
        return None


def step_times(build: Path) -> dict[str, float]:
    """Output -> seconds that its commands took when they last ran."""
    seconds = {}
    for entry in read_json_lines(build / "logs/times.jsonl"):
        seconds.setdefault(entry["output"], {})[entry.get("program")] = entry["seconds"]
    return {output: round(sum(programs.values()), 1) for output, programs in seconds.items()}


def training_of(adapters: Path) -> dict:
    """The settings that trained the adapters, from their own files.

    `adopted` is the folder that make adopt took them from; None for a training of this build.
    """
    config = {"fine_tune_type": "lora"} | read_json(adapters / "adapter_config.json")
    trained = {key: config.get(key) for key in TRAINED_WITH}
    note = adapters / "training.json"
    trained["adopted"] = read_json(note).get("adopted") if note.is_file() else None
    return trained


def make_manifest(settings: dict, build: Path) -> dict:
    """The manifest of what is in `build` now."""
    adapters = build / "adapters"
    training = training_of(adapters) if adapters.is_dir() else None
    not_theirs = set()
    if training and training["adopted"]:  # other settings trained the adapters
        words = (build / "made/train").read_text(encoding="utf-8").split()
        not_theirs = {word.partition("=")[0] for word in words} - {"BASE_MODEL"}
        not_theirs |= {"COVERAGE", "EPOCHS", "TRAINABLE"}
    return {
        "schema": 1,
        "experiment": settings["EXPERIMENT"],
        "config": {key: value for key, value in settings.items() if key not in not_theirs},
        "training": training,
        "git": git_state(),
        "packages": {name: metadata.version(name) for name in PACKAGES},
        "revisions": revisions(settings),
        "machine": {
            "system": platform.platform(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
        },
        "stage_seconds": step_times(build),
        "inputs": {str(file): sha256_of(file) for file in input_files(settings)},
        "outputs": {str(f.relative_to(build)): sha256_of(f) for f in output_files(build)},
    }


def differences(build: Path) -> list[str]:
    """The differences between manifest.json and the disk, a line each. Every byte is read.

    A model that is gone as a whole is no difference, because clean-build removes models.
    """
    if not (build / "manifest.json").is_file():
        raise ValueError(f"{build}/manifest.json: no such file; make eval makes it")
    manifest = read_json(build / "manifest.json")
    expected = {Path(name): sha for name, sha in manifest["inputs"].items()}
    expected |= {build / name: sha for name, sha in manifest["outputs"].items()}
    gone = {build / name for name in MODELS if not (build / name).exists()}
    found = []
    for file, sha in expected.items():
        if gone.intersection(file.parents):
            continue
        if not file.is_file():
            found.append(f"{file}: is gone")
        elif sha256_of(file) != sha:
            found.append(f"{file}: has changed")
    new = [file for file in output_files(build) if file not in expected]
    return found + [f"{file}: is not in the manifest" for file in new]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_config(parser)
    parser.add_argument("command", choices=("write", "verify"))
    parser.add_argument("--build", type=Path, required=True)
    parser.add_argument("--out", type=Path, help="the manifest to write")
    args = parser.parse_args()
    if args.command == "write":
        write_json(args.out, make_manifest(load_settings(args.config), args.build))
        return
    found = differences(args.build)
    for line in found:
        print(f"  differs  {line}")
    if found:
        again = "to make a changed output again, remove it and run its step, such as make quantize"
        raise Failed(f"files differ; {again}")
    print(f"{args.build}: all as {args.build}/manifest.json has it")


if __name__ == "__main__":
    run(main)
