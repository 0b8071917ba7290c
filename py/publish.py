"""Make a quantized model usable by others: set its tool parser, prompt format and model card.

    python publish.py --config CONFIG --model FOLDER

- tool_parser_type: the parser that preflight found to keep every call of the training rows. A
  server left to infer one may drop them.
- The chat template always asks as training did, without thinking: the model has seen no other
  prompt, but mlx_lm chat and server ask for thinking by default.
- README.md: a model card by the hub's conventions, with the evaluation of these very weights if
  there is one.

Run again on the same model it changes only the card. Exit status 2: a file can't be used.
"""

import argparse
import sys
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from chat_format import TEMPLATE_ARGUMENTS, open_tokenizer, render, render_prompt
from files import read_json, weights_sha256, write_json, write_text
from models import is_folder, model_folder, note_of
from settings import load_settings

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
    """Fix the template's arguments to their values in training.

    Raises ValueError if a prompt without arguments is then still not the prompt of training.
    """
    file = model / "chat_template.jinja"
    template = file.read_text(encoding="utf-8") if file.is_file() else ""
    if not any(name in template for name in TEMPLATE_ARGUMENTS) or template.startswith(FIXED):
        return
    prompt = render_prompt(open_tokenizer(model), ASKED)
    write_text(file, FIXED + template)
    if render(open_tokenizer(model), ASKED, add_generation_prompt=True) != prompt:
        raise ValueError(f"{file}: its arguments cannot be fixed; it sets them itself")


def results(build: Path, model: Path) -> dict | None:
    """eval.json, if it is of these weights."""
    file = build / "eval.json"
    if not file.is_file():
        return None
    result = read_json(file)
    return result if result["model"]["weights_sha256"] == weights_sha256(model) else None


def eval_results(result: dict) -> list[EvalResult]:
    """The totals, for the card's front matter (model-index)."""
    suite = result["suite"]
    about = {
        "task_type": "text-generation",
        "task_name": "Tool selection",
        "dataset_type": suite["name"],
        "dataset_name": f"{suite['name']}, {suite['n']} prompts",
        "dataset_revision": suite["sha256"],
    }
    named = {"score": "overall", "strict_score": "strict_overall"}
    return [
        EvalResult(**about, metric_type=kind, metric_name=kind, metric_value=result[key])
        for kind, key in named.items()
    ]


def result_text(result: dict) -> str:
    """The categories as a Markdown table, and what the totals mean."""
    total = {"score": result["overall"], "strict_score": result["strict_overall"]}
    parts = result["categories"] | {"overall": total | {"n": result["suite"]["n"]}}
    lines = ["| category | prompts | score | strict score |", "|---|---|---|---|"]
    for name, part in parts.items():
        scores = f"{part['score']:.1%} | {part['strict_score']:.1%}"
        lines.append(f"| {name} | {part['n']} | {scores} |")
    low, high = result["ci95"]
    return "\n".join(lines) + (
        f"\n\n95% interval of the score: {low:.1%} to {high:.1%}; verdict against the registered"
        f" targets: {result['verdict']}. The strict score counts a tool only where it is really"
        " called."
    )


def base_of(settings: dict) -> tuple[str | None, str | None]:
    """(name on the hub, license) of the base model, None where unknown.

    A folder's own card says what it was made of.
    """
    file = model_folder(settings, "BASE_MODEL") / "README.md"
    known = ModelCard.load(file).data if file.is_file() else ModelCardData()
    if is_folder(settings["BASE_MODEL"]):
        return known.base_model, known.license
    return read_json(note_of(settings, "BASE_MODEL"))["model"], known.license


def card(settings: dict, model: Path) -> str:
    """The text of README.md, with its front matter."""
    result = results(Path(settings["BUILD"]), model)
    base, license_name = base_of(settings)
    name, url = settings["EXPERIMENT"], settings["DATA_URL"]
    source = "which this experiment has brought itself" if url == "none" else f"from {url}"
    tools = read_json(Path(settings["TOOLS"]))["tools"]
    data = ModelCardData(
        base_model=base,
        language="en",
        library_name="mlx",
        license=license_name,
        model_name=name if result else None,
        eval_results=eval_results(result) if result else None,
        pipeline_tag="text-generation",
        tags=["mlx", settings["FINE_TUNE_TYPE"], "tool-calling"],
    )
    parser = read_json(model / "tokenizer_config.json").get("tool_parser_type")
    layers, bits = settings["NUM_LAYERS"], settings["Q_BITS"]
    return f"""---
{data.to_yaml().strip()}
---

# {name}

{base or settings["BASE_MODEL"]}, fine-tuned to call {len(tools)} tools from inside one
`execute_code` call ({settings["FINE_TUNE_TYPE"]} on the last {layers} layers,
{settings["ITERS"]} iterations of {settings["BATCH_SIZE"]} rows), then quantized to {bits} bits in
groups of {settings["Q_GROUP_SIZE"]}.

## Use

    mlx_lm chat --model . --system-prompt "..."
    mlx_lm server --model .

The chat template asks without thinking, always: training knew nothing else. The server's tool
parser is `{parser or "none"}`; `tokenizer_config.json` names it, and a server that infers one of
its own may drop every call. What the model writes is code: parse it, and run it only where that is
safe.

## Training data

{settings["TRAIN_ROWS"]} rows of `{settings["DATA"]}`, {source}.

## Evaluation

{result_text(result) if result else "These weights have not been evaluated yet."}
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, required=True, help="env file of the experiment")
    parser.add_argument("--model", type=Path, required=True, help="folder of the quantized model")
    args = parser.parse_args()
    try:
        settings = load_settings(args.config)
        set_parser(args.model, read_json(Path(settings["BUILD"]) / "preflight.json")["facts"])
        set_template(args.model)
        write_text(args.model / "README.md", card(settings, args.model))
    except (ValueError, OSError) as error:
        print(f"publish: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
