"""Does the plan do what it says, and does it fit on this machine?

The arithmetic is held to what the config declares (EPOCHS, COVERAGE, TRAINABLE), so that another
batch size or a smaller model of the same family cannot pass for the same experiment.
"""

import contextlib
import os
import platform
import shutil
from pathlib import Path

import mlx.core as mx

from finding import finding
from settings import number

CHOICES = {
    "Q_BITS": ("2", "3", "4", "5", "6", "8"),  # what mlx can quantize to
    "Q_GROUP_SIZE": ("32", "64", "128"),
    "LR_SCHEDULE": ("constant", "cosine_decay"),
    "EXPAND_TURNS": ("0", "1"),
    "EVAL_EXACT": ("0", "1"),
    "STRICT": ("0", "1"),
}
WHOLE = (
    *("ITERS", "BATCH_SIZE", "GRAD_ACCUMULATION", "NUM_LAYERS", "LORA_RANK", "TRAIN_ROWS"),
    *("VALID_ROWS", "MAX_SEQ_LENGTH", "STEPS_PER_EVAL", "SAVE_EVERY", "STEPS_PER_REPORT"),
)
ABOVE_ZERO = ("LEARNING_RATE", "LORA_SCALE", "EPOCHS", "COVERAGE", "TRAINABLE")
ANY_NUMBER = ("SEED", "VAL_BATCHES", "LORA_DROPOUT")
BIG = 1e9  # parameters; training more than this on a CPU takes days
GB = 1e9
TWIN = "q5-float32"  # what is served in the place of q5 on a CPU


def check_settings(settings: dict) -> list[dict]:
    """No finding; ValueError for a setting that would stop a stage hours later."""
    for key, choices in CHOICES.items():
        if settings[key] not in choices:
            raise ValueError(f"{key}={settings[key]}: expected one of {', '.join(choices)}")
    for key in WHOLE:
        if number(settings, key) <= 0:
            raise ValueError(f"{key}={settings[key]}: expected a whole number above 0")
    for key in ABOVE_ZERO:
        if not 0 < number(settings, key, float) < float("inf"):
            raise ValueError(f"{key}={settings[key]}: expected a number above 0")
    for key in ANY_NUMBER:
        number(settings, key, float)
    return []


def check_layers(settings: dict, config: dict) -> list[dict]:
    """No finding; ValueError when more layers are to be trained than the model has."""
    layers = config.get("num_hidden_layers", 0)
    if number(settings, "NUM_LAYERS") > layers:
        raise ValueError(f"NUM_LAYERS={settings['NUM_LAYERS']}: the model has {layers} layers")
    return []


def held(id: str, key: str, unit: str, planned: float, declared: float, allowed: float, how: str):
    """A finding: is `planned`, computed as `how` says, within `allowed` of what `key` declares?"""
    good = abs(planned - declared) <= allowed
    return finding(
        id,
        "ok" if good else "fail",
        f"{key} as declared",
        f"{how} = {planned:.4g}{unit}, declared {declared:g}{unit}",
        f"set {key}={planned:.4g} if that is the plan, else mend the plan",
    )


def check_arithmetic(settings: dict, rows: int, model: dict) -> tuple[list[dict], dict]:
    """Epochs, layer coverage and trainable parameters against what is declared, within 1%."""
    iters, batch = number(settings, "ITERS"), number(settings, "BATCH_SIZE")
    layers, every = number(settings, "NUM_LAYERS"), number(settings, "STEPS_PER_EVAL")
    save = number(settings, "SAVE_EVERY")
    epochs, coverage = iters * batch / rows, 100 * layers / model["layers"]
    trainable = model["trainable_parameters"] / 1e6
    declared = {key: number(settings, key, float) for key in ("EPOCHS", "COVERAGE", "TRAINABLE")}
    share = trainable * 1e8 / model["parameters"]
    plan = {"rows": rows, "epochs": round(epochs, 4), "layer_coverage": round(coverage / 100, 4)}
    findings = [
        held(
            "plan.epochs",
            *("EPOCHS", "", epochs, declared["EPOCHS"], 0.01 * declared["EPOCHS"]),
            f"{iters} iterations x {batch} rows / {rows:,} rows",
        ),
        held(
            "plan.coverage",
            # declared in whole percent: a percentage point is the 1% here
            *("COVERAGE", "%", coverage, declared["COVERAGE"], 1.0),
            f"LoRA on {layers} of {model['layers']} layers",
        ),
        held(
            "plan.trainable",
            *("TRAINABLE", "M", trainable, declared["TRAINABLE"], 0.01 * declared["TRAINABLE"]),
            f"{share:.3f}% of {model['parameters'] / 1e6:,.1f}M parameters",
        ),
        finding(
            "plan.checkpoints",
            "ok" if every == save else "warn",
            "a checkpoint for each validation loss",
            f"validates every {every} iterations, saves every {save}:"
            f" {iters // every} losses, {iters // save} checkpoints",
            f"set SAVE_EVERY={every}, so that every loss has its weights",
        ),
    ]
    return findings, {"plan": plan}


def existing_parent(path: Path) -> Path:
    """`path`, or the nearest folder above it that exists."""
    path = path.absolute()
    return path if path.exists() else existing_parent(path.parent)


def output_bytes(settings: dict, model: dict) -> dict[str, int]:
    """Output -> bytes it will take in BUILD: the models that the stages make on this machine."""
    outputs = {"fused": model["fused_bytes"], "q5": model["q5_bytes"]}
    if platform.system() == "Linux" and settings["EVAL_EXACT"] != "1":
        outputs[TWIN] = model["float32_bytes"]
    return outputs


def missing_bytes(settings: dict, model: dict) -> dict[str, int]:
    """output_bytes of the outputs that are not there yet: the least that a run will write."""
    build = Path(settings["BUILD"])
    outputs = output_bytes(settings, model)
    return {name: n for name, n in outputs.items() if not (build / name / "config.json").is_file()}


def memory_bytes() -> int:
    """Memory that a process here may use: the machine's, with Linux's swap and limits."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError):  # not Linux
        lines = Path("/proc/meminfo").read_text().splitlines()
        total += sum(1024 * int(line.split()[1]) for line in lines if "SwapTotal" in line)
    with contextlib.suppress(OSError, ValueError):  # no container, or one without a limit: "max"
        total = min(total, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return total


def check_resources(
    settings: dict, model: dict, written: dict[str, int]
) -> tuple[list[dict], dict]:
    """Do the disk and the memory of this machine suffice, and what will compute?

    `written` has the bytes of each output that is to be written to BUILD.
    """
    build = Path(settings["BUILD"])
    free = shutil.disk_usage(existing_parent(build)).free
    need = sum(size for name, size in written.items() if name != TWIN)
    twin = written.get(TWIN, 0)
    parts = " + ".join(f"{name} {size / GB:.1f}" for name, size in written.items() if name != TWIN)
    disk = "fail" if need > free else "warn" if need + twin > free else "ok"
    memory, weights = memory_bytes(), model["base_bytes"]
    # Measured at 8B: 20.9 GB, the base and all the fused weights at once.
    fuse = weights + model["fused_bytes"]
    device = "gpu" if mx.default_device().type == mx.gpu else "cpu"
    slow = device == "cpu" and model["parameters"] > BIG
    findings = [
        finding(
            "resources.disk",
            disk,
            f"free disk for what is written to {build}",
            f"{need / GB:.1f} GB needed ({parts or 'all is there'}), {free / GB:.1f} GB free"
            + (f"; to evaluate on a CPU {twin / GB:.1f} more" if twin else ""),
            "free some disk (make clean-build removes the models of an earlier run), or name a"
            " folder on another disk with BUILD="
            + ("; EVAL_EXACT=1 does without the float32 twin" if twin else ""),
        ),
        finding(
            "resources.memory",
            "fail" if model["fused_bytes"] > memory else "warn" if fuse > memory else "ok",
            "memory for training and fusing",
            f"{memory / GB:.1f} GB here; the base's weights take {weights / GB:.1f},"
            f" training more than that, fusing about {fuse / GB:.1f}",
            "use a machine with more memory, or a smaller BASE_MODEL",
        ),
        finding(
            "resources.device",
            "warn" if slow else "ok",
            "what mlx computes on",
            f"{device}" + (f", for {model['parameters'] / 1e9:.1f}B parameters" if slow else ""),
            "without a GPU training a model of this size takes days; make demo is the small one",
        ),
    ]
    facts = {"disk_needed_bytes": need, "disk_free_bytes": free, "memory_bytes": memory}
    return findings, {"resources": facts | {"device": device}}
