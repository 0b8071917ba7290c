"""What made this build: manifest.json, written, checked against the disk, or compared with another.

    python manifest.py write --config CONFIG --build BUILD --out MANIFEST
    python manifest.py verify --build BUILD
    python manifest.py compare BUILD OTHER

Two builds compare as the same when all weights are, bit for bit, and all answers and scores; times
and paths may differ. Exit status: 1 for a difference, 2 for a file that can't be read.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from files import read_json, sha256_of, write_json
from models import KEYS, is_folder, note_of
from settings import load_settings

MODELS = ("adapters", "fused", "q5", "q5-float32")
RESULTS = ("preflight.json", "ladder.json", "eval.json", "eval_base.json", "compare.md")
# Keys that say when and where: equal builds may differ in them.
PASSING = {"seconds", "tokens_per_second", "path", "served_id"}


def inputs_read(build: Path) -> dict[str, str]:
    """File -> sha256 of what the stages read when they were made, as bin/stages.sh noted it."""
    # The notes of these two, which no stage follows, hold those of all stages before them.
    notes = [build / "made" / stage for stage in ("preflight", "compare")]
    lines = [line for note in notes if note.is_file() for line in note.open(encoding="utf-8")]
    read = dict(sorted(line.split() for line in lines if " " in line))
    return {
        f"{build}{name[5:]}" if name.startswith("BUILD/") else name: sha
        for name, sha in read.items()
        if sha != "missing"
    }


def output_files(build: Path) -> list[Path]:
    """What the stages have made in `build` and is still there."""
    found = [file for name in MODELS for file in sorted((build / name).glob("**/*"))]
    return [file for file in [*found, *(build / name for name in RESULTS)] if file.is_file()]


def git_state() -> dict | None:
    """The commit of this repository and whether files differ from it; None without git."""
    root = Path(__file__).resolve().parent.parent

    def git(*words) -> str:
        command = ["git", "-C", str(root), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return {"commit": git("rev-parse", "HEAD"), "changed": bool(changed)}
    except (OSError, subprocess.CalledProcessError):
        return None


def revisions(settings: dict) -> dict[str, str]:
    """Model of the hub -> the revision that was used."""
    notes = [note_of(settings, key) for key in KEYS if not is_folder(settings[key])]
    return {entry["model"]: entry["revision"] for entry in map(read_json, notes)}


def stage_times(build: Path) -> dict:
    """Stage -> seconds of its last run."""
    log = build / "logs/times.jsonl"
    lines = log.read_text(encoding="utf-8").splitlines() if log.is_file() else []
    return {entry["stage"]: entry["seconds"] for entry in map(json.loads, lines)}


def make_manifest(settings: dict, build: Path) -> dict:
    """The manifest of what is in `build` now."""
    inputs = inputs_read(build)
    return {
        "schema": 1,
        "experiment": settings["EXPERIMENT"],
        "config": settings,
        "git": git_state(),
        "packages": {
            name: metadata.version(name) for name in ("mlx", "mlx-lm", "transformers", "tokenizers")
        },
        "revisions": revisions(settings),
        "machine": {
            "system": platform.platform(),
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
        },
        "stage_seconds": stage_times(build),
        "inputs": inputs,
        "outputs": {str(f.relative_to(build)): sha256_of(f) for f in output_files(build)},
    }


def verify(build: Path) -> list[str]:
    """What differs between manifest.json and the disk, a line each; every byte is read.

    A model that is gone as a whole is no difference: clean-build and LEAN=1 remove some.
    """
    if not (build / "manifest.json").is_file():
        raise ValueError(f"{build}/manifest.json: no such file; make eval makes it")
    manifest = read_json(build / "manifest.json")
    expected = {Path(name): sha for name, sha in manifest["inputs"].items()}
    expected |= {build / name: sha for name, sha in manifest["outputs"].items()}
    gone = [build / name for name in MODELS if not (build / name).exists()]
    found = []
    for file, sha in expected.items():
        if any(folder in file.parents for folder in gone):
            continue
        if not file.is_file():
            found.append(f"{file}: is gone")
        elif sha256_of(file) != sha:
            found.append(f"{file}: has changed")
    new = [f for f in output_files(build) if str(f.relative_to(build)) not in manifest["outputs"]]
    return found + [f"{file}: is not in the manifest" for file in new]


def timeless(value):
    """A JSON value without the keys that say when and where it was made."""
    if isinstance(value, dict):
        return {key: timeless(item) for key, item in value.items() if key not in PASSING}
    return [timeless(item) for item in value] if isinstance(value, list) else value


def compare(build: Path, other: Path) -> tuple[list[str], list[str]]:
    """(what is the same, what differs) between two builds, a line each."""
    outputs = [read_json(folder / "manifest.json")["outputs"] for folder in (build, other)]
    same, differs = [], []
    for folder in (build, other):
        if not (folder / "adapters/training.json").is_file():
            differs.append(f"{folder}/adapters was not trained here: a training gives others")
            continue
        training = read_json(folder / "adapters/training.json")
        workers, resumed = training["workers"], training["resumed_at"]
        if workers > 1 or resumed:
            how = f"trained by {workers} workers, resumed at {resumed or 'no point'}"
            differs.append(f"{folder}/adapters was {how}: no second training is the same")
    for name in sorted(set(outputs[0]) & set(outputs[1])):
        if name.endswith(".safetensors"):
            equal = outputs[0][name] == outputs[1][name]
            (same if equal else differs).append(f"{name}  {outputs[0][name][:16]}")
    for name in ("ladder.json", "eval.json", "eval_base.json"):
        files = [folder / name for folder in (build, other)]
        if all(file.is_file() for file in files):
            first, second = (timeless(read_json(file)) for file in files)
            if name == "ladder.json":  # with LOW_MEMORY=1 there is no fused model in it
                both = set(first["losses"]) & set(second["losses"])
                first, second = ({k: x["losses"][k] for k in both} for x in (first, second))
            (same if first == second else differs).append(f"{name}  apart from times and paths")
    return same, differs


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("write", "verify"):
        command = commands.add_parser(name)
        command.add_argument("--build", type=Path, required=True)
        if name == "write":
            command.add_argument("--config", type=Path, required=True)
            command.add_argument("--out", type=Path, required=True)
    command = commands.add_parser("compare")
    command.add_argument("build", type=Path)
    command.add_argument("other", type=Path)
    args = parser.parse_args()
    try:
        if args.command == "write":
            write_json(args.out, make_manifest(load_settings(args.config), args.build))
            return 0
        if args.command == "verify":
            same, differs = [], verify(args.build)
            said = f"{args.build}: all as {args.build}/manifest.json has it"
        else:
            same, differs = compare(args.build, args.other)
            said = f"{args.other}: the same as {args.build}"
    except (ValueError, OSError) as error:
        print(f"{args.command}: {error}", file=sys.stderr)
        return 2
    for line in same:
        print(f"  same     {line}")
    for line in differs:
        print(f"  differs  {line}")
    if not differs:
        print(said)
    elif args.command == "verify":
        print("Remove what has changed (rm -r) and ask for it: make quantize, say, makes it again.")
    return bool(differs)


if __name__ == "__main__":
    sys.exit(main())
