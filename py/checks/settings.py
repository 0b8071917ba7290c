"""Can the steps use every setting? A wrong one may stop a step hours later, so this comes first."""

import importlib.util
import math
from pathlib import Path

from mlx_lm.convert import QUANT_RECIPES

from checks import finding
from settings import number
from show import some
from suite import read_baseline

CHOICES = {
    "Q_BITS": ("2", "3", "4", "5", "6", "8"),  # what mlx can quantize to
    "Q_GROUP_SIZE": ("32", "64", "128"),
    "Q_RECIPE": ("none", *QUANT_RECIPES),
    "LR_SCHEDULE": ("constant", "cosine_decay", "linear_schedule"),
    "FINE_TUNE_TYPE": ("lora", "dora", "full"),
    "OPTIMIZER": ("adam", "adamw", "muon", "sgd", "adafactor"),
    "SELECT": ("loss", "calls"),
    "CALL_FORMAT": ("auto", "program", "json"),
}
SWITCHES = "GRAD_CHECKPOINT KEEP_CHECKPOINTS EXPAND_TURNS EVAL_EXACT LOW_MEMORY STRICT"
CHOICES |= dict.fromkeys(SWITCHES.split(), ("0", "1"))
# Each of these is compared with what preflight counts; auto compares nothing.
AUTO = ("TRAIN_ROWS", "VALID_ROWS", "EPOCHS", "COVERAGE", "TRAINABLE")
SERVICES = ("wandb", "swanlab", "trackio")
MANY = math.inf
ABOVE_0 = 1e-12
# (keys, type, least value, greatest value)
RANGES = (
    ("ITERS BATCH_SIZE GRAD_ACCUMULATION NUM_LAYERS TRAIN_ROWS VALID_ROWS", int, 1, MANY),
    ("STEPS_PER_EVAL SAVE_EVERY STEPS_PER_REPORT MAX_SEQ_LENGTH", int, 1, MANY),
    ("EVAL_CONCURRENCY", int, 1, 1024),
    ("LORA_RANK", int, 1, 65536),
    ("VAL_BATCHES LADDER_ROWS VALID_CALLS", int, -1, MANY),
    ("SEED EVAL_SEED", int, 0, 2**32 - 1),
    ("PATIENCE SELECT_ROWS EVAL_MAX_TOKENS", int, 0, MANY),
    ("EVAL_PORT", int, 0, 65535),
    ("LEARNING_RATE", float, ABOVE_0, 1),
    ("LORA_SCALE EPOCHS COVERAGE TRAINABLE", float, ABOVE_0, MANY),
    ("EVAL_TIMEOUT", float, 0.001, 10**6),
    ("MIN_DELTA", float, 0, MANY),
    ("LORA_DROPOUT", float, 0, 0.999),
    ("MARGIN", float, 0, 1),
    ("EVAL_TEMPERATURE", float, 0, 100),
)


def declared(settings: dict, key: str, kind=int):
    """The number that `key` declares; None for auto."""
    return None if settings[key] == "auto" else number(settings, key, kind)


def limits(low: float, high: float) -> str:
    """A range in words."""
    if low == ABOVE_0:
        return "above 0" if high == MANY else f"above 0 to {high:,}"
    return f"{low:,} or more" if high == MANY else f"{low:,} to {high:,}"


def check_settings(settings: dict) -> None:
    """Raises ValueError, with the key, for a value that no step can use."""
    for key, choices in CHOICES.items():
        if settings[key] not in choices:
            raise ValueError(f"{key}={settings[key]}: expected one of {', '.join(choices)}")
    for keys, kind, low, high in RANGES:
        for key in keys.split():
            if key in AUTO and settings[key] == "auto":
                continue
            value = number(settings, key, kind)
            if not low <= value <= high or math.isinf(value):
                raise ValueError(f"{key}={settings[key]}: expected {limits(low, high)}")
    if number(settings, "VAL_BATCHES") == 0:
        raise ValueError("VAL_BATCHES=0: expected -1 for all of the set, or 1 and more")
    accumulation = number(settings, "GRAD_ACCUMULATION")
    if accumulation > number(settings, "ITERS"):
        raise ValueError(f"GRAD_ACCUMULATION={accumulation}: more than ITERS; nothing is trained")
    for key in ("TRAIN_ROWS", "VALID_ROWS"):
        check_batch(settings, declared(settings, key), f"{key}={settings[key]}")


def check_batch(settings: dict, rows: int | None, split: str) -> None:
    """Raise ValueError if a split has fewer rows than a batch. `rows` may be None: not known."""
    batch = number(settings, "BATCH_SIZE")
    if rows is not None and rows < batch:
        raise ValueError(
            f"BATCH_SIZE={batch}: more than {split}; mlx-lm refuses a split smaller than a batch"
        )


def check_services(settings: dict) -> None:
    """Raises ValueError for a service that mlx-lm or .venv does not have."""
    services = settings["REPORT_TO"]
    for name in services.split(",") if services != "none" else ():
        if name not in SERVICES:
            expected = f"expected none or {', '.join(SERVICES)}"
            raise ValueError(f"REPORT_TO={services}: {expected}")
        if importlib.util.find_spec(name) is None:
            raise ValueError(
                f"REPORT_TO={name}: not installed; .venv/bin/python -m pip install {name}"
            )


def check_layers(settings: dict, layers: int) -> None:
    """Raises ValueError if NUM_LAYERS is more than the model has."""
    if number(settings, "NUM_LAYERS") > layers:
        raise ValueError(f"NUM_LAYERS={settings['NUM_LAYERS']}: the model has {layers} layers")


def check_baseline(settings: dict) -> None:
    """Raises ValueError if the comparison cannot read BASELINE."""
    try:
        if settings["BASELINE"] != "base":
            read_baseline(Path(settings["BASELINE"]))
    except ValueError as error:
        meant = "it is base or a result; make runs lists all"
        raise ValueError(f"BASELINE: {error}; {meant}") from error


def check_categories(suite: dict, targets: dict) -> list[dict]:
    """Have the suite's prompts the categories that TARGETS registers?"""
    asked, registered = {p["category"] for p in suite["prompts"]}, set(targets["categories"])
    problems = [f"no prompt of {name}" for name in sorted(registered - asked)]
    problems += [f"no target for {name}" for name in sorted(asked - registered) if registered]
    targets = "each with a target" if registered else "a target for the whole only"
    evidence = some(problems) or f"{len(asked)} categories, {targets}"
    what = "categories of SUITE and of TARGETS"
    fix = (
        "a category of TARGETS without a prompt leaves the verdict incomplete, a prompt's category"
        " without a target is not judged: give both the same ones"
    )
    return [finding("suite.categories", "warn" if problems else "ok", what, evidence, fix)]


def check_folder(settings: dict) -> list[dict]:
    """Does BUILD belong to this experiment? Two in one folder would overwrite each other."""
    marker = Path(settings["BUILD"]) / ".phase40-build"
    owner = marker.read_text(encoding="utf-8").strip() if marker.is_file() else ""
    if owner in ("", settings["EXPERIMENT"]):
        return []
    what = f"whose folder {settings['BUILD']} is"
    evidence = f"it holds the experiment {owner}, this is {settings['EXPERIMENT']}"
    fix = "set another BUILD, or empty that folder first with make clean"
    return [finding("config.build", "fail", what, evidence, fix)]
