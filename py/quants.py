"""`make quants`: what do the bits cost? Writes quants.md, a table with a line for each variant.

A variant is the fused model, quantized in its own way: BUILD/quants/NAME. BUILD/judged/bits-NAME
has its result and its validation loss.
"""

import argparse
from pathlib import Path

from files import read_json, weights_bytes, write_text
from program import run
from settings import load_settings
from show import in_columns, size, table
from stats import percent
from suite import read_result
from sweep import difference, read_draw

HEAD = ["variant", "size", "bits", "loss", "score", "strict", "calls", "tokens/s"]
NOTE = """Bits: for each weight, with the scales. Calls: of {} validation rows, those with the
right arguments. Tokens/s: of one answer, while {} are asked at a time."""
CPU = "On a CPU each is served as a float32 copy: the speed is not that of its bits."


def row(model: Path, result: dict, loss: Path, parameters: int) -> list[str]:
    """The cells of a variant."""
    count, prompts = weights_bytes(model), result["prompts"]
    tokens = sum(prompt["completion_tokens"] for prompt in prompts)
    seconds = sum(prompt["seconds"] for prompt in prompts)
    return [
        model.name,
        size(count),
        f"{8 * count / parameters:.1f}",
        f"{read_json(loss)['losses']['q5']:.3f}" if loss.is_file() else "-",
        percent(result["overall"]),
        percent(result["strict_overall"]),
        percent(result["calls"]["arguments"]),
        f"{tokens / seconds:.1f}",
    ]


def describe(settings: dict, names: list[str]) -> str:
    """The text of quants.md."""
    build, loss = Path(settings["BUILD"]), f"loss-{settings['LADDER_ROWS']}.json"
    parameters = read_json(build / "preflight.json")["facts"]["model"]["parameters"]
    first = read_draw(build / "eval.json") | {"group": "the build"}
    rows, differences = [HEAD], []
    for name in names:
        judged = build / f"judged/bits-{name}"
        result, draw = read_result(judged / "eval.json"), read_draw(judged / "eval.json")
        rows.append(row(build / "quants" / name, result, judged / loss, parameters))
        differences.append(in_columns("- ", difference([draw | {"group": name}], [first])))
    said = [NOTE.format(result["calls"]["n"], result["settings"]["concurrency"])]
    said += [CPU] if result["model"]["float32"] else []
    return "\n".join([table(rows), "", *said, "", *differences]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("variants", nargs="+", help="names such as 4-64")
    parser.add_argument("--out", type=Path, required=True, help="quants.md")
    args = parser.parse_args()
    write_text(args.out, describe(load_settings(), args.variants))


if __name__ == "__main__":
    run(main)
