"""How far are two evaluations of one suite apart, prompt by prompt? Prints JSON for compare.jq.

Pairing the prompts takes out how hard each of them is, so the interval of the difference is
narrower than the two intervals side by side. Prints {} where one side has no prompts.
"""

import argparse
import json
import sys
from pathlib import Path

from files import read_json
from summary import mean, score_interval


def scores_of(result: dict) -> dict[str, float]:
    """Prompt id -> score, of the prompts that have an answer."""
    prompts = result.get("prompts") or []
    return {p["id"]: p["score"] for p in prompts if p["score"] is not None}


def difference(before: dict, after: dict) -> dict:
    """{n, difference, ci95, changed: [{id, before, after}]} of two contents of eval.json.

    {} where one has no prompts, {other_suite: true} where they answer different suites.
    """
    suites = [result.get("suite", {}).get("sha256") for result in (before, after)]
    if suites[0] and suites[0] != suites[1]:
        return {"other_suite": True}
    first, second = scores_of(before), scores_of(after)
    gains = {id: second[id] - first[id] for id in second if id in first}
    if not gains:
        return {}
    return {
        "n": len(gains),
        "difference": mean([*gains.values()]),
        "ci95": score_interval([*gains.values()], lowest=-1),
        "changed": [
            {"id": id, "before": first[id], "after": second[id]} for id in gains if gains[id]
        ],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("before", type=Path, help="eval.json to compare with")
    parser.add_argument("after", type=Path, help="eval.json")
    args = parser.parse_args()
    try:
        result = difference(read_json(args.before), read_json(args.after))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        print(f"difference: {args.before}, {args.after}: {error}", file=sys.stderr)
        return 2
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
