"""What did the model do? Counts over the answers of a result."""

from collections import Counter

from stats import PASS_SCORE

CUT_OFF = "cut off at the limit"


def kind(entry: dict) -> str:
    """What an answer is: cut off, thinking only, a call in one of two formats, or none."""
    if entry["finish_reason"] == "length":
        return CUT_OFF
    if entry.get("thinking") and not entry["text"].strip():
        return "thinking only"
    if entry["format"] == "none":
        return "a call that cannot be read" if "<tool_call>" in entry["text"] else "prose"
    return entry["format"]


def count_formats(prompts: list[dict]) -> dict[str, int]:
    """How many answers are of each kind. Prompts without an answer do not count."""
    kinds = Counter(kind(entry) for entry in prompts if entry["score"] is not None)
    return dict(kinds.most_common())


def called_instead(entry: dict, tools: set[str]) -> list[str]:
    """The tools, and made-up names, that a failed answer calls and that were not wanted."""
    if entry["score"] is None or entry["strict_score"] >= PASS_SCORE:
        return []
    return others(entry["wanted"], entry["tools_called"], tools.union(entry["invented"]))


def others(wanted: list[str], called: list[str], known: set[str]) -> list[str]:
    """The known names among those called that were not wanted, each once."""
    return [name for name in dict.fromkeys(called) if name in known.difference(wanted)]


def count_tools(prompts: list[dict], rows: list[dict], tools: set[str]) -> list[dict]:
    """[{wanted, n, right, instead: {name: count}}] for each wanted tool, those missed most first.

    Over the suite's prompts and the validation rows. "nothing" is an answer without another tool.
    """
    asked = [
        (entry["wanted"], entry["tools_called"], tools.union(entry["invented"]))
        for entry in prompts
        if entry["score"] is not None
    ]
    for row in rows:
        names = [[call.partition("(")[0] for call in row[key]] for key in ("wanted", "got")]
        asked.append((*names, set(names[1])))
    table: dict[str, dict] = {}
    for wanted, called, known in asked:
        for tool in dict.fromkeys(wanted):
            entry = {"wanted": tool, "n": 0, "right": 0, "instead": Counter()}
            line = table.setdefault(tool, entry)
            line["n"] += 1
            if tool in called:
                line["right"] += 1
            else:
                line["instead"].update(others(wanted, called, known) or ["nothing"])
    return sorted(table.values(), key=lambda line: (line["right"] - line["n"], line["wanted"]))
