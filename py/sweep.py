"""`make sweep`: how much of a score is luck? Writes sweep.md from the results of all draws.

A group is the draws of one model at one temperature. A model of TRAIN_SEEDS has the name of its
training seed, from its folder sweep/train-SEED. The first group is compared with each other one.
"""

import argparse
import re
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from statistics import stdev

from files import write_text
from program import run
from show import WIDTH, in_columns, table
from stats import interval, mean, percent, points
from suite import read_result


def read_draw(path: Path) -> dict:
    """What a sweep needs of a result. Raises ValueError for a file that is none."""
    result = read_result(path)
    totals = {"overall": result["overall"], "strict": result["strict_overall"]}
    try:
        trained = re.search(r"sweep/train-(\d+)/[^/]*$", result["model"]["path"])
        parts = result["categories"].items()
        return {
            "title": f"# Sweep: {result['experiment']} ({result['suite']['name']})",
            "train": int(trained[1]) if trained else -1,
            "temperature": float(result["settings"]["temperature"]),
            "seed": int(result["settings"]["seed"]),
            "verdict": result["verdict"],
            "counts": {k: p["n"] for k, p in parts} | dict.fromkeys(totals, len(result["prompts"])),
            "scores": {name: part["score"] for name, part in parts} | totals,
            "prompts": {(p["id"], p["prompt"]): p["score"] for p in result["prompts"]},
        }
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: not what make eval writes ({error!r})") from error


def means(draws: list[dict], kind: str) -> dict:
    """The means over the draws of their `scores` or `prompts`, without those that are None."""
    scores = {}
    for key, score in (pair for draw in draws for pair in draw[kind].items()):
        if score is not None:
            scores.setdefault(key, []).append(score)
    return {key: mean(found) for key, found in scores.items()}


def score_table(columns: list[list[dict]]) -> str:
    """The scores by category: of one draw, or the mean of several with their spread."""
    counts = columns[0][0]["counts"]
    cells = [["category", *counts, "spread"], ["n", *map(str, counts.values()), ""]]
    for draws in columns:
        several, scores = len(draws) > 1, [draw["scores"]["overall"] for draw in draws]
        first, last = draws[0]["draw"], draws[-1]["draw"]
        shown = [means(draws, "scores").get(name) for name in counts]
        shown.append(stdev(scores) if several and None not in scores else None)
        cells.append([f"mean {first}-{last}" if several else f"draw {first}", *map(percent, shown)])
    return table(list(zip(*cells, strict=True)))


def difference(draws: list[dict], first: list[dict]) -> str:
    """A sentence: how much more than the first group these draws score, prompt by prompt."""
    names = f"{draws[0]['group']} against {first[0]['group']}"
    before, after = means(first, "prompts"), means(draws, "prompts")
    gains = [after[prompt] - before[prompt] for prompt in before if prompt in after]
    if not gains:
        return f"{names}: no prompt has an answer in both"
    low, high = map(points, interval(gains, lowest=-1))
    change = f"{points(mean(gains))} points, 95% interval {low} to {high}"
    return f"{names}: {change} ({len(gains)} prompts)"


def describe(draws: list[dict]) -> str:
    """The text of sweep.md."""
    draws = sorted(draws, key=itemgetter("temperature", "train", "seed"))
    groups = [list(some) for _, some in groupby(draws, itemgetter("temperature", "train"))]
    all_seeds = [list(some) for _, some in groupby(draws, itemgetter("temperature"))]
    rows = [["draw", "group", "seed", "score", "strict", "verdict"]]
    for number, draw in enumerate(draws, start=1):
        trained = f"train {draw['train']}, " if draw["train"] >= 0 else ""
        draw["draw"], draw["group"] = str(number), f"{trained}temperature {draw['temperature']:g}"
        totals = [percent(draw["scores"][name]) for name in ("overall", "strict")]
        rows.append([draw["draw"], draw["group"], str(draw["seed"]), *totals, draw["verdict"]])
    columns = groups + [some for some in all_seeds if some not in groups]
    scores = score_table([[draw] for draw in draws] + [some for some in columns if len(some) > 1])
    if scores.index("\n") > WIDTH:
        scores = score_table(columns)
    note = "Spread: standard deviation of the overall scores. Differences: prompt by prompt.\n"
    lines = [draws[0]["title"], "", table(rows), "", scores, "", note if groups[1:] else ""]
    lines += [in_columns("- ", difference(group, groups[0])) for group in groups[1:]]
    return "\n".join(lines).strip() + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("draws", type=Path, nargs="+", help="the result of each draw")
    parser.add_argument("--out", type=Path, required=True, help="sweep.md")
    args = parser.parse_args()
    write_text(args.out, describe([read_draw(path) for path in dict.fromkeys(args.draws)]))


if __name__ == "__main__":
    run(main)
