"""Compare two evaluations, by category and prompt by prompt. Prints JSON for compare.jq.

    python compare.py BASELINE RESULT TARGETS

RESULT is an eval.json. BASELINE is one too, or has only totals, as data/baseline.json does. Prompts
are paired, so that it does not count how hard each prompt is: the interval of the difference is
narrower than the two intervals side by side. Exit status 2: a file cannot be used.
"""

import argparse
import json
import sys
from collections import Counter
from pathlib import Path

from stats import judge, mean, score_interval
from suite import read_baseline, read_result, read_targets


def category_rows(result: dict, baseline: dict, targets: dict) -> list[dict]:
    """A row for each category, and one for all of them, beside the baseline and the target."""
    total = {"n": result["suite"]["n"], "score": result["overall"]}
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


def numbered(prompts: list[dict], key: str) -> dict[tuple, dict]:
    """(text or id, how often it came before) -> prompt; a suite may ask the same thing twice."""
    seen, found = Counter(), {}
    for prompt in prompts:
        name = prompt[key]
        found[name, seen[name]] = prompt
        seen[name] += 1
    return found


def pair(baseline: dict, result: dict) -> tuple[list[tuple[dict, dict]], str]:
    """([(the baseline's prompt, the result's)], why there are none).

    The two prompts of a pair have the same text. An older result has no texts. Then the ids are
    compared, if both results are of one suite.
    """
    ours, theirs = result["prompts"], baseline.get("prompts", [])
    if not theirs:
        return [], ""
    suites = [side.get("suite", {}).get("sha256") for side in (baseline, result)]
    if all(prompt.get("prompt") for prompt in [*ours, *theirs]):
        key = "prompt"
    elif suites[0] and suites[0] == suites[1]:
        key = "id"
    else:
        return [], "the suites differ, and the results do not both hold the text of their prompts"
    before, after = numbered(theirs, key), numbered(ours, key)
    pairs = [(before[name], after[name]) for name in after if name in before]
    return pairs, "" if pairs else "the two have no prompt in common"


def difference(baseline: dict, result: dict) -> dict:
    """{n, difference, ci95, changed: [{id, before, after}], unpaired: why n is 0}."""
    pairs, unpaired = pair(baseline, result)
    scores = [(after["id"], before["score"], after["score"]) for before, after in pairs]
    scores = [entry for entry in scores if None not in entry]
    if pairs and not scores:
        unpaired = "no prompt has an answer in both"
    gains = [after - before for _, before, after in scores]
    return {
        "n": len(gains),
        "difference": mean(gains),
        "ci95": score_interval(gains, lowest=-1),
        "changed": [
            {"id": id, "before": before, "after": after}
            for id, before, after in scores
            if before != after
        ],
        "unpaired": unpaired,
    }


def asked_how(result: dict) -> dict:
    """The conditions of a result; None for one that the file does not name."""
    settings = result.get("settings", {})
    budget = settings.get("max_tokens")
    return {
        "suite": result.get("suite", {}).get("sha256"),
        "temperature": settings.get("temperature"),
        "budget": "each prompt's own" if budget == 0 else budget,
        "seed": settings.get("seed"),
        "weights": result.get("model", {}).get("weights_sha256"),
    }


def describe_differences(baseline: dict, result: dict) -> str:
    """A line: which conditions are the same, different, or not known.

    It is empty for a baseline without prompts: such a file names no conditions.
    """
    if not baseline.get("prompts"):
        return ""
    here, there = asked_how(result), asked_how(baseline)
    said = {"The same in both": [], "Different": [], "Not known": []}
    for name, value in here.items():
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


def served_as_float32(result: dict) -> bool:
    """Did q5-float32 answer in place of q5? Older results have that in their settings."""
    served = str(result["model"].get("served_id"))
    return bool(result["settings"].get("float32_twin")) or served.endswith("/q5-float32")


def compare(baseline: dict, result: dict, targets: dict) -> dict:
    """What compare.jq and the report show of the two."""
    return {
        "rows": category_rows(result, baseline, targets),
        **difference(baseline, result),
        "conditions": describe_differences(baseline, result),
        "float32": served_as_float32(result),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("baseline", type=Path, help="eval.json, or data/baseline.json")
    parser.add_argument("result", type=Path, help="eval.json")
    parser.add_argument("targets", type=Path, help="JSON with 'targets'")
    args = parser.parse_args()
    try:
        baseline, result = read_baseline(args.baseline), read_result(args.result)
        print(json.dumps(compare(baseline, result, read_targets(args.targets))))
    except (ValueError, OSError) as error:
        print(f"compare: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
