"""Give the quantized model its tool parser, prompt format and model card.

    python publish.py --model build/q5.tmp
    python publish.py --model build/q5 --result build/eval.json.tmp

The first command writes all three:
- tool_parser_type: preflight found the parser that keeps every call of the training rows. Without
  this key a server infers one, which may drop them.
- The chat template asks without thinking, as in training. mlx_lm chat and server would otherwise
  ask for thinking, and the model has never seen such a prompt.
- README.md: a model card for the hub.

The second command writes only the card again, with the scores of --result. It writes in place, so
that the folder keeps its date. Exit status 2: a file cannot be used.
"""

import argparse
import sys
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from chat_format import TEMPLATE_ARGUMENTS, open_tokenizer, render, render_prompt
from files import read_json, weights_sha256, write_json, write_text
from manifest import training_of
from models import EMBEDDED, is_folder
from settings import add_config, load_settings

ASKED = [{"role": "user", "content": "Which files are modified?"}]
FIXED = "".join(
    f"{{%- set {name} = {str(value).lower()} %}}" for name, value in TEMPLATE_ARGUMENTS.items()
)


def set_parser(model: Path, facts: dict) -> None:
    """Set tool_parser_type in tokenizer_config.json, if preflight has found one."""
    if parser := facts.get("tool_parser"):
        file = model / "tokenizer_config.json"
        write_json(file, read_json(file) | {"tool_parser_type": parser})


def set_template(model: Path) -> None:
    """Set the template's arguments to their values in training, whatever a caller passes.

    Raises ValueError if the template still makes another prompt than that of training.
    """
    file = model / "chat_template.jinja"
    template = file.read_text(encoding="utf-8") if file.is_file() else ""
    if not any(name in template for name in TEMPLATE_ARGUMENTS) or template.startswith(FIXED):
        return
    prompt = render_prompt(open_tokenizer(model), ASKED)
    write_text(file, FIXED + template)
    if render(open_tokenizer(model), ASKED, add_generation_prompt=True) != prompt:
        raise ValueError(f"{file}: its arguments cannot be fixed; it sets them itself")


def result_of(model: Path, file: Path) -> dict | None:
    """The evaluation in `file`, if it is of these weights."""
    if not file.is_file():
        return None
    result = read_json(file)
    return result if result["model"]["weights_sha256"] == weights_sha256(model) else None


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


def result_text(result: dict | None) -> str:
    """The categories as a Markdown table, and what the totals mean."""
    if not result:
        return "These weights have not been evaluated yet."
    lines = ["| category | prompts | score | strict score |", "|---|---|---|---|"]
    total = {
        "n": result["suite"]["n"],
        "score": result["overall"],
        "strict_score": result["strict_overall"],
    }
    for name, part in {**result["categories"], "overall": total}.items():
        scores = f"{part['score']:.1%} | {part['strict_score']:.1%}"
        lines.append(f"| {name} | {part['n']} | {scores} |")
    low, high = result["ci95"]
    return "\n".join(lines) + (
        f"\n\n95% interval of the score: {low:.1%} to {high:.1%}; verdict against the registered"
        f" targets: {result['verdict']}. The strict score counts a tool only where it is really"
        " called."
    )


def base_of(settings: dict) -> tuple[str | None, str | None]:
    """(name on the hub, license) of the base model; None for what its card does not say."""
    file = Path(settings["BUILD"]) / "base/README.md"
    known = ModelCard.load(file).data if file.is_file() else ModelCardData()
    if settings["BASE_MODEL"] == EMBEDDED or is_folder(settings["BASE_MODEL"]):
        return known.base_model, known.license
    return settings["BASE_MODEL"].partition("@")[0], known.license


def training_text(training: dict) -> str:
    """What trained the adapters, in a sentence."""
    text = (
        f"{training['fine_tune_type']} on the last {training['num_layers']} layers,"
        f" {training['iters']} iterations of {training['batch_size']} rows of"
        f" `{training['data']}`, learning rate {training['learning_rate']},"
        f" seed {training['seed']}"
    )
    return text + (", trained elsewhere and adopted" if training["adopted"] else "")


def card(settings: dict, model: Path, result: dict | None) -> str:
    """The text of README.md, with its front matter."""
    base, license_name = base_of(settings)
    name, url = settings["EXPERIMENT"], settings["DATA_URL"]
    training = training_of(Path(settings["BUILD"]) / "adapters")
    source = "the experiment's own" if url == "none" else f"from {url}"
    tools = read_json(Path(settings["TOOLS"]))["tools"]
    data = ModelCardData(
        base_model=base,
        language="en",
        library_name="mlx",
        license=license_name,
        model_name=name if result else None,
        eval_results=eval_results(result) if result else None,
        pipeline_tag="text-generation",
        tags=["mlx", training["fine_tune_type"], "tool-calling"],
    )
    parser = read_json(model / "tokenizer_config.json").get("tool_parser_type")
    quantization = read_json(model / "config.json")["quantization"]
    return f"""---
{data.to_yaml().strip()}
---

# {name}

{base or settings["BASE_MODEL"]}, fine-tuned to call {len(tools)} tools from inside one
`execute_code` call, then quantized to {quantization["bits"]} bits in groups of
{quantization["group_size"]}.

## Use

    mlx_lm chat --model . --system-prompt "..."
    mlx_lm server --model .

The chat template always asks without thinking, as in training. The server's tool
parser is `{parser or "none"}`. `tokenizer_config.json` names it, because a server that infers one
may drop every call. What the model writes is code: parse it, and run it only where that is safe.

## Training

{training_text(training)}. The rows are {source}.

## Evaluation

{result_text(result)}
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_config(parser)
    parser.add_argument("--model", type=Path, required=True, help="folder of the quantized model")
    parser.add_argument("--result", type=Path, help="eval.json: write only the card")
    args = parser.parse_args()
    try:
        settings = load_settings(args.config)
        build = Path(settings["BUILD"])
        if not args.result:
            set_parser(args.model, read_json(build / "preflight.json")["facts"])
            set_template(args.model)
        result = result_of(args.model, args.result or build / "eval.json")
        text = card(settings, args.model, result)
        (args.model / "README.md").write_text(text, encoding="utf-8")
    except (ValueError, OSError) as error:
        print(f"publish: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
