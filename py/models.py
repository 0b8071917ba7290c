"""Find a model's folder: a local path, or a snapshot of the Hugging Face hub."""

from pathlib import Path

from huggingface_hub import snapshot_download
from mlx_lm.utils import DEFAULT_ALLOW_PATTERNS

TOKENIZER_FILES = [
    "config.json",
    "generation_config.json",
    "tokenizer*",
    "special_tokens_map.json",
    "vocab.json",
    "merges.txt",
    "*.jinja",
]

# What the hub client's errors mean to someone who wants a model.
REASONS = {
    "LocalEntryNotFoundError": "not downloaded yet, and no network",
    "OfflineModeIsEnabled": "not downloaded yet, and HF_HUB_OFFLINE is set",
    "RepositoryNotFoundError": "no such model, or a private one: it needs HF_TOKEN",
    "GatedRepoError": "a gated model: accept its terms on the hub and set HF_TOKEN",
}


def resolved_revision(folder: Path) -> str | None:
    """The hub's commit that `folder` is a snapshot of; None for a folder from elsewhere."""
    return folder.name if folder.parent.name == "snapshots" else None


def locate_model(model: str, tokenizer_only: bool = False) -> Path:
    """Local folder of `model`, a path or a hub id; downloads what is not here yet.

    With `tokenizer_only` no weights are downloaded. Raises ValueError in one line when the model
    is neither here nor to be had.
    """
    path = Path(model).expanduser()
    if path.is_dir():
        return path
    if model.count("/") != 1 or model.startswith((".", "/", "~", "build/")):
        raise ValueError(f"{model}: no such model directory")
    patterns = TOKENIZER_FILES if tokenizer_only else DEFAULT_ALLOW_PATTERNS
    try:
        return Path(snapshot_download(model, allow_patterns=patterns))
    except Exception as error:  # the hub's client raises many kinds; each means the same here
        reason = REASONS.get(type(error).__name__, type(error).__name__)
        raise ValueError(
            f"{model}: neither a local folder nor to be had from the hub ({reason});"
            " connect to the network once, or name a local model directory"
        ) from error
