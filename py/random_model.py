"""Write a model of any shape with random weights, for a rehearsal at full size without a download.

    python random_model.py --shape CONFIG.json --tokenizer MODEL --out FOLDER

The config says all: layers, widths, and how many bits the weights are quantized to. Weights are
drawn in their stored form and written a shard at a time, so that 8 billion parameters take under
2 GB of memory.
"""

import argparse
import shutil
import sys
from pathlib import Path

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_lm.utils import make_shards

from files import read_json, weights_bytes, write_json
from models import TOKENIZER_FILES
from shapes import build_model, quantized_as

SPREAD = 0.02  # standard deviation of the weights, as freshly initialized models have it


def draw(name: str, like: mx.array, bits: int | None) -> mx.array:
    """A random array of the shape and type of `like`, the parameter `name` of a model.

    Packed weights are random codes; scales and biases make values around 0 of them. What has one
    dimension, norms mostly, is 1: a model of random norms would overflow.
    """
    if like.dtype == mx.uint32:
        return mx.random.randint(-(1 << 31), (1 << 31) - 1, like.shape).view(mx.uint32)
    step = SPREAD * 12**0.5 / (1 << (bits or 1))  # of uniform codes with that spread
    if name.endswith(".scales"):
        return mx.full(like.shape, step, like.dtype)
    if bits and name.endswith(".biases"):
        return mx.full(like.shape, -step * ((1 << bits) - 1) / 2, like.dtype)
    if like.ndim == 1:
        return mx.ones(like.shape, like.dtype)
    return (SPREAD * mx.random.normal(like.shape)).astype(like.dtype)


def write_weights(config: dict, out: Path, seed: int = 0) -> None:
    """The safetensors files and their index, for the model that `config` (a config.json) describes.

    Raises ValueError for a config that mlx-lm has no model for.
    """
    mx.random.seed(seed)
    quantization = config.get("quantization")
    bits = quantization and quantization["bits"]
    if quantization:
        model = quantized_as(config, quantization["group_size"], bits)
    else:
        model = build_model(config)
    shards = make_shards(dict(tree_flatten(model.parameters())), max_file_size_gb=1)
    weight_map = {}
    for number, shard in enumerate(shards, start=1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        arrays = {name: draw(name, array, bits) for name, array in shard.items()}
        mx.save_safetensors(str(out / file), arrays, {"format": "mlx"})
        weight_map |= dict.fromkeys(arrays, file)
        mx.clear_cache()
    index = {"metadata": {"total_size": weights_bytes(out)}, "weight_map": weight_map}
    write_json(out / "model.safetensors.index.json", index)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", type=Path, required=True, help="a config.json")
    parser.add_argument("--tokenizer", type=Path, required=True, help="folder to take it from")
    parser.add_argument("--out", type=Path, required=True, help="folder to make")
    args = parser.parse_args()
    try:
        config = read_json(args.shape)
        shutil.rmtree(args.out, ignore_errors=True)
        args.out.mkdir(parents=True)
        for pattern in TOKENIZER_FILES:
            for file in args.tokenizer.glob(pattern):
                shutil.copy(file, args.out)
        write_json(args.out / "config.json", config)
        write_weights(config, args.out)
    except (ValueError, OSError) as error:
        print(f"random_model: {error}", file=sys.stderr)
        return 2
    print(f"{args.out}: {weights_bytes(args.out) / 1e9:.2f} GB of random weights")
    return 0


if __name__ == "__main__":
    sys.exit(main())
