"""Compare two evaluations, by category and prompt by prompt. Prints JSON for compare.jq.

    python compare.py BASELINE RESULT TARGETS

RESULT is an eval.json. BASELINE is one too, or has only totals, as data/baseline.json does. Prompts
are compared in pairs, so how hard each prompt is does not count. The interval of the difference is
then narrower than the intervals of the two scores.
"""

import argparse
import json
from pathlib import Path

from conclusions import conclude, notes
from program import run
from settings import load_settings, number
from show import in_columns
from stats import PASS_SCORE, interval, judge, mean
from suite import read_baseline, read_result, read_targets

NEARLY_ALL = 0.9  # share of equal texts that two models do not reach by chance
FEWEST_PAIRS = 5  # with fewer texts nothing is said


def category_rows(result: dict, baseline: dict, targets: dict) -> list[dict]:
    """A row for each category, and one for all of them, beside the baseline and the target."""
    total = {"n": len(result["prompts"]), "score": result["overall"]}
    before = {**baseline["categories"], "overall": {"score": baseline["overall"]}}
    wanted = {**targets["categories"], "overall": targets["overall"]}
    rows = []
    for name, part in {**result["categories"], "overall": total}.items():
        score, target = part["score"], wanted.get(name)
        old = before.get(name, {}).get("score")
        rows.append(
            {
                "name": name,
                "n": part["n"],
                "baseline": old,
                "target": target,
                "score": score,
                "gain": None if None in (score, old) else score - old,
                "verdict": judge(score, target),
            }
        )
    return rows


def conditions(result: dict) -> dict:
    """The conditions of a result; None for one that the file does not name."""
    settings = result.get("settings", {})
    budget, model = settings.get("max_tokens"), result.get("model", {})
    weights, adapters = model.get("weights_sha256"), model.get("adapters_sha256")
    return {
        "suite": result.get("suite", {}).get("sha256"),
        "temperature": settings.get("temperature"),
        "budget": "each prompt's own" if budget == 0 else budget,
        "seed": settings.get("seed"),
        "call format": settings.get("call_format"),
        "weights": weights and weights + (adapters or ""),
    }


def pair(baseline: dict, result: dict) -> tuple[list[tuple[dict, dict]], list[str]]:
    """([(the baseline's prompt, the result's)], the ids of the result's prompts without one).

    In one suite the two prompts of a pair have the same id. In two suites they have the same text,
    since another suite may use the same id for another prompt.
    """
    here, there = conditions(result)["suite"], conditions(baseline)["suite"]
    key = "id" if here and here == there else "prompt"
    left = [prompt for prompt in baseline.get("prompts", []) if key in prompt]
    pairs, alone = [], []
    for prompt in result["prompts"]:
        match = next((other for other in left if other[key] == prompt.get(key)), None)
        if match:
            left.remove(match)
            pairs.append((match, prompt))
        else:
            alone.append(prompt["id"])
    return pairs, alone


def difference(baseline: dict, result: dict) -> dict:
    """The two, prompt by prompt: how many, the mean difference, and which prompts changed.

    `flipped` is the share of prompts that one passes and the other fails. `unpaired` says why there
    is no pair. `new` has the ids of prompts that only the result has.
    """
    pairs, new = pair(baseline, result)
    scores = [(after["id"], before["score"], after["score"]) for before, after in pairs]
    scores = [entry for entry in scores if None not in entry]
    unpaired = ""
    if pairs and not scores:
        unpaired = "no prompt has an answer in both"
    elif baseline.get("prompts") and not pairs:
        unpaired = "the two have no prompt in common"
    gains = [after - before for _, before, after in scores]
    flips = [(before >= PASS_SCORE) != (after >= PASS_SCORE) for _, before, after in scores]
    return {
        "n": len(gains),
        "flipped": mean(flips),
        "difference": mean(gains),
        "ci95": interval(gains, lowest=-1),
        "changed": [
            {"id": id, "before": before, "after": after}
            for id, before, after in scores
            if before != after
        ],
        "unpaired": unpaired,
        "new": new if pairs else [],
    }


def compare_calls(baseline: dict, result: dict) -> dict:
    """The validation rows of the two; `n` counts those that both were asked. {} without any."""
    ours, theirs = (entry.get("calls") or {"n": 0} for entry in (result, baseline))
    if not ours["n"]:
        return {}
    before = {(row["id"], row["question"]): row for row in theirs.get("rows", [])}
    pairs = [(before.get((row["id"], row["question"])), row) for row in ours["rows"]]
    gains = [after["arguments"] - old["arguments"] for old, after in pairs if old]
    return {
        "build": ours,
        "baseline": theirs,
        "n": len(gains),
        "difference": mean(gains),
        "ci95": interval(gains, lowest=-1),
    }


def describe_differences(baseline: dict, result: dict) -> str:
    """A line: which conditions are the same, different, or not known.

    It is empty for a baseline without prompts: such a file names no conditions.
    """
    if not baseline.get("prompts"):
        return ""
    there = conditions(baseline)
    said = {"The same in both": [], "Different": [], "Not known": []}
    for name, value in conditions(result).items():
        other = there[name]
        if value is None or other is None:
            said["Not known"].append(name)
        elif value == other:
            said["The same in both"].append(name)
        elif name in ("suite", "weights"):  # a checksum tells a reader nothing
            said["Different"].append(name)
        else:
            said["Different"].append(f"{name} ({value} here, {other} there)")
    return " ".join(f"{head}: {', '.join(names)}." for head, names in said.items() if names)


def equal_texts(pairs: list[tuple[str, str]]) -> tuple[int, int, bool]:
    """How many pairs of texts are equal, of how many, and whether that is nearly all.

    A pair with an empty text does not count.
    """
    equal = [one == other for one, other in pairs if one.strip() and other.strip()]
    n, count = len(equal), sum(equal)
    return count, n, n >= FEWEST_PAIRS and count / n >= NEARLY_ALL


def describe_equal_texts(baseline: dict, result: dict) -> str:
    """A warning if two models gave nearly the same answers; else it is empty."""
    models = [side.get("model", {}) for side in (baseline, result)]
    differ, ids = "weights differ", [conditions(side)["weights"] for side in (baseline, result)]
    if None in ids:
        differ, ids = "models' names differ", [m.get("served_id") or m.get("path") for m in models]
    texts = [[str(p.get("text") or "") for p in prompts] for prompts in pair(baseline, result)[0]]
    equal, n, nearly_all = equal_texts(texts)
    if not nearly_all or None in ids or ids[0] == ids[1]:
        return ""
    return (
        f"Warning: {equal} of {n} answers are the same, word for word, though the {differ}:"
        " did one model answer both?"
    )


def compare(baseline: dict, result: dict, targets: dict, margin: float) -> dict:
    """What compare.jq and the report show of the two. `margin` is MARGIN."""
    compared = difference(baseline, result) | {"calls": compare_calls(baseline, result)}
    rows = category_rows(result, baseline, targets)
    said = notes(result, baseline, compared)
    said += [describe_differences(baseline, result), describe_equal_texts(baseline, result)]
    if compared["new"]:
        said.append(f"Only in this build: {', '.join(compared['new'])}.")
    return {
        "rows": rows,
        **compared,
        **conclude(result, baseline, compared, rows, margin),
        "notes": [in_columns("", text) for text in said if text],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("baseline", type=Path, help="eval.json, or data/baseline.json")
    parser.add_argument("result", type=Path, help="eval.json")
    parser.add_argument("targets", type=Path, help="JSON with 'targets'")
    args = parser.parse_args()
    baseline, result = read_baseline(args.baseline), read_result(args.result)
    margin = number(load_settings(), "MARGIN", float)
    try:
        targets = read_targets(args.targets, result["categories"])
        print(json.dumps(compare(baseline, result, targets, margin)))
    except (KeyError, TypeError, AttributeError) as error:
        text = f"{args.baseline}, {args.result}: one is not what make eval writes ({error!r})"
        raise ValueError(text) from error


if __name__ == "__main__":
    run(main)
