"""What can be concluded from a result, and from its comparison with a baseline? In sentences.

The registered verdict compares scores with targets. These sentences say how certain it is.
"""

from stats import FLIPPED, percent, prompts_needed, smallest_difference


def conclude_target(result: dict, target: float) -> str:
    """What the interval of the score says about the registered target."""
    wanted = f"Target {percent(target)}"
    if result["certainty"] == "clear":
        return f"{wanted}: clear, the interval of the score does not hold it."
    scores = [p["score"] for p in result["prompts"] if p["score"] is not None]
    needed = prompts_needed(scores, target) if scores else None
    more = f"about {needed:,} such prompts would settle it" if needed else "more may not settle it"
    return f"{wanted}: too close to call; {more}."


def conclude_margin(compared: dict, name: str, margin: float) -> str:
    """Is the build at most `margin` worse than the baseline? Said of paired prompts only."""
    claim = f"At most {100 * margin:g} points worse than {name}"
    if not compared["n"]:
        return f"{claim}: not known without pairs of prompts."
    low, high = compared["ci95"]
    if low >= -margin:
        return f"{claim}: shown."
    if high < -margin:
        return f"{claim}: not so, it is worse by more."
    return f"{claim}: cannot be shown with {compared['n']} prompts."


def conclude(result: dict, baseline: dict, compared: dict, target: float, margin: float):
    """The sentences that say what can be concluded."""
    if "certainty" not in result:  # an older eval.json
        return []
    flipped, n = compared["flipped"], compared["n"] or len(result["prompts"])
    share = f"{percent(flipped)} flipped" if flipped else f"if {percent(FLIPPED)} flip"
    least = 100 * smallest_difference(n, flipped or FLIPPED)
    return [
        conclude_target(result, target),
        conclude_margin(compared, baseline["experiment"], margin),
        f"{n} paired prompts show differences of {least:.3g} points or more ({share}).",
    ]
