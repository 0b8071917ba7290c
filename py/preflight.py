"""Find out in seconds whether a run is doomed: writes preflight.json, and preflight.ok if not.

Every check gives {id, level: "fail" | "warn" | "ok", what, evidence, fix}. preflight.ok appears
only when no check is at level "fail".
"""

import argparse
import sys
from pathlib import Path

from chat_format import open_tokenizer
from files import read_json, write_json
from models import locate_model
from rows import read_rows
from settings import load_settings, number
from suite import read_suite

CHOICES = {
    "Q_BITS": ("2", "3", "4", "5", "6", "8"),  # what mlx can quantize to
    "Q_GROUP_SIZE": ("32", "64", "128"),
    "LR_SCHEDULE": ("constant", "cosine_decay"),
}
ABOVE_ZERO = ("ITERS", "BATCH_SIZE", "TRAIN_ROWS", "VALID_ROWS", "LEARNING_RATE", "EPOCHS")


def check_settings(settings: dict) -> None:
    """Raise ValueError for a setting that would stop a stage hours later."""
    for key, choices in CHOICES.items():
        if settings[key] not in choices:
            raise ValueError(f"{key}={settings[key]}: expected one of {', '.join(choices)}")
    for key in ABOVE_ZERO:
        if number(settings, key, float) <= 0:
            raise ValueError(f"{key}={settings[key]}: expected a number above 0")
    config = read_json(locate_model(settings["BASE_MODEL"], tokenizer_only=True) / "config.json")
    layers = config.get("num_hidden_layers", 0)
    if number(settings, "NUM_LAYERS") > layers:
        raise ValueError(f"NUM_LAYERS={settings['NUM_LAYERS']}: the model has {layers} layers")


def result(id: str, passed: bool, what: str, evidence: str, fix: str) -> dict:
    """One check's entry in preflight.json; `fix` is kept only where something is to be fixed."""
    level = "ok" if passed else "fail"
    return {
        "id": id,
        "level": level,
        "what": what,
        "evidence": evidence,
        "fix": "" if passed else fix,
    }


def check_special_tokens(settings: dict, key: str) -> dict:
    """Is every special token of the format a single token with the registered id?"""
    model = settings[key]
    tokenizer = open_tokenizer(locate_model(model, tokenizer_only=True))
    wanted = read_json(Path(settings["SPECIAL_TOKENS"]))["tokens"]
    wrong = []
    for token, id in wanted.items():
        ids = tokenizer.encode(token, add_special_tokens=False)
        if ids != [id]:
            wrong.append(f"{token} should be {id}, is {ids}")
    return result(
        f"tokenizer.special_tokens.{key.lower()}",
        not wrong,
        f"special tokens of {key}, {model}",
        "; ".join(wrong) or f"{len(wanted)} tokens with the registered ids",
        f"{key} must be of the family that {settings['SPECIAL_TOKENS']} describes",
    )


def check_rows(settings: dict, split: str) -> dict:
    """Is every row of a split well formed, and are there as many as the config says?"""
    path = Path(settings["DATA"]) / f"{split}.jsonl"
    count = sum(1 for _ in read_rows(path))
    wanted = number(settings, f"{split.upper()}_ROWS")
    return result(
        f"data.rows.{split}",
        count == wanted,
        f"rows of {path}",
        f"{count} rows, the config says {wanted}",
        f"fetch the right file, or set {split.upper()}_ROWS={count}",
    )


def check_epochs(settings: dict) -> dict:
    """Does the plan train for the declared number of epochs, to within 1%?"""
    rows = number(settings, "TRAIN_ROWS")
    epochs = number(settings, "ITERS") * number(settings, "BATCH_SIZE") / rows
    declared = number(settings, "EPOCHS", float)
    return result(
        "plan.epochs",
        abs(epochs - declared) <= 0.01 * declared,
        "epochs",
        f"ITERS x BATCH_SIZE / rows = {epochs:.2f}, declared {declared:.2f}",
        f"set EPOCHS={epochs:.2f} if that is the plan, else mend ITERS or BATCH_SIZE",
    )


def run_checks(settings: dict) -> dict:
    """The content of preflight.json. Raises ValueError for input that can't be read."""
    check_settings(settings)
    suite = read_suite(Path(settings["SUITE"]))
    checks = [
        check_rows(settings, "train"),
        check_rows(settings, "valid"),
        check_special_tokens(settings, "BASE_MODEL"),
        check_special_tokens(settings, "REFERENCE_MODEL"),
        check_epochs(settings),
    ]
    facts = {
        "experiment": settings["EXPERIMENT"],
        "train_rows": number(settings, "TRAIN_ROWS"),
        "valid_rows": number(settings, "VALID_ROWS"),
        "suite_prompts": len(suite["prompts"]),
    }
    return {"schema": 1, "checks": checks, "facts": facts}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, required=True, help="env file of the experiment")
    parser.add_argument("--out", type=Path, required=True, help="folder for the two files")
    args = parser.parse_args()
    try:
        report = run_checks(load_settings(args.config))
    except (ValueError, OSError) as error:
        print(f"preflight: {error}", file=sys.stderr)
        return 2
    write_json(args.out / "preflight.json", report)
    for check in report["checks"]:
        print(f"{check['level']:<4}  {check['what']}: {check['evidence']}")
        if check["fix"]:
            print(f"      {check['fix']}")
    if any(check["level"] == "fail" for check in report["checks"]):
        print(f"preflight: stopped; see {args.out / 'preflight.json'}", file=sys.stderr)
        return 1
    (args.out / "preflight.ok").touch()
    return 0


if __name__ == "__main__":
    sys.exit(main())
