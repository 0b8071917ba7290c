"""How far are two evaluations apart, by category and prompt by prompt? Prints JSON for compare.jq.

    python compare.py BASELINE RESULT TARGETS

RESULT is an eval.json. BASELINE is one too, or has only totals, as data/baseline.json does. Pairing
the prompts takes out how hard each of them is: the interval of the difference is narrower than the
two intervals side by side. Exit status 2: a file is not what it should be.
"""

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from types import NoneType

from files import read_json
from stats import judge, mean, score_interval
from suite import read_targets

NUMBER = (int, float, NoneType)
TOTALS = {"experiment": (str,), "overall": NUMBER, "categories": (dict,)}
RESULT = TOTALS | {
    "prompts": (list,),
    "strict_overall": NUMBER,
    "ci95": (list, NoneType),
    "verdict": (str,),
    "model": (dict,),
    "suite": (dict,),
    "settings": (dict,),
    "server": (dict,),
}


def read_result(path: Path, fields: dict[str, tuple] = RESULT) -> dict:
    """The content of an eval.json; with TOTALS for `fields`, of any baseline.

    Raises ValueError for a file that is neither.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    result = read_json(path)
    for field, types in fields.items():
        if field not in result or type(result[field]) not in types:
            raise ValueError(f"{path}: not a result to compare with, it has no {field!r}")
    for entry in [*result["categories"].values(), *result.get("prompts", [])]:
        if not isinstance(entry, dict) or type(entry.get("score", "")) not in NUMBER:
            raise ValueError(f"{path}: not a result to compare with, {entry!r:.40} has no score")
    return result


def category_rows(result: dict, baseline: dict, targets: dict) -> list[dict]:
    """A row for each category, and one for all of them, beside the baseline and the target."""
    total = {"n": result["suite"]["n"], "score": result["overall"]}
    before = {**baseline["categories"], "overall": {"score": baseline["overall"]}}
    wanted = {**targets["categories"], "overall": targets["overall"]}
    rows = []
    for name, part in {**result["categories"], "overall": total}.items():
        score = part["score"]
        target = wanted.get(name)
        old = before.get(name, {}).get("score")
        gain = None if score is None or old is None else score - old
        row = {"name": name, "n": part["n"], "baseline": old, "target": target, "score": score}
        rows.append(row | {"gain": gain, "verdict": judge(score, target)})
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

    A pair asks the same, by its text. A result of old has no text; there the id tells, as long as
    both results are of one suite.
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
    """How a result came about; None for what the file does not say."""
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
    """A line: what is the same in both, what is different, what is not known.

    It is empty for a baseline without prompts, which says nothing of how it was asked.
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
    """Did q5-float32 answer for q5? Older results say so in their settings."""
    served = str(result["model"].get("served_id"))
    return bool(result["settings"].get("float32_twin")) or served.endswith("/q5-float32")


def compare(baseline: dict, result: dict, targets: dict) -> dict:
    """All that compare.jq and the report say of the two."""
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
        baseline = read_result(args.baseline, TOTALS)
        result = read_result(args.result)
        print(json.dumps(compare(baseline, result, read_targets(args.targets))))
    except (ValueError, OSError) as error:
        print(f"compare: {error}", file=sys.stderr)
        return 2
    except (KeyError, TypeError, AttributeError) as error:
        said = f"{type(error).__name__}: {error}"
        print(f"compare: {args.baseline} or {args.result}: not a result ({said})", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
