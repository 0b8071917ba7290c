"""Does the plan match what the config promises, and does it fit on this machine?"""

import platform
import shutil
from pathlib import Path

import mlx.core as mx
from huggingface_hub.constants import HF_HUB_CACHE

from checks import finding
from checks.settings import declared
from files import weights_bytes
from models import hub_name
from settings import number
from shapes import memory_bytes
from show import size

BIG = 1e9  # parameters; training more than this on a CPU takes days
SHARD = 5 << 30  # bytes; mlx-lm writes models in files up to this size
FLOAT32 = "q5-float32"  # is served in place of q5 on a CPU
ON_GPU = mx.default_device().type == mx.gpu


def check_promise(settings: dict, key: str, value: float, unit: str, source: str, mend: str):
    """Is the promise of `key` the `value` that follows from `source`, within 1%?"""
    promise = declared(settings, key, float)
    level, evidence = "ok", f"{source} = {value:.4g}{unit}"
    if promise is not None:
        # COVERAGE is declared in whole percent: there one point is the 1%.
        allowed = 1.0 if key == "COVERAGE" else 0.01 * promise
        level = "ok" if abs(value - promise) <= allowed else "fail"
        evidence += f", declared {promise:g}{unit}"
    fix = f"set {key}={value:.4g} if that is the plan{mend}"
    return finding(f"plan.{key.lower()}", level, f"{key} as declared", evidence, fix)


def check_epochs(settings: dict, rows: int) -> dict:
    """Do ITERS iterations make EPOCHS epochs?"""
    iters, batch = number(settings, "ITERS"), number(settings, "BATCH_SIZE")
    epochs = iters * batch / rows
    wanted = declared(settings, "EPOCHS", float) or epochs
    right = round(wanted * rows / batch)
    # With few rows no whole number of iterations may come within 1%.
    possible = abs(right * batch / rows - wanted) <= 0.01 * wanted
    mend = f", else ITERS={right}" if possible else ""
    source = f"{iters} iterations x {batch} rows / {rows:,} rows"
    return check_promise(settings, "EPOCHS", epochs, "", source, mend)


def check_checkpoints(settings: dict) -> dict:
    """Is there a checkpoint for every validation loss?"""
    keys = ("ITERS", "STEPS_PER_EVAL", "SAVE_EVERY")
    iters, every, save = (number(settings, key) for key in keys)
    evidence = (
        f"{iters} iterations, validated after every {every} and after the last,"
        f" saved after every {save} and after the last"
    )
    level, both = "ok" if every == save <= iters else "warn", min(every, iters)
    fix = f"set STEPS_PER_EVAL={both} SAVE_EVERY={both}, so that every loss has its weights"
    what = "a checkpoint for each validation loss"
    return finding("plan.checkpoints", level, what, evidence, fix)


def check_validation(settings: dict, rows: int) -> dict:
    """Is each validation loss over all the rows?"""
    batch, most = number(settings, "BATCH_SIZE"), number(settings, "VAL_BATCHES")
    batches = rows // batch if most < 0 else min(rows // batch, most)
    evidence = (
        f"{batches * batch} of {rows}, in whole batches of {batch}; the best checkpoint is"
        f" chosen over all {rows}"
    )
    fix = "set VAL_BATCHES=-1: a sample is another one each time, and its curve is noise"
    what = "rows that each validation loss is over"
    return finding("plan.validation", "ok" if most < 0 else "warn", what, evidence, fix)


def check_arithmetic(settings: dict, rows: int, valid: int, model: dict) -> list[dict]:
    """All that follows from the numbers of rows of the two splits, and from the model's shape."""
    layers, of = number(settings, "NUM_LAYERS"), model["layers"]
    coverage = f"LoRA on {layers} of {of} layers"
    millions, trained = model["parameters"] / 1e6, model["trainable_parameters"] / 1e6
    share = f"{100 * trained / millions:.3f}% of {millions:,.1f}M parameters"
    mend = ", else look at BASE_MODEL, NUM_LAYERS and LORA_RANK"
    percent = 100 * layers / of
    return [
        check_epochs(settings, rows),
        check_promise(settings, "COVERAGE", percent, "%", coverage, ", else mend NUM_LAYERS"),
        check_promise(settings, "TRAINABLE", trained, "M", share, mend),
        check_checkpoints(settings),
        check_validation(settings, valid),
    ]


def check_vocabulary(largest: int, model: dict) -> list[dict]:
    """Has the model an embedding for every token id of the rows? mlx reads beyond it unchecked."""
    rows = model["embeddings"]
    level = "ok" if largest < rows else "fail"
    what = "token ids of the rows against the model's embedding"
    evidence = f"largest id {largest:,}, the embedding has {rows:,} rows"
    fix = "tokenizer and weights of BASE_MODEL are not of one model: fetch it again"
    return [finding("model.vocabulary", level, what, evidence, fix)]


def free_bytes(path: Path) -> int:
    """Free bytes on the disk of `path`, which need not exist yet."""
    path = path.absolute()
    return shutil.disk_usage(next(p for p in (path, *path.parents) if p.exists())).free


def serves_float32(settings: dict) -> bool:
    """Is a float32 copy of a model served in its place? On a CPU it is several times as fast."""
    return platform.system() == "Linux" and not ON_GPU and settings["EVAL_EXACT"] != "1"


def output_bytes(settings: dict, model: dict) -> dict[str, int]:
    """Model -> bytes it will take in BUILD, for the models that this machine makes."""
    outputs = {"fused": model["fused_bytes"]} if settings["LOW_MEMORY"] == "0" else {}
    outputs["q5"] = model["q5_bytes"]
    if serves_float32(settings):
        outputs[FLOAT32] = model["q5_float32_bytes"]
    return outputs


def check_download(base: Path | None, model: dict) -> list[dict]:
    """Is there room in the hub's cache for the weights that are not here yet?

    `base` is the folder of the base model, or None if nothing of it is here. There is no finding if
    all weights are here, or if the folder is not of the hub.
    """
    if base and not hub_name(base):
        return []
    missing = model["base_bytes"] - (weights_bytes(base) if base else 0)
    if missing < 0.01 * model["base_bytes"]:
        return []
    cache = Path(HF_HUB_CACHE)
    free = free_bytes(cache)
    level = "ok" if missing <= free else "fail"
    what = f"free disk for the weights that come into {cache}"
    evidence = f"{size(missing)} to come from the hub, {size(free)} free"
    fix = "free some disk, or name another folder with HF_HOME"
    return [finding("resources.download", level, what, evidence, fix)]


def check_disk(build: Path, written: dict[str, int]) -> dict:
    """Does what is to be written to BUILD fit there?"""
    free = free_bytes(build)
    models = {name: n for name, n in written.items() if name != FLOAT32}
    need, float32 = sum(models.values()), written.get(FLOAT32, 0)
    level = "fail" if need > free else "warn" if need + float32 > free else "ok"
    parts = " + ".join(f"{name} {size(n)}" for name, n in models.items()) or "all is there"
    evidence = f"{size(need)} needed ({parts}), {size(free)} free"
    fix = (
        "free some disk (make clean-build removes the models of an earlier run), or name a"
        " folder on another disk with BUILD="
    )
    if float32:
        evidence += f"; to evaluate on a CPU {size(float32)} more"
        fix += f"; EVAL_EXACT=1 does without {FLOAT32}"
    what = f"free disk for what is written to {build}"
    return finding("resources.disk", level, what, evidence, fix)


def check_memory(settings: dict, model: dict) -> dict:
    """Do training and fusing fit into the memory?"""
    memory, weights = memory_bytes(), model["base_bytes"]
    if settings["LOW_MEMORY"] == "1":  # measured at 8B: 6.3 GB, a shard of q5 and one weight
        fuse = least = min(SHARD, model["q5_bytes"]) + model["largest_bytes"]
    else:  # measured at 8B: 20.9 GB, the base and all the fused weights at once
        fuse, least = weights + model["fused_bytes"], model["fused_bytes"]
    level = "fail" if least > memory else "warn" if fuse > memory else "ok"
    evidence = (
        f"{size(memory)} here; the base's weights take {size(weights)},"
        f" training more than that, fusing about {size(fuse)}"
    )
    fix = (
        "LOW_MEMORY=1 fuses and quantizes in a third of it; else use a machine with more memory"
        " or a smaller BASE_MODEL"
    )
    return finding("resources.memory", level, "memory for training and fusing", evidence, fix)


def check_device(model: dict) -> dict:
    """What computes? A CPU is too slow to train a large model."""
    level, evidence = "ok", "gpu" if ON_GPU else "cpu"
    if not ON_GPU and model["parameters"] > BIG:
        level, evidence = "warn", f"cpu, for {model['parameters'] / 1e9:.1f}B parameters"
    fix = "without a GPU training a model of this size takes days; make demo is the small one"
    return finding("resources.device", level, "what mlx computes on", evidence, fix)


def check_resources(settings: dict, model: dict, written: dict[str, int]) -> list[dict]:
    """Do the disk and the memory suffice? `written` has the bytes of each output to be written."""
    disk = check_disk(Path(settings["BUILD"]), written)
    return [disk, check_memory(settings, model), check_device(model)]
