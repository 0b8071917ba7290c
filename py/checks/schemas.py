"""Do the rows' calls by name fit the JSON schemas of their tools?

The schemas are those of the row's own `tools`, and those in TOOLS. A model learns a wrong name or a
wrong type as readily as a right one, and no loss shows it.
"""

from collections import Counter, defaultdict

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from calls import EXECUTE_CODE
from checks import finding
from program import describe
from rows import assistant_texts
from score import call_format, calls_in_text
from show import some
from tools import schemas_of


def check_format(settings: dict, rows: list) -> tuple[list[dict], dict]:
    """Do the rows call tools as CALL_FORMAT says? The fact names the format."""
    wanted, found = settings["CALL_FORMAT"], call_format(rows)
    level = "fail" if wanted not in ("auto", found) else "ok"
    what = "the format of the calls in the training rows"
    evidence = f"most calls are in the format {found}, CALL_FORMAT={wanted}"
    fix = f"set CALL_FORMAT={found} (or auto), else right answers score as wrong ones"
    found_format = finding("data.call_format", level, what, evidence, fix)
    return [found_format], {"call_format": found}


def misfit(arguments: dict, schema: dict) -> str:
    """Why the arguments of a call do not fit its schema, "" if they do."""
    try:
        known = schema.get("properties", {})
        extra = sorted(arguments.keys() - known.keys())
        if known and extra and not schema.get("additionalProperties"):
            return f"argument {extra[0]} is not in the schema"
        error = best_match(Draft202012Validator(schema).iter_errors(arguments))
    except Exception as problem:  # a schema can be wrong in any way
        return f"the schema cannot be used ({describe(problem):.60})"
    where = error and "".join(f"{part}: " for part in error.path)
    return f"{where}{error.message}" if error else ""


def check_schemas(rows: list, schemas: dict[str, dict]) -> list[dict]:
    """Does each call fit the schema of its tool? None of a tool's calls fitting is a failure."""
    calls, wrong, unknown = Counter(), defaultdict(list), []
    for place, row in rows:
        tools = row.get("tools", [])
        known = schemas | schemas_of(tools)
        texts = [text for _, text in assistant_texts([(place, row)])]
        for call in (call for text in texts for call in calls_in_text(text, tools)):
            name = call["name"]
            if name == EXECUTE_CODE:
                continue
            calls[name] += 1
            if name not in known:
                unknown.append(f"{place} calls {name}")
            elif problem := misfit(call["arguments"], known[name]):
                wrong[name].append(f"{place}: {problem}")
    never = [name for name, places in wrong.items() if len(places) == calls[name]]
    count = sum(map(len, wrong.values()))
    evidence = [f"no call of {name} fits its schema; {wrong[name][0]}" for name in never[:2]]
    if count and not never:
        evidence.append(
            f"{count} of {calls.total()} calls do not fit; {next(iter(wrong.values()))[0]}"
        )
    if unknown:
        evidence.append(f"in no schema: {some(unknown)}")
    level = "fail" if never or unknown else "warn" if wrong else "ok"
    text = "; ".join(evidence) or f"{calls.total():,} calls by name"
    fix = "a model learns these too: mend the rows, their tools, or TOOLS"
    return [finding("data.schemas", level, "calls by name against their schemas", text, fix)]


def one_right(value):
    """A value that is right. Each argument, and each key of an object, has a list of them."""
    if isinstance(value, list):
        return [one_right(item) for item in value]
    if not isinstance(value, dict):
        return value
    right = {}
    for key, choices in value.items():
        choices = choices if isinstance(choices, list) else [choices]
        right[key] = one_right(next((choice for choice in choices if choice != ""), ""))
    return right


def check_answers(suite: dict, schemas: dict[str, dict]) -> list[dict]:
    """Fit the right calls of the suite the schemas? A typo there would score 0 for ever."""
    wrong = []
    for prompt in suite["prompts"]:
        known = schemas | schemas_of(prompt["tools"])
        for answer in prompt["answers"] if isinstance(prompt["answers"], list) else ():
            name, right = answer["name"], one_right(answer["arguments"])
            problem = misfit(right, known[name]) if name in known else "it is in no schema"
            wrong += [f"{prompt['id']}: {name}: {problem}"] if problem else []
    level, evidence = ("warn", some(wrong)) if wrong else ("ok", f"{len(suite['prompts'])} prompts")
    fix = "no model can be right there: mend the prompt's answers, or the schema"
    return [finding("suite.answers", level, "the suite's answers against schemas", evidence, fix)]
