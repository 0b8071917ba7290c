"""`make plan`: which steps will run, how long each took last time, and what it will write.

Reads the outputs that make would make from standard input, one a line.
"""

import argparse
import sys
from pathlib import Path

from checks.plan import check_arithmetic, check_download, check_resources, output_bytes
from checks.settings import check_layers, check_settings, declared
from expand_turns import training_rows
from files import read_json
from manifest import step_times
from models import local_model
from program import run
from settings import add_config, load_settings, number
from shapes import model_facts
from show import in_columns, size

# The config.json of the models that phase40.env names, which may not be here yet.
SHAPES = Path(__file__).resolve().parent.parent / "data/shapes"

# The outputs of the steps in BUILD, in their order.
OUTPUTS = "preflight.ok data adapters fused q5 q5-float32 ladder.json eval.json eval_base.json"


def duration(seconds: float) -> str:
    """Seconds in words."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def step_lines(build: Path, to_make: list[str], sizes: dict[str, int]) -> list[str]:
    """A table: each output, whether it will be made, how long that took, how large it is."""
    times = step_times(build)
    lines = [f"  {'output':<14} {'to make':<8} {'last time':>9}  {'writes':>9}"]
    for output in OUTPUTS.split():
        if output in to_make or (build / output).exists():
            writes = size(sizes[output]) if output in sizes else "-"
            state = "yes" if output in to_make else "no"
            last = duration(times[output]) if output in times else "not known"
            lines.append(f"  {output:<14} {state:<8} {last:>9}  {writes:>9}")
    if not to_make:
        lines.append("  Nothing would run: all is up to date.")
    return lines


def count_rows(settings: dict, split: str) -> int | None:
    """The number of rows of a split. If it is not here yet, the number that was promised."""
    if (Path(settings["DATA"]) / f"{split}.jsonl").is_file():
        return sum(1 for _ in training_rows(settings, split))
    return declared(settings, f"{split.upper()}_ROWS")


def page(settings: dict, to_make: list[str]) -> list[str]:
    """The lines of the page. Raises ValueError for input that cannot be used."""
    check_settings(settings)
    folder, name = local_model(settings, "BASE_MODEL"), settings["BASE_MODEL"]
    config = (folder or SHAPES / Path(name.partition("@")[0]).name) / "config.json"
    if not folder and not config.is_file():
        raise ValueError(f"BASE_MODEL={name}: its config.json is not here; make preflight gets it")
    model = model_facts(read_json(config), settings)
    check_layers(settings, model["layers"])
    checkpoints = number(settings, "ITERS") // number(settings, "SAVE_EVERY") + 1
    adapters = 4 * model["trainable_parameters"] * checkpoints  # float32
    sizes = output_bytes(settings, model) | {"adapters": adapters}
    written = {output: sizes[output] for output in to_make if output in sizes}
    rows = [count_rows(settings, split) for split in ("train", "valid")]
    found = check_arithmetic(settings, *rows, model) if all(rows) else []
    found += check_resources(settings, model, written) + check_download(folder, model)
    lines = [f"{settings['EXPERIMENT']}: {name} on {settings['DATA']}", ""]
    for entry in found:
        level = "" if entry["level"] == "ok" else f" [{entry['level']}]"
        head = f"  {entry['id'].partition('.')[2]:<12}"
        lines.append(in_columns(head, entry["evidence"] + level))
    if not all(rows):
        lines.append("  The rows are not here yet, so the epochs are not known.")
    if stopped := [entry["id"] for entry in found if entry["level"] == "fail"]:
        lines.append(f"  Preflight would stop this run: {', '.join(stopped)}.")
    lines.append("  Not looked at here: rows, prompts, tokenizer; make preflight does that.")
    return [*lines, "", *step_lines(Path(settings["BUILD"]), to_make, sizes)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_config(parser)
    args = parser.parse_args()
    to_make = [Path(line).name for line in sys.stdin.read().splitlines()]
    print("\n".join(page(load_settings(args.config), to_make)))


if __name__ == "__main__":
    run(main)
