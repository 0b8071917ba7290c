"""Prepare a model that was not built here for the server: for `make judge MODEL=...` and the base.

Nothing is written into the model's folder. What is served stands in a folder of ours, WORK:

    WORK/model      links to the model's files; on a CPU its float32 copy, if that fits
    WORK/adapter    the adapter's config, and a link to its weights or to one of its checkpoints
    WORK/made.json  what the two were made of
"""

import shutil
from pathlib import Path

from mlx_lm import convert
from mlx_lm.tuner.utils import load_adapters
from mlx_lm.utils import get_total_parameters

from checkpoints import FINAL, is_whole
from checks.plan import free_bytes, serves_float32
from files import files_sha256, read_json, weights_bytes, weights_sha256, write_json
from models import WEIGHT_FILES, find_model
from program import describe
from settings import load_settings
from shapes import build_model, memory_bytes


def prepare(args, parser: str | None = None) -> dict:
    """{served, adapter, float32, weights}: what is served in the place of a model.

    `parser` is the tool parser that it gets; None leaves it as it is. `weights` is the sha256
    of the model's. Raises ValueError for a model or adapters that cannot be used.
    """
    work, settings = args.work, load_settings()
    model = find_model(settings | {"MODEL": str(args.model)}, "MODEL", WEIGHT_FILES).resolve()
    files = list(model.glob("*.safetensors"))
    if not files:
        raise ValueError(f"{args.model}: no safetensors file there, so no MLX model")
    if torn := [str(file) for file in files if not is_whole(file)]:
        raise ValueError(f"{torn[0]}: cannot be read; copy or download it again")
    adapter_file = find_adapter(args, model) if args.adapters else None
    served, note = work / "model", work / "made.json"
    made = read_json(note) if note.is_file() else {}
    asked = [str(path) for path in (model, adapter_file) if path]
    if (work / "eval.json").is_file() and made.get("asked", asked) != asked:
        raise ValueError(
            f"{work}: is of {' '.join(made['asked'])}; give this one another NAME=, or delete it"
        )
    source = {"weights": weights_sha256(model), "files": files_sha256(model)}
    source["float32"] = serves_float32(settings)
    if not served.is_dir() or made.get("source") != source:
        make_served(model, served, source["float32"])
    if parser:
        file = served / "tokenizer_config.json"  # written, it replaces the link to the model's
        write_json(file, read_json(file) | {"tool_parser_type": parser})
        print(f"served with the tool parser {parser}, which keeps the model's calls", flush=True)
    write_json(note, {"asked": asked, "source": source})
    return {
        "served": served,
        "adapter": work / "adapter" if adapter_file else None,
        "float32": not (served / "config.json").is_symlink(),
        "weights": source["weights"],
    }


def make_served(model: Path, served: Path, float32: bool) -> None:
    """Make the folder `served`: links, or a float32 copy if that is wanted, larger, and fits."""
    config, staging = read_json(model / "config.json"), served.with_name("model.tmp")
    for folder in (served, staging):
        shutil.rmtree(folder, ignore_errors=True)
    staging.parent.mkdir(parents=True, exist_ok=True)
    need = 4 * get_total_parameters(build_model(config))
    fits = need < min(0.8 * memory_bytes(), free_bytes(staging))
    if float32 and fits and weights_bytes(model) < need:
        convert(str(model), staging, dtype="float32", dequantize="quantization" in config)
    else:
        staging.mkdir()
        for file in model.iterdir():
            (staging / file.name).symlink_to(file)
    staging.rename(served)


def find_adapter(args, model: Path) -> Path:
    """The file with the adapter's weights. WORK/adapter has it under the names that mlx-lm reads.

    Raises ValueError if it does not fit the model.
    """
    folder, linked = args.adapters.expanduser().resolve(), args.work / "adapter"
    file = folder / FINAL
    if args.checkpoint is not None:
        file = folder / f"{args.checkpoint:07d}_{FINAL}"
    for needed in (file, folder / "adapter_config.json"):
        if not needed.is_file():
            raise ValueError(f"ADAPTERS={args.adapters}: no {needed.name} there")
    shutil.rmtree(linked, ignore_errors=True)
    linked.mkdir(parents=True)
    (linked / FINAL).symlink_to(file)
    shutil.copy(folder / "adapter_config.json", linked)
    try:
        load_adapters(build_model(read_json(model / "config.json")), str(linked))
    except Exception as error:  # mlx-lm fails in its own way on an odd config or a torn file
        reason = describe(error)[:200]
        raise ValueError(f"ADAPTERS={args.adapters}: they do not fit {model}: {reason}") from error
    return file
