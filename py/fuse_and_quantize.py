"""Fuse and quantize in one go: a third of the memory, no full-precision model on the disk.

This does what `mlx_lm fuse --dequantize` and then `mlx_lm convert -q` do, with their code. But the
model is loaded lazily: mlx computes a weight when its shard is written, and then forgets it. So
memory holds one shard, 5 GB at most. The files are those of the two commands, bit for bit.
"""

from importlib import import_module

import mlx.core as mx
from mlx.utils import tree_unflatten
from mlx_lm.utils import dequantize_model, load

from program import run

converter = import_module("mlx_lm.convert")  # mlx_lm.convert itself is the function in it
BLOCK = 1 << 24  # weights


def fused(model: str, adapters: str) -> tuple:
    """(model, tokenizer, config) as `mlx_lm fuse --dequantize` saves them; nothing computed yet."""
    model, tokenizer, config = load(model, adapter_path=adapters, return_config=True, lazy=True)
    linears = [(n, m.fuse(dequantize=True)) for n, m in model.named_modules() if hasattr(m, "fuse")]
    model.update_modules(tree_unflatten(linears))
    config = {k: v for k, v in config.items() if not k.startswith("quantization")}
    return dequantize_model(model), tokenizer, config


def in_turn(quantize, save):
    """mx.quantize and mx.save_safetensors, such that what is saved is computed in blocks of rows.

    On a CPU quantizing takes four times the memory of what is quantized, and mlx would do it for
    many whole weights side by side. Groups lie in rows, so blocks of rows give the same bits.
    """
    blocks_of = {}  # id of a quantized weight that is not computed yet -> its blocks

    def quantize_rows(weight, *args, **kwargs):
        rows = max(1, BLOCK * weight.shape[0] // weight.size)
        parts = mx.split(weight, range(rows, weight.shape[0], rows))
        blocks = [quantize(part, *args, **kwargs) for part in parts]
        whole = tuple(mx.concatenate(parts) for parts in zip(*blocks, strict=True))
        blocks_of[id(whole[0])] = blocks
        return whole

    def save_computed(file, arrays, *args, **kwargs):
        for array in arrays.values():
            for block in blocks_of.pop(id(array), ()):
                mx.eval(block)
            mx.eval(array)
        save(file, arrays, *args, **kwargs)

    return quantize_rows, save_computed


def main() -> None:
    parser = converter.configure_parser()
    parser.description = __doc__.splitlines()[0]
    parser.add_argument("--adapter-path", required=True)
    options = vars(parser.parse_args())
    adapters = options.pop("adapter_path")
    mx.quantize, mx.save_safetensors = in_turn(mx.quantize, mx.save_safetensors)
    # convert() loads what it converts by this name: it gets the fused model instead.
    converter.load = lambda base, **_: fused(base, adapters)
    converter.convert(**options | {"quantize": True})


if __name__ == "__main__":
    run(main)
