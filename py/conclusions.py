"""What can be concluded from a result and its comparison with a baseline? In sentences.

The registered verdict compares scores with targets. These sentences say how certain it is, and what
speaks for the build and against it.
"""

from counts import CUT_OFF
from stats import FLIPPED, certainty, percent, points, prompts_needed, smallest_difference

MISSED = 0.05  # of the score: what real calls alone take off it is worth a sentence


def conclude_target(result: dict, target: float) -> tuple[bool, str]:
    """(does it speak for the build, what the interval of the score says about the target)."""
    wanted, met = f"Target {percent(target)}", (result["overall"] or 0) >= target
    if certainty(result["ci95"], target) == "clear":
        return met, f"{wanted}: clear, all of the interval is {'above' if met else 'below'} it."
    scores = [p["score"] for p in result["prompts"] if p["score"] is not None]
    needed = prompts_needed(scores, target) if scores else None
    more = (
        f"about {needed:,} such prompts in all would settle it"
        if needed
        else "more may not settle it"
    )
    return False, f"{wanted}: too close to call; {more}."


def conclude_categories(rows: list[dict]) -> tuple[bool, str]:
    """Which categories miss their registered target?"""
    missed = [row["name"] for row in rows[:-1] if row["verdict"] == "FAIL"]
    if missed:
        return False, f"Below its target: {', '.join(missed)}."
    return True, "No category is below its target."


def conclude_margin(compared: dict, claim: str, margin: float) -> tuple[bool, str]:
    """Is the build at most `margin` worse than the baseline? Said of paired prompts only."""
    if not compared["n"]:
        return False, f"{claim}: not known without pairs of prompts."
    low, high = compared["ci95"]
    if low >= -margin:
        return True, f"{claim}: shown."
    if high < -margin:
        return False, f"{claim}: not so, it is worse by more."
    return False, f"{claim}: cannot be shown with {compared['n']} prompts."


def conclude_calls(result: dict) -> list[tuple[bool, str]]:
    """What the registered rule cannot see: tools only named, and names that are made up."""
    found = []
    if (result["overall"] or 0) - (result["strict_overall"] or 0) >= MISSED:
        found.append((False, f"Only {percent(result['strict_overall'])} with real calls."))
    exact = result.get("exact_overall")
    if exact is not None and (result["strict_overall"] or 0) - exact >= MISSED:
        found.append((False, f"Only {percent(exact)} with the right arguments, too."))
    if invented := result.get("invented_calls"):
        found.append((False, f"Calls of functions that are made up: {invented}."))
    return found


def conclude(result: dict, baseline: dict, compared: dict, rows: list, margin: float) -> dict:
    """{for, against}: sentences for the build and against it."""
    target = rows[-1]["target"]  # of all categories
    found = [] if target is None else [conclude_target(result, target)]
    if any(row["target"] is not None for row in rows[:-1]):
        found.append(conclude_categories(rows))
    claim = f"At most {100 * margin:g} points worse than {baseline['experiment']}"
    found.append(conclude_margin(compared, claim, margin))
    if compared["calls"].get("n"):
        found.append(conclude_margin(compared["calls"], f"{claim} on the validation rows", margin))
    found += conclude_calls(result)
    if cut := baseline.get("formats", {}).get(CUT_OFF):
        text = f"{cut} answers of {baseline['experiment']} were cut off at the token limit."
        found.append((False, text))
    return {
        "for": [text for favours, text in found if favours],
        "against": [text for favours, text in found if not favours],
    }


def notes(result: dict, baseline: dict, compared: dict) -> list[str]:
    """What a reader of the table must know."""
    name, model, strict = baseline["experiment"], result["model"], result["strict_overall"]
    found = [f"Counting only real calls, whatever their arguments: {percent(strict)}."]
    if result["suite"].get("scored_by") == "answers":
        found = ["An answer scores 1 if its calls have the right names and arguments, else 0."]
    elif "exact_overall" in result:
        found[0] += f" With the right arguments, too: {percent(result['exact_overall'])}."
    if model.get("float32"):
        found.append("Answered on a CPU by a float32 copy: the same weights.")
    if result["server"]["kind"] == "openai":
        server = f"{model['served_id']} at {model['path']}, a server that was running already"
        found.append(f"Answered by {server}: nothing was checked, trained or quantized for it.")
    if missing := baseline.get("errors"):
        found.append(f"Warning: the baseline lacks {missing} answers.")
    if compared["unpaired"]:
        found.append(f"Warning: not compared prompt by prompt with {name}: {compared['unpaired']}.")
    if compared["n"]:
        low, high = map(points, compared["ci95"])
        gain = f"{points(compared['difference'])} points, 95% interval {low} to {high}"
        found.append(f"Difference to {name}, prompt by prompt: {gain} ({compared['n']} prompts).")
    return [*found, resolution(compared["n"] or len(result["prompts"]), compared["flipped"])]


def resolution(n: int, flipped: float | None) -> str:
    """Which difference n prompts can show; `flipped` is None or 0 if it is not known."""
    least = 100 * smallest_difference(n, flipped or FLIPPED)
    share = percent(flipped) if flipped else f"if {percent(FLIPPED)}"
    found = f"With {n} prompts a difference of {least:.3g} points or more is found reliably"
    return f"{found} ({share} pass in one and fail in the other)."
