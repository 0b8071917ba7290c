"""How large is a model, and each thing the recipe makes of it? Asked before anything is loaded.

mlx builds arrays lazily: a model made from its config has shapes and types, and takes no memory.
So the numbers come from mlx-lm's own code: its model classes, its LoRA, its quantization.
"""

import contextlib
import io
import os
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten
from mlx_lm.convert import mixed_quant_predicate_builder
from mlx_lm.tuner.utils import linear_to_lora_layers
from mlx_lm.utils import _get_classes, get_total_parameters, quantize_model

from settings import number

DTYPES = {"float32": mx.float32, "float16": mx.float16, "bfloat16": mx.bfloat16}


def build_model(config: dict):
    """The model of a config.json, without weights. Raises ValueError if mlx-lm has no such."""
    try:
        model_class, arguments = _get_classes(config)
        model = model_class(arguments.from_dict(config))
        dtype = str(config.get("torch_dtype") or config.get("dtype"))
        model.set_dtype(DTYPES.get(dtype, mx.bfloat16))
    except Exception as error:  # each model's code fails in its own way on an odd config
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"config.json describes no model that mlx-lm has ({reason})") from error
    return model


def arrays(model) -> list[mx.array]:
    return [value for _, value in tree_flatten(model.parameters())]


def nbytes(model) -> int:
    """Bytes of all parameters, quantized ones as they are stored."""
    return sum(value.nbytes for value in arrays(model))


def quantized_as(config: dict, group_size: int, bits: int, recipe: str = "none"):
    """The model of `config`, without weights, quantized as `mlx_lm convert -q` does it.

    Raises ValueError if mlx-lm's recipe does not know the layers of the model.
    """
    plain = {k: v for k, v in config.items() if not k.startswith("quantization")}
    model, bits_of = build_model(config), None
    with contextlib.redirect_stdout(io.StringIO()):  # it announces the bits per weight
        try:
            if recipe != "none":
                bits_of = mixed_quant_predicate_builder(recipe, model, group_size)
            return quantize_model(model, plain, group_size, bits, quant_predicate=bits_of)[0]
        except ValueError as error:
            if recipe == "none":
                raise
            reason = f"not for this model; set Q_RECIPE=none ({error})"
            raise ValueError(f"Q_RECIPE={recipe}: {reason}") from error


def trainable_parameters(config: dict, settings: dict) -> int:
    """How many parameters these settings train, unfrozen as mlx_lm.lora.train_model does it."""
    model, kind = build_model(config), settings["FINE_TUNE_TYPE"]
    model.freeze()
    layers = number(settings, "NUM_LAYERS")
    if kind == "full" and config.get("quantization"):  # mlx would train the norms only
        raise ValueError(
            "FINE_TUNE_TYPE=full: BASE_MODEL is quantized, and quantized weights cannot be"
            " trained; name an unquantized base, or lora or dora"
        )
    if kind == "full":
        for layer in model.layers[-layers:]:
            layer.unfreeze()
    else:  # scale and dropout have no parameters
        lora = {"rank": number(settings, "LORA_RANK"), "scale": 1.0, "dropout": 0.0}
        linear_to_lora_layers(model, layers, lora, use_dora=kind == "dora")
    return sum(value.size for _, value in tree_flatten(model.trainable_parameters()))


def memory_bytes() -> int:
    """Memory that a process here may use: the machine's, with Linux's swap and limits."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError):  # not Linux
        lines = Path("/proc/meminfo").read_text().splitlines()
        total += sum(1024 * int(line.split()[1]) for line in lines if "SwapTotal" in line)
    with contextlib.suppress(OSError, ValueError):  # no container, or one without a limit: "max"
        total = min(total, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return total


def model_facts(config: dict, settings: dict) -> dict:
    """Layers, parameters and bytes of the model and of what the steps make of it.

    `config` is the base model's config.json. Bytes are those of the weight files without their
    headers, which are one part in ten thousand.
    """
    model = build_model(config)
    base = config.get("quantization")
    if base and not (isinstance(base, dict) and {"bits", "group_size"} <= set(base)):
        raise ValueError("config.json: 'quantization' must have 'bits' and 'group_size'")
    stored = quantized_as(config, base["group_size"], base["bits"]) if base else model
    group_size, bits = number(settings, "Q_GROUP_SIZE"), number(settings, "Q_BITS")
    q5 = quantized_as(config, group_size, bits, settings["Q_RECIPE"])
    parameters = get_total_parameters(model)
    embeddings = [m.weight.shape[0] for m in model.modules() if isinstance(m, nn.Embedding)]
    # All weights of q5-float32 are float32 if they fit into memory. If not, the quantized ones stay
    # as they are, and only their scales are float32: a quarter of the memory, ten times as slow.
    float32 = 4 * parameters
    fits = float32 < 0.8 * memory_bytes()
    packed = sum(a.nbytes if a.dtype == mx.uint32 else 4 * a.size for a in arrays(q5))
    return {
        "layers": len(model.layers),
        "parameters": parameters,
        "embeddings": max(embeddings, default=0),  # token ids that have an embedding
        "trainable_parameters": trainable_parameters(config, settings),
        "base_bytes": nbytes(stored),
        "fused_bytes": nbytes(model),
        "largest_bytes": max(value.nbytes for value in arrays(model)),
        "q5_bytes": nbytes(q5),
        "q5_float32_bytes": float32 if fits else packed,
        "float32_flags": "--dequantize" if fits else "",
    }
