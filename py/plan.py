"""`make plan`: what will run, how long it took last time on this machine, what it will write.

    make --dry-run eval | (names of the stages) | python plan.py --config CONFIG

Reads from standard input the names of the stages that make would run, one a line.
"""

import argparse
import contextlib
import json
import platform
import sys
from pathlib import Path

from check_plan import (
    check_arithmetic,
    check_download,
    check_resources,
    output_bytes,
    with_twin,
)
from check_settings import check_layers, check_settings
from expand_turns import training_rows
from files import read_json
from finding import in_columns, size
from models import is_hub_name, model_folder
from settings import load_settings, number
from shapes import model_facts

SHAPES = Path(__file__).resolve().parent.parent / "data/shapes"

# stage -> its output under BUILD
STAGES = {
    "preflight": "preflight.json",
    "data": "data",
    "train": "adapters",
    "fuse": "fused",
    "quantize": "q5",
    "twin": "q5-float32",
    "ladder": "ladder.json",
    "eval": "eval.json",
    "eval_base": "eval_base.json",
}


def last_times(path: Path) -> dict[str, float]:
    """Stage -> seconds of its last run on this machine, from logs/times.jsonl."""
    if not path.is_file():
        return {}
    times = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(ValueError, KeyError, TypeError):  # a line that was cut off, say
            entry = json.loads(line)
            if entry["machine"] == platform.node():
                times[entry["stage"]] = float(entry["seconds"])
    return times


def duration(seconds: float | None) -> str:
    """Seconds as a person says them."""
    if seconds is None:
        return "not known"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def stages_of(settings: dict, to_run: list[str]) -> dict[str, tuple[str, bool]]:
    """Stage -> (its output under BUILD, will it run?), of those that this config has."""
    build = Path(settings["BUILD"])
    return {
        stage: (output, stage in to_run)
        for stage, output in STAGES.items()
        if stage in to_run or (build / output).exists()
    }


def stage_lines(settings: dict, stages: dict, sizes: dict[str, int]) -> list[str]:
    """A table: each stage, whether it will run, how long it took, what it writes."""
    build = Path(settings["BUILD"])
    times = last_times(build / "logs/times.jsonl")
    lines = [f"  {'stage':<10} {'runs':<11} {'last time':>9}  {'writes':>9}  to"]
    for stage, (output, runs) in stages.items():
        weight = size(sizes[output]) if output in sizes else "-"
        state = "yes" if runs else "up to date"
        last = duration(times.get(stage))
        lines.append(f"  {stage:<10} {state:<11} {last:>9}  {weight:>9}  {build / output}")
    return lines


def shape(settings: dict) -> tuple[dict, Path | None]:
    """(config.json of the base model, its folder).

    The folder is None for a model of the hub that is not downloaded yet; data/shapes has the
    config.json of those that the experiment names.
    """
    try:
        folder = model_folder(settings, "BASE_MODEL")
        return read_json(folder / "config.json"), folder
    except ValueError:
        known = SHAPES / Path(settings["BASE_MODEL"].partition("@")[0]).name
        if not known.is_dir() or not is_hub_name(settings["BASE_MODEL"]):
            raise
        return read_json(known / "config.json"), None


def page(settings: dict, to_run: list[str]) -> str:
    """The whole page; `to_run` names stages. Raises ValueError for input that can't be used."""
    check_settings(settings)
    config, folder = shape(settings)
    model = with_twin(model_facts(config, settings))
    check_layers(settings, model["layers"])
    rows = number(settings, "TRAIN_ROWS")
    if (Path(settings["DATA"]) / "train.jsonl").is_file():  # else it is not fetched yet
        rows = sum(1 for _ in training_rows(settings, "train"))
    checkpoints = number(settings, "ITERS") // number(settings, "SAVE_EVERY") + 1
    adapters = 4 * model["trainable_parameters"] * checkpoints  # float32
    sizes = output_bytes(settings, model) | {"adapters": adapters}
    stages = stages_of(settings, to_run)
    to_write = {
        output: sizes[output] for output, runs in stages.values() if runs and output in sizes
    }
    arithmetic, _ = check_arithmetic(settings, rows, model)
    resources, _ = check_resources(settings, model, to_write)
    resources += check_download(folder, model)
    facts = [
        in_columns(
            f"  {entry['id'].partition('.')[2]:<12}",
            entry["evidence"] + ("" if entry["level"] == "ok" else f" [{entry['level']}]"),
        )
        for entry in arithmetic + resources
    ]
    head = f"{settings['EXPERIMENT']}: {settings['BASE_MODEL']} on {settings['DATA']}"
    stopped = [entry["id"] for entry in arithmetic + resources if entry["level"] == "fail"]
    if stopped:
        facts.append(f"  Preflight would stop this run: {', '.join(stopped)}.")
    facts.append("  Not looked at here: rows, prompts, tokenizer; make preflight does that.")
    nothing = [] if to_run else ["  Nothing would run: all is up to date."]
    return "\n".join([head, "", *facts, "", *stage_lines(settings, stages, sizes), *nothing])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, required=True, help="env file of the experiment")
    args = parser.parse_args()
    try:
        print(page(load_settings(args.config), sys.stdin.read().splitlines()))
    except (ValueError, OSError) as error:
        print(f"plan: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
