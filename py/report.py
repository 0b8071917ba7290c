"""Make report.html: one page with the results of a build folder.

The page opens from disk and fetches nothing. A model's answers are escaped text and are never run.
A section whose file is missing is left out or says so.
"""

import argparse
import base64
import hashlib
from pathlib import Path

import jinja2

from checkpoints import read_metrics
from compare import compare, pair
from curves import draw_curves
from files import read_json, write_text
from manifest import training_of
from program import run
from settings import load_settings, number
from stats import FEW, PASS_SCORE, percent, points
from suite import read_baseline, read_result, read_targets

HERE = Path(__file__).resolve().parent
# Control characters and halves of surrogate pairs, which a page cannot hold, become visible signs.
SIGNS = {code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"}
SIGNS[0x7F] = 0x2421
SIGNS |= dict.fromkeys([*range(0x80, 0xA0), *range(0xD800, 0xE000)], 0xFFFD)


def verdict_sentence(result: dict, rows: list[dict]) -> str:
    """The first line of the page, after the verdict."""
    said = f"{percent(result['overall'])} of {result['suite']['n']} prompts"
    if result["ci95"]:
        low, high = result["ci95"]
        said += f", 95% interval {percent(low)} to {percent(high)}"
    missed = [row["name"] for row in rows if row["verdict"] == "FAIL"]
    if all(row["target"] is None for row in rows):
        said += "; no target is registered for these prompts"
    if missed:
        said += f"; below the registered target: {', '.join(missed)}"
    elif result["verdict"] == "pass":
        said += "; every registered target is met"
    if result.get("errors"):
        said += f"; {result['errors']} without an answer"
    return said + "."


def why_by_keywords(entry: dict, call_format: str) -> str:
    """Why an answer has its score by the registered rule, and its strict score."""
    by_name, found = call_format == "json", entry["keywords_found"]
    executed = entry["format"] == ("direct" if by_name else "execute_code")
    head = "A call is made" if by_name else "execute_code is called"
    wanted = entry.get("wanted") or ["the tool asked for"]
    without = f"named, but not called{'' if by_name else ' in execute_code'}."
    if len(wanted) > 1:
        tools = f"{len(found)} of {len(wanted)} tools"
        said = f"{head} with {tools}." if executed else f"{tools} are {without}"
    elif found:
        said = f"{head} with {found[0]}." if executed else f"{found[0]} is {without}"
    else:
        said = f"{head} without {wanted[0]}." if executed else f"{wanted[0]} is not named."
    if entry["strict_score"] < entry["score"]:
        said += f" Counting only real calls: {entry['strict_score']:g}."
    return said


def why(entry: dict, call_format: str, by_keywords: bool) -> str:
    """Why an answer has its scores; `by_keywords`: is the suite scored by the registered rule?"""
    if entry["score"] is None:
        return f"No answer: {entry.get('error') or 'the server gave none'}"
    parts = []
    if by_keywords:
        parts.append(why_by_keywords(entry, call_format))
    if "exact_score" in entry:
        parts.append(f"Not exact: {entry['reason']}." if entry["reason"] else "Exactly right.")
    said = " ".join(parts)
    if entry.get("invented"):
        said += f" It calls what does not exist: {', '.join(entry['invented'])}."
    if instead := [name for name in entry.get("instead", []) if name not in entry["invented"]]:
        said += f" It calls {', '.join(instead)} instead."
    if entry.get("finish_reason") == "length":
        said += " Cut off at the token limit."
    return said


def answers(result: dict, baseline: dict) -> list[dict]:
    """The prompts, failing ones first, each with the baseline's answer."""
    before = {ours["id"]: theirs for theirs, ours in pair(baseline, result)[0]}
    call_format = result["settings"].get("call_format", "program")
    by_keywords = result["suite"].get("scored_by") != "answers"
    found = []
    for entry in result["prompts"]:
        extra = {
            "before": before.get(entry["id"]),
            "passed": (entry["score"] or 0) >= PASS_SCORE,
            "why": why(entry, call_format, by_keywords),
        }
        found.append(entry | extra)
    return sorted(found, key=lambda entry: entry["passed"])


def read_if_there(path: Path | None) -> dict | None:
    return read_json(path) if path and path.is_file() else None


def trained(adapters: Path) -> dict:
    """What the page says of the training. Adapters from elsewhere may lack some of the files."""
    metrics = read_metrics(adapters)
    training = read_if_there(adapters / "training.json") or {}
    settings = training_of(adapters)
    return {
        "curves": draw_curves(metrics, training),
        "training": training,
        "settings": {k: v for k, v in settings.items() if k != "adopted" and v is not None},
        "validations": [entry for entry in metrics if "val_loss" in entry],
    }


def gather(args: argparse.Namespace) -> dict:
    """The variables of the template."""
    build = args.build
    result, baseline = read_result(build / "eval.json"), read_baseline(args.baseline)
    ours = (build / "adapters").is_dir() and result["server"]["kind"] != "openai"
    margin = number(load_settings(), "MARGIN", float)
    compared = compare(baseline, result, read_targets(args.targets, result["categories"]), margin)
    return {
        "result": result,
        "baseline": baseline,
        "compared": compared,
        "sentence": verdict_sentence(result, compared["rows"]),
        "answers": answers(result, baseline),
        "trained": trained(build / "adapters") if ours else None,
        "few": FEW,
        "ladder": read_if_there(args.ladder),
        "preflight": read_if_there(build / "preflight.json") if ours else None,
        "manifest": read_if_there(build / "manifest.json"),
    }


def fill(template: str, facts: dict) -> str:
    """The page that a template in this folder makes of `facts`. All text in them is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"percent": percent, "points": points}
    return environment.get_template(template).render(facts).translate(SIGNS)


def render(facts: dict) -> str:
    """The page."""
    # The page allows the script with this hash only, and no requests.
    script = (HERE / "report.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return fill("report.html.jinja", facts | {"script": script, "script_sha256": digest})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("build", "targets", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--baseline", type=Path, help="eval.json, or a file with totals")
    parser.add_argument("--ladder", type=Path, help="none where another server was asked")
    args = parser.parse_args()
    try:
        write_text(args.out, render(gather(args)))
    except (KeyError, TypeError, AttributeError, jinja2.TemplateError) as error:
        said = f"{type(error).__name__}: {error}"
        raise ValueError(f"{args.build}: not what make eval writes ({said})") from error


if __name__ == "__main__":
    run(main)
