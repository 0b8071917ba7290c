"""`make runs`: all results there are, newest first, in a table and on a page."""

import argparse
import os
import time
from pathlib import Path
from urllib.parse import quote

from files import write_text
from program import run
from report import SIGNS, fill
from show import in_columns
from stats import percent
from suite import read_result

PATTERNS = ["eval.json", "eval_base.json", "*/eval.json", "*/eval_base.json"]
PATTERNS += ["judged/*/eval.json", "*/judged/*/eval.json"]
HEAD = "name            score  95% interval  strict  calls  verdict     date"
LINE = "{short:14}  {score:>5}  {interval:12}  {strict:>6}  {calls:>5}  {verdict:10}  {date}"
ABOUT = "{file}: {model}, {suite}"


def find_results(roots: list[Path]) -> list[Path]:
    """The results in these folders, each once, newest first; none behind a link, as build/base."""
    paths = [path for root in roots for pattern in PATTERNS for path in root.glob(pattern)]
    paths = [path for path in paths if path.parent in roots or not path.parent.is_symlink()]
    once = {path.resolve(): path for path in paths}.values()
    return sorted(once, key=lambda path: path.stat().st_mtime, reverse=True)


def describe(path: Path, page: Path) -> dict:
    """What both tables say of a result. Raises ValueError for what is none, or an older one."""
    result, report = read_result(path), path.with_name("report.html")
    linked = path.name == "eval.json" and report.is_file()  # it does not show eval_base.json
    try:
        model, suite, calls = result["model"], result["suite"], result.get("calls") or {}
        served = result["server"]["kind"] == "openai"  # by a server that was running already
        name = " ".join(result["experiment"].split()) or "-"
        return {
            "name": name,
            "short": name if len(name) <= 14 else f"{name[:7]}…{name[-6:]}",
            "file": str(path),
            "model": model["served_id"] if served else Path(model["path"]).name,
            "suite": f"{suite['name']} ({suite['n']})",
            "score": percent(result["overall"]),
            "interval": " to ".join(percent(end).rstrip("%") for end in result["ci95"] or [None]),
            "strict": percent(result["strict_overall"]),
            "calls": percent(calls["arguments"]) if calls.get("n") else "-",
            "verdict": result["verdict"],
            "date": time.strftime("%Y-%m-%d %H:%M", time.localtime(path.stat().st_mtime)),
            "link": quote(os.path.relpath(report, page.parent)) if linked else "",
        }
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        raise ValueError(f"{path}: not what make eval writes ({error!r})") from error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+", help="where builds are")
    parser.add_argument("--out", type=Path, required=True, help="the page")
    args = parser.parse_args()
    rows, left_out = [], []
    for path in find_results(args.folders):
        try:
            rows.append(describe(path, args.out))
        except ValueError as error:
            left_out.append(str(error))
    if not rows + left_out:
        print("No result yet: make demo makes one in ten minutes, make eval the real one.")
        return
    lines = [HEAD]
    for row in rows:
        lines += [LINE.format_map(row), in_columns("  ", ABOUT.format_map(row))]
    lines += [in_columns("  ", f"left out, broken or older: {problem}") for problem in left_out]
    print("\n".join(lines).translate(SIGNS))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_text(args.out, fill("runs.html.jinja", {"rows": rows, "left_out": left_out}))
    print(args.out)


if __name__ == "__main__":
    run(main)
