"""Did the adapter survive? One loss for each step from the base to the quantized model.

Each is validated on the same rows, tokenized once. The adapter's gain is what it takes off the
base's loss; each later step keeps a share of it. Fused into weights too coarse for it, an adapter
is rounded away. Otherwise only a score would show that, hours later.
"""

import argparse
import gc
import math
from pathlib import Path

import mlx.core as mx
from mlx_lm import load
from mlx_lm.lora import CONFIG_DEFAULTS

from files import read_json, write_json
from loss import valid_rows, validation_loss
from program import Failed, run

KEPT = 0.9  # of the gain; less is a warning
VANISHED = 0.1  # of the gain; less in the fused model ends the run
LEAST_GAIN = 0.01  # nats per token; shares of less say nothing


def measure(args) -> dict:
    """{rows, tokens, losses: {base, adapter, fused, q5}}; one model in memory at a time."""
    config = CONFIG_DEFAULTS | read_json(args.adapters / "adapter_config.json")
    config["data"] = args.data
    steps = {"base": args.model, "adapter": args.model, "fused": args.fused, "q5": args.q5}
    rows, losses = None, {}
    for name, path in steps.items():
        if path is None:
            continue
        adapter_path = str(args.adapters) if name == "adapter" else None
        model, tokenizer = load(path, adapter_path=adapter_path)
        rows = rows or valid_rows(config, tokenizer, args.rows)
        losses[name], tokens = validation_loss(model, rows, config)
        print(f"  {name:<8} {losses[name]:.4f}", flush=True)
        del model
        gc.collect()
        mx.clear_cache()
    return {"rows": len(rows), "tokens": tokens, "losses": losses}


def judge(losses: dict) -> tuple[dict, list[str]]:
    """(step -> the share of the adapter's gain that it keeps, warnings).

    Raises Failed when a loss is NaN, or when the fused model has lost the adapter.
    """
    for step, loss in losses.items():
        if not math.isfinite(loss):
            raise Failed(f"the validation loss of {step} is {loss}")
    later = [step for step in ("fused", "q5") if step in losses]
    gain = losses["base"] - losses["adapter"]
    if gain < LEAST_GAIN:
        text = f"the adapter takes {gain:.4f} off the base's loss: too little to take shares of"
        return dict.fromkeys(later), [text]
    kept = {step: (losses["base"] - losses[step]) / gain for step in later}
    if kept.get("fused", 1) < VANISHED:
        share = f"fused keeps {kept['fused']:.1%} of its gain; is it fused with --dequantize?"
        raise Failed(f"the adapter has vanished: {share}")
    low = {step: share for step, share in kept.items() if share < KEPT}
    return kept, [
        f"{step} keeps {share:.1%} of the adapter's gain"
        if share > 0
        else f"{step} is worse than the untuned base"
        for step, share in low.items()
    ]


def summarize(losses: dict, kept: dict, warnings: list[str]) -> str:
    """The ladder in a few lines of Markdown, for compare.md."""
    steps = ", ".join(f"{step} {loss:.3f}" for step, loss in losses.items())
    said = [f"**Warning**: {warning}." for warning in warnings]
    said = said or [f"q5 keeps {kept['q5']:.1%} of the adapter's gain."]
    return "\n".join([f"Validation loss: {steps}.", *said])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="the base model; without it only the loss of q5")
    parser.add_argument("--adapters", type=Path, required=True)
    parser.add_argument("--fused", help="none with LOW_MEMORY=1")
    parser.add_argument("--q5", required=True, help="q5, or q5-float32")
    parser.add_argument("--data", required=True, help="folder with valid.jsonl")
    parser.add_argument("--rows", type=int, default=0, help="at most; 0 takes all")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    result = {"schema": 1, **measure(args)}
    if args.model:
        kept, warnings = judge(result["losses"])
        result |= {"kept": kept, "warnings": warnings}
        result["summary"] = summarize(result["losses"], kept, warnings)
    write_json(args.out, result)


if __name__ == "__main__":
    run(main)
