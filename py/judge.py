"""Ready a model that was not built here, so that a server can be asked: `make judge MODEL=...`.

Nothing is written into the model's folder. What is served stands in a folder of ours, WORK:

    WORK/model      links to the model's files; on a CPU its float32 copy, if that fits
    WORK/adapters   the adapter's config, and a link to its weights or to one of its checkpoints
    WORK/made.json  what the two were made of
"""

import shutil
from pathlib import Path

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_lm import convert
from mlx_lm.lora import CONFIG_DEFAULTS
from mlx_lm.tuner.utils import linear_to_lora_layers
from mlx_lm.utils import get_total_parameters
from safetensors import safe_open

from checkpoints import FINAL
from checks.plan import free_bytes, serves_float32
from files import files_sha256, read_json, weights_sha256, write_json
from models import WEIGHT_FILES, find_model
from settings import load_settings
from shapes import build_model, memory_bytes
from show import some


def ready(args, parser: str | None = None) -> tuple[Path, Path, Path | None]:
    """(the model, what is served in its place, the adapters on top of it).

    `parser` is the tool parser that it must have; None leaves it as it is. Raises ValueError for a
    model or adapters that cannot be used.
    """
    work, settings = args.work, load_settings()
    model = find_model(settings | {"MODEL": args.model}, "MODEL", WEIGHT_FILES).resolve()
    served, note = work / "model", work / "made.json"
    made = read_json(note) if note.is_file() else {}
    asked = [str(part) for part in (model, args.adapters, args.checkpoint) if part]
    if made.get("asked", asked) != asked:
        raise ValueError(f"{work}: is of {' '.join(made['asked'])}; give this one another NAME=")
    if not any(model.glob("*.safetensors")):
        raise ValueError(f"{args.model}: no safetensors file there, so no MLX model")
    source = {"asked": asked, "weights": weights_sha256(model), "files": files_sha256(model)}
    source["float32"] = serves_float32(settings) and not is_float32(model)
    if not served.is_dir() or made != made | source:
        make_served(model, served, source["float32"])
        made = source
    if parser := parser or made.get("parser"):
        file = served / "tokenizer_config.json"  # written, it replaces the link to the model's
        write_json(file, read_json(file) | {"tool_parser_type": parser})
        print(f"served with the tool parser {parser}, which keeps the model's calls", flush=True)
    write_json(note, source | {"parser": parser})
    adapters = ready_adapters(args, model, work / "adapters") if args.adapters else None
    return model, served, adapters


def make_served(model: Path, served: Path, float32: bool) -> None:
    """Make the folder `served`: links, or a float32 copy if that is wanted and fits."""
    config, staging = read_json(model / "config.json"), served.with_name("model.tmp")
    for folder in (served, staging):
        shutil.rmtree(folder, ignore_errors=True)
    staging.parent.mkdir(parents=True, exist_ok=True)
    need = 4 * get_total_parameters(build_model(config))
    if float32 and need < min(0.8 * memory_bytes(), free_bytes(staging)):
        convert(str(model), staging, dtype="float32", dequantize="quantization" in config)
    else:
        staging.mkdir()
        for file in model.iterdir():
            (staging / file.name).symlink_to(file)
    staging.rename(served)


def is_float32(model: Path) -> bool:
    """Are all weights float32 already?"""
    types = set()
    for file in model.glob("*.safetensors"):
        with safe_open(file, "np") as tensors:
            types.update(tensors.get_slice(name).get_dtype() for name in tensors.keys())
    return types == {"F32"}


def ready_adapters(args, model: Path, folder: Path) -> Path:
    """`folder`, with the adapter under the names that mlx-lm reads."""
    file = args.adapters / FINAL
    if args.checkpoint:
        file = args.adapters / f"{args.checkpoint:07d}_{FINAL}"
    config = args.adapters / "adapter_config.json"
    for needed in (file, config):
        if not needed.is_file():
            raise ValueError(f"ADAPTERS={args.adapters}: no {needed.name} there")
    check_adapters(model, args.adapters, read_json(config), file)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / FINAL).symlink_to(file.resolve())
    shutil.copy(config, folder)
    return folder


def check_adapters(model: Path, adapters: Path, config: dict, file: Path) -> None:
    """Raise ValueError if a tensor of the adapter has no place in the model.

    mlx-lm leaves such a tensor out without a word: the model would answer without the adapter.
    """
    trained = CONFIG_DEFAULTS | config
    shaped = build_model(read_json(model / "config.json"))
    if trained["fine_tune_type"] != "full":
        dora = trained["fine_tune_type"] == "dora"
        linear_to_lora_layers(shaped, trained["num_layers"], trained["lora_parameters"], dora)
    shapes = {name: value.shape for name, value in tree_flatten(shaped.parameters())}
    tensors = mx.load(str(file))
    strange = [name for name, value in tensors.items() if shapes.get(name) != value.shape]
    if strange or not tensors:
        raise ValueError(
            f"ADAPTERS={adapters}: they do not fit {model}: {some(strange) or 'no tensor'};"
            f" name the model that they were trained on ({trained['model']})"
        )
