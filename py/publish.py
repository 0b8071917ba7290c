"""Give the quantized model its tool parser, prompt format and model card.

The tool parser is the one that preflight found: a server without it infers one, which may drop
every call. The chat template asks without thinking, as in training, whoever asks. With --result
only the card, README.md, is written again, in place, so that the folder keeps its date.
"""

import argparse
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from chat_format import TEMPLATE_ARGUMENTS, open_tokenizer, render, render_prompt
from files import read_json, weights_sha256, write_json, write_text
from manifest import training_of
from models import hub_name
from program import run
from settings import add_config, load_settings
from tools import read_schemas

ASKED = [{"role": "user", "content": "Which files are modified?"}]
FIXED = "".join(
    f"{{%- set {name} = {str(value).lower()} %}}" for name, value in TEMPLATE_ARGUMENTS.items()
)


def set_template(model: Path) -> None:
    """Set the template's arguments to their values in training, whatever a caller passes.

    Raises ValueError if the template still makes another prompt than that of training.
    """
    file = model / "chat_template.jinja"
    template = file.read_text(encoding="utf-8") if file.is_file() else ""
    if not any(name in template for name in TEMPLATE_ARGUMENTS):
        return
    prompt = render_prompt(open_tokenizer(model), ASKED)
    write_text(file, FIXED + template)
    if render(open_tokenizer(model), ASKED, add_generation_prompt=True) != prompt:
        raise ValueError(f"{file}: its arguments cannot be fixed; it sets them itself")


def read_result(file: Path, model: Path) -> dict:
    """The evaluation in `file`. Raises ValueError when it is of other weights."""
    result = read_json(file)
    if result["model"]["weights_sha256"] != weights_sha256(model):
        raise ValueError(f"{file}: these are not the scores of {model}; run make eval again")
    return result


def eval_results(result: dict) -> list[EvalResult]:
    """The totals, for the card's front matter (model-index)."""
    suite = result["suite"]
    scores = {"score": result["overall"], "strict_score": result["strict_overall"]}
    return [
        EvalResult(
            task_type="text-generation",
            task_name="Tool selection",
            dataset_type=suite["name"],
            dataset_name=f"{suite['name']}, {suite['n']} prompts",
            dataset_revision=suite["sha256"],
            metric_type=name,
            metric_name=name,
            metric_value=score,
        )
        for name, score in scores.items()
    ]


def result_text(result: dict) -> str:
    """The categories as a Markdown table, and what the totals mean."""
    overall, strict, (low, high) = result["overall"], result["strict_overall"], result["ci95"]
    lines = ["| category | prompts | score | strict score |", "|---|---|---|---|"]
    for name, part in result["categories"].items():
        lines.append(f"| {name} | {part['n']} | {part['score']:.1%} | {part['strict_score']:.1%} |")
    lines.append(f"| overall | {result['suite']['n']} | {overall:.1%} | {strict:.1%} |")
    return "\n".join(lines) + (
        f"\n\n95% interval of the score: {low:.1%} to {high:.1%}; verdict against the registered"
        f" targets: {result['verdict']}. The strict score counts a tool only where it is really"
        " called."
    )


def card(settings: dict, model: Path, result: dict | None) -> str:
    """The text of README.md, with its front matter."""
    build, name, url = Path(settings["BUILD"]), settings["EXPERIMENT"], settings["DATA_URL"]
    readme = build / "base/README.md"
    known = ModelCard.load(readme).data if readme.is_file() else ModelCardData()
    base = hub_name((build / "base").resolve()) or known.base_model
    training = training_of(build / "adapters")
    adopted = ", trained elsewhere and adopted" if training["adopted"] else ""
    source = "the experiment's own" if url == "none" else f"from {url}"
    data = ModelCardData(
        base_model=base,
        language="en",
        library_name="mlx",
        license=known.license,
        model_name=name if result else None,
        eval_results=eval_results(result) if result else None,
        pipeline_tag="text-generation",
        tags=["mlx", training["fine_tune_type"], "tool-calling"],
    )
    count = len(read_schemas(Path(settings["TOOLS"])))
    tools = f"{count} tools" if count else "tools"
    by_name = read_json(build / "preflight.json")["facts"].get("call_format") == "json"
    how = "by name, with JSON arguments" if by_name else "from inside one `execute_code` call"
    parser = read_json(model / "tokenizer_config.json").get("tool_parser_type")
    quantization = read_json(model / "config.json")["quantization"]
    # A recipe writes down the bits of each layer.
    widths = {layer["bits"] for layer in quantization.values() if isinstance(layer, dict)}
    bits = " and ".join(map(str, sorted(widths))) if len(widths) > 1 else quantization["bits"]
    return f"""---
{data.to_yaml().strip()}
---

# {name}

{base or settings["BASE_MODEL"]}, fine-tuned to call {tools} {how},
then quantized to {bits} bits in groups of {quantization["group_size"]}.

## Use

    mlx_lm chat --model . --system-prompt "..."
    mlx_lm server --model .

The chat template always asks without thinking, as in training. The server's tool
parser is `{parser or "none"}`. `tokenizer_config.json` names it, because a server that infers one
may drop every call. Parse what the model writes, and run it only where that is safe.

## Training

{training["fine_tune_type"]} on the last {training["num_layers"]} layers, {training["iters"]}
iterations of {training["batch_size"]} rows of `{training["data"]}`, learning rate
{training["learning_rate"]}, seed {training["seed"]}{adopted}. The rows are {source}.

## Evaluation

{result_text(result) if result else "These weights have not been evaluated yet."}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_config(parser)
    parser.add_argument("--model", type=Path, required=True, help="folder of the quantized model")
    parser.add_argument("--result", type=Path, help="eval.json: write only the card")
    args = parser.parse_args()
    settings, result = load_settings(args.config), None
    if args.result:
        result = read_result(args.result, args.model)
    else:
        facts = read_json(Path(settings["BUILD"]) / "preflight.json")["facts"]
        if parser_type := facts.get("tool_parser"):
            file = args.model / "tokenizer_config.json"
            write_json(file, read_json(file) | {"tool_parser_type": parser_type})
        set_template(args.model)
    text = card(settings, args.model, result)
    (args.model / "README.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    run(main)
