"""`make plan`: which steps will run, how long each took last time here, and what it will write.

Reads the outputs that make would make from standard input, one a line.
"""

import argparse
import platform
import sys
from pathlib import Path

from checks.plan import (
    check_arithmetic,
    check_download,
    check_resources,
    output_bytes,
    with_float32,
)
from checks.settings import check_layers, check_settings, declared
from expand_turns import training_rows
from files import read_json
from manifest import step_times
from models import local_model
from settings import add_config, load_settings, number
from shapes import model_facts
from show import in_columns, size

SHAPES = Path(__file__).resolve().parent.parent / "data/shapes"

# The outputs of the steps in BUILD, in their order.
OUTPUTS = "preflight.ok data adapters fused q5 q5-float32 ladder.json eval.json eval_base.json"


def duration(seconds: float | None) -> str:
    """Seconds in words."""
    if seconds is None:
        return "not known"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def step_lines(settings: dict, to_make: list[str], sizes: dict[str, int]) -> list[str]:
    """A table: each output, whether it will be made, how long that took, how large it is."""
    build = Path(settings["BUILD"])
    times = step_times(build, platform.node())
    lines = [f"  {'output':<14} {'to make':<8} {'last time':>9}  {'writes':>9}"]
    for output in OUTPUTS.split():
        if output in to_make or (build / output).exists():
            weight = size(sizes[output]) if output in sizes else "-"
            state = "yes" if output in to_make else "no"
            last = duration(times.get(output))
            lines.append(f"  {output:<14} {state:<8} {last:>9}  {weight:>9}")
    return lines


def shape(settings: dict) -> tuple[dict, Path | None]:
    """(config.json of the base model, its folder).

    The folder is None for a model that is not here yet. data/shapes has the config.json of the
    models that phase40.env names.
    """
    folder = local_model(settings, "BASE_MODEL")
    if folder:
        return read_json(folder / "config.json"), folder
    known = SHAPES / Path(settings["BASE_MODEL"].partition("@")[0]).name
    if not known.is_dir():
        raise ValueError(
            f"BASE_MODEL={settings['BASE_MODEL']}: its config.json is not here yet;"
            " make preflight fetches it"
        )
    return read_json(known / "config.json"), None


def count_rows(settings: dict, split: str) -> int | None:
    """The number of rows of a split; of a split that is not here yet the declared one, if any."""
    if (Path(settings["DATA"]) / f"{split}.jsonl").is_file():
        return sum(1 for _ in training_rows(settings, split))
    return declared(settings, f"{split.upper()}_ROWS")


def page(settings: dict, to_make: list[str]) -> str:
    """The whole page. `to_make` names outputs. Raises ValueError for input that cannot be used."""
    check_settings(settings)
    config, folder = shape(settings)
    model = with_float32(model_facts(config, settings))
    check_layers(settings, model["layers"])
    checkpoints = number(settings, "ITERS") // number(settings, "SAVE_EVERY") + 1
    adapters = 4 * model["trainable_parameters"] * checkpoints  # float32
    sizes = output_bytes(settings, model) | {"adapters": adapters}
    to_write = {output: sizes[output] for output in to_make if output in sizes}
    rows = [count_rows(settings, split) for split in ("train", "valid")]
    arithmetic = check_arithmetic(settings, *rows, model)[0] if all(rows) else []
    resources, _ = check_resources(settings, model, to_write)
    resources += check_download(folder, model)
    facts = [
        in_columns(
            f"  {entry['id'].partition('.')[2]:<12}",
            entry["evidence"] + ("" if entry["level"] == "ok" else f" [{entry['level']}]"),
        )
        for entry in arithmetic + resources
    ]
    if not arithmetic:
        facts.append("  The rows are not here yet, so the epochs are not known.")
    head = f"{settings['EXPERIMENT']}: {settings['BASE_MODEL']} on {settings['DATA']}"
    stopped = [entry["id"] for entry in arithmetic + resources if entry["level"] == "fail"]
    if stopped:
        facts.append(f"  Preflight would stop this run: {', '.join(stopped)}.")
    facts.append("  Not looked at here: rows, prompts, tokenizer; make preflight does that.")
    steps = step_lines(settings, to_make, sizes)
    if not to_make:
        steps.append("  Nothing would run: all is up to date.")
    return "\n".join([head, "", *facts, "", *steps])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_config(parser)
    args = parser.parse_args()
    to_make = [Path(line).name for line in sys.stdin.read().splitlines()]
    try:
        print(page(load_settings(args.config), to_make))
    except (ValueError, OSError) as error:
        print(f"plan: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
