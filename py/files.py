"""Read and write JSON files. A file is written as a whole. An error names the file and line."""

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ValidationError

from show import explain


def check_text(text: str) -> str:
    text.encode()  # half a surrogate pair raises ValueError
    if not text.strip():
        raise ValueError("is empty")
    return text


Text = Annotated[str, AfterValidator(check_text)]


def parse(value, schema: type[BaseModel], source: Path | str) -> BaseModel:
    """`value`, which came from `source`, as a `schema`. Raises ValueError if it does not fit."""
    try:
        return schema.model_validate(value)
    except ValidationError as error:
        raise ValueError(f"{source}: {explain(error)}") from error


def check(value, schema: type[BaseModel], source: Path | str) -> dict:
    """`value` as it is. Raises ValueError as parse() does."""
    parse(value, schema, source)
    return value


def read_json(path: Path) -> dict:
    """The JSON object in `path`. Raises ValueError with path and line when it is not one."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}:{error.lineno}: not JSON ({error.msg})") from error
    except (ValueError, RecursionError) as error:  # not UTF-8, or lists 1,000 deep
        raise ValueError(f"{path}: not usable as JSON ({error})") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path}: expected a JSON object, found {type(value).__name__}")
    return value


def read_json_lines(path: Path) -> list[dict]:
    """The JSON values in `path`, one a line; none without that file.

    A kill can leave half a line, which is skipped.
    """
    values = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        with contextlib.suppress(ValueError):
            values.append(json.loads(line))
    return values


def sha256_of(path: Path) -> str:
    """sha256 of a file's bytes, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def weights_bytes(model: Path) -> int:
    """Bytes of the model's safetensors files."""
    return sum(file.stat().st_size for file in model.glob("*.safetensors"))


def weights_sha256(model: Path) -> str:
    """sha256 over the bytes of the model's safetensors files, in the order of their names."""
    digest = hashlib.sha256()
    for file in sorted(model.glob("*.safetensors")):
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def files_sha256(model: Path) -> str:
    """sha256 over what stands beside a model's weights: config, tokenizer, chat template."""
    digest = hashlib.sha256()
    for file in sorted([*model.glob("*.json"), *model.glob("*.jinja")]):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write `text` so that `path` appears whole or not at all."""
    staging = path.with_name(path.name + ".tmp")
    staging.write_text(text, encoding="utf-8")
    os.replace(staging, path)


def write_json(path: Path, value: dict) -> None:
    """Write `value` so that `path` appears whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")
