"""Did the adapter survive? One loss for each step from the base to the quantized model.

    base -> base + adapter -> fused -> q5

Each is validated on the same rows, tokenized once, with the same tokens in the loss. The adapter's
gain is what it takes off the base's loss; each later step keeps a share of it. Fused into weights
too coarse for it, an adapter is rounded away, which otherwise only a score would show, hours later.

Exit status 1: the adapter has vanished in fusing, a loss is NaN, or a file can't be read.
"""

import argparse
import gc
import math
import sys
from pathlib import Path

import mlx.core as mx
from mlx_lm import load
from mlx_lm.lora import CONFIG_DEFAULTS

from files import read_json, write_json
from loss import valid_rows, validation_loss

KEPT = 0.9  # of the gain; less is a warning
VANISHED = 0.1  # of the gain; less in the fused model ends the run
LEAST_GAIN = 0.01  # nats per token; shares of less say nothing


def measure(args) -> dict:
    """{rows, tokens, losses: {base, adapter, fused, q5}}; one model in memory at a time."""
    config = CONFIG_DEFAULTS | read_json(args.adapters / "adapter_config.json")
    config["data"] = args.data or config["data"]
    steps = {"base": (args.model, None), "adapter": (args.model, str(args.adapters))}
    if args.fused:
        steps["fused"] = (args.fused, None)
    steps["q5"] = (args.q5, None)
    rows, losses = None, {}
    for name, (path, adapter_path) in steps.items():
        model, tokenizer = load(path, adapter_path=adapter_path)
        rows = rows or valid_rows(config, tokenizer, args.rows)
        losses[name], tokens = validation_loss(model, rows, config)
        print(f"  {name:<8} {losses[name]:.4f}", flush=True)
        del model
        gc.collect()
        mx.clear_cache()
    return {"rows": len(rows), "tokens": tokens, "losses": losses}


def judge(losses: dict) -> tuple[dict, list[str], str | None]:
    """(step -> the share of the adapter's gain that it keeps, warnings, what ends the run)."""
    kept: dict = {step: None for step in ("fused", "q5") if step in losses}
    if broken := [step for step, loss in losses.items() if not math.isfinite(loss)]:
        return kept, [], f"the validation loss of {broken[0]} is {losses[broken[0]]}"
    gain = losses["base"] - losses["adapter"]
    if gain < LEAST_GAIN:
        text = f"the adapter takes {gain:.4f} off the base's loss: too little to take shares of"
        return kept, [text], None
    kept = {step: (losses["base"] - losses[step]) / gain for step in kept}
    if kept.get("fused", 1) < VANISHED:
        share = f"fused keeps {kept['fused']:.1%} of its gain; is it fused with --dequantize?"
        return kept, [], f"the adapter has vanished: {share}"
    warnings = [
        f"{step} keeps {share:.1%} of the adapter's gain"
        if share > 0
        else f"{step} is worse than the untuned base: the adapter's gain is lost"
        for step, share in kept.items()
        if share < KEPT
    ]
    return kept, warnings, None


def summarize(result: dict) -> str:
    """The ladder in a few lines of Markdown, for compare.md."""
    steps = ", ".join(f"{step} {loss:.3f}" for step, loss in result["losses"].items())
    q5 = result["kept"]["q5"]
    lines = [f"Validation loss: {steps}."]
    if result["warnings"]:
        lines += [f"**Warning**: {warning}." for warning in result["warnings"]]
    elif q5 is not None:
        lines += [f"q5 keeps {q5:.1%} of the adapter's gain."]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="the base model")
    parser.add_argument("--adapters", type=Path, required=True)
    parser.add_argument("--fused", help="none with LOW_MEMORY=1")
    parser.add_argument("--q5", required=True, help="q5, or q5-float32")
    parser.add_argument("--data", help="folder with valid.jsonl, if not the one of the training")
    parser.add_argument("--rows", type=int, default=0, help="at most; 0 takes all")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    try:
        result = measure(args)
        kept, warnings, fatal = judge(result["losses"])
        if fatal:
            raise ValueError(fatal)
        result = {"schema": 1, **result, "kept": kept, "warnings": warnings}
        write_json(args.out, result | {"summary": summarize(result)})
        for warning in warnings:
            print(f"ladder: WARNING: {warning}", file=sys.stderr)
    except (ValueError, OSError) as error:
        print(f"ladder: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
