"""Where is a model? A local folder, or a model of the Hugging Face hub, resolved once.

    python models.py resolve KEY --config CONFIG --out NOTE
    python models.py weights --config CONFIG

KEY is BASE_MODEL or REFERENCE_MODEL. `resolve` asks the hub which revision that model is at,
downloads what describes it (config, tokenizer, template: 15 MB), and notes the revision: the
recipe uses that one from then on, and asks no more. KEY=org/name@revision names one. `weights`
downloads the weights of the base model, where they are missing. Exit status 2: not to be had.
"""

import argparse
import sys
from pathlib import Path

from huggingface_hub import snapshot_download

from files import read_json, write_json
from settings import load_settings

TOKENIZER_FILES = [
    "config.json",
    "generation_config.json",
    "tokenizer*",
    "special_tokens_map.json",
    "vocab.json",
    "merges.txt",
    "*.jinja",
    "README.md",  # has the license
]
KEYS = ("BASE_MODEL", "REFERENCE_MODEL")

# What the hub client's errors mean to someone who wants a model.
REASONS = {
    "OfflineModeIsEnabled": "not downloaded yet, and HF_HUB_OFFLINE is set",
    "ConnectError": "not downloaded yet, and no network",
    "ProxyError": "the proxy in the environment lets nothing through",
    "RepositoryNotFoundError": "no such model, or a private one: it needs HF_TOKEN",
    "GatedRepoError": "a gated model: accept its terms on the hub and set HF_TOKEN",
    "RevisionNotFoundError": "the model has no such revision",
    "IncompleteSnapshotError": "only a part of it is downloaded, and no network",
    "LocalEntryNotFoundError": "not downloaded yet, and no network",
}
STATUSES = {
    401: "HF_TOKEN is not a valid token",
    403: "HF_TOKEN has no access to it",
    429: "too many requests: wait",
}


def is_folder(model: str) -> bool:
    return Path(model).expanduser().is_dir()


def is_hub_name(model: str) -> bool:
    """Is it org/name or org/name@revision, and no path?"""
    return model.count("/") == 1 and not model.startswith((".", "/", "~", "build/"))


def hub_name(folder: Path) -> str | None:
    """org/name of the hub model that `folder` is a snapshot of; None for any other folder."""
    snapshots, repository = folder.parent, folder.parent.parent.name
    if snapshots.name != "snapshots" or not repository.startswith("models--"):
        return None
    return repository.removeprefix("models--").replace("--", "/", 1)


def resolved_revision(folder: Path) -> str | None:
    """The hub's commit that `folder` is a snapshot of; None for any other folder."""
    return folder.name if hub_name(folder) else None


def note_of(settings: dict, key: str) -> Path:
    """Where the revision that the hub model of `key` was resolved to is noted."""
    return Path(settings["BUILD"]) / f"{key.lower()}.json"


def reason(error: Exception) -> str:
    """What an error of the hub's client means. The first in its chain that is known says it."""
    name, cause = type(error).__name__, error.__cause__
    status = getattr(getattr(error, "response", None), "status_code", None)
    if name in REASONS and not (name == "LocalEntryNotFoundError" and cause):
        return REASONS[name]
    if status:
        return STATUSES.get(status, f"the hub answers with status {status}")
    return reason(cause) if cause else f"{name}: {' '.join(str(error).split())}"


def download(
    key: str, model: str, revision: str | None, patterns: list[str], local: bool = False
) -> Path:
    """The folder with the files `patterns` of a hub model; with `local` nothing is downloaded.

    `key` is the setting that names the model. Raises ValueError in one line when they are not to be
    had.
    """
    try:
        return Path(
            snapshot_download(
                model, revision=revision, allow_patterns=patterns, local_files_only=local
            )
        )
    except Exception as error:  # the hub's client raises many kinds; each means the same here
        raise ValueError(
            f"{model}: neither a local folder nor to be had from the hub ({reason(error)});"
            f" try again when that is mended, or name a local folder: {key}=/path/to/model"
        ) from error


def model_folder(settings: dict, key: str) -> Path:
    """The folder of the model that `key` names: its own, or that of the noted revision.

    No weights need be there yet, and no network is used. Raises ValueError.
    """
    model = settings[key]
    if is_folder(model):
        return Path(model).expanduser()
    note = note_of(settings, key)
    if not note.is_file():
        raise ValueError(f"{model}: no such model directory, and {note} has no revision of it")
    entry = read_json(note)
    if entry["asked"] != model:
        raise ValueError(f"{model}: no such model directory, and {note} is of {entry['asked']}")
    return download(key, entry["model"], entry["revision"], TOKENIZER_FILES, local=True)


def resolve(settings: dict, key: str) -> dict:
    """What is noted of the hub model of `key`; its tokenizer and config are here afterwards."""
    asked, note = settings[key], note_of(settings, key)
    if not is_hub_name(asked):
        raise ValueError(f"{asked}: no such model directory")
    model, _, revision = asked.partition("@")
    if note.is_file() and (entry := read_json(note))["asked"] == asked:
        revision = entry["revision"]  # what is gone from the cache comes back as it was
    folder = download(key, model, revision or None, TOKENIZER_FILES)
    return {"schema": 1, "asked": asked, "model": model, "revision": folder.name}


def fetch_weights(settings: dict) -> None:
    """Download what `mlx_lm` would of the noted revision of the base model."""
    from mlx_lm.utils import DEFAULT_ALLOW_PATTERNS  # here: a second that resolve need not wait

    note = read_json(note_of(settings, "BASE_MODEL"))
    download("BASE_MODEL", note["model"], note["revision"], DEFAULT_ALLOW_PATTERNS)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("resolve", "weights"):
        command = commands.add_parser(name)
        command.add_argument("--config", type=Path, required=True, help="env file")
        if name == "resolve":
            command.add_argument("key", type=str.upper, choices=KEYS)
            command.add_argument("--out", type=Path, required=True, help="note to write")
    args = parser.parse_args()
    try:
        settings = load_settings(args.config)
        if args.command == "weights":
            fetch_weights(settings)
        else:
            entry = resolve(settings, args.key)
            write_json(args.out, entry)
            print(f"{args.key}: {entry['model']}, revision {entry['revision']}")
    except (ValueError, OSError) as error:
        print(f"models: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
