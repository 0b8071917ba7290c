"""RESUME=1: go on as if the training had not stopped.

mlx-lm keeps the weights of a checkpoint only. Here the optimizer's state, with the learning rate,
is kept beside them, and the rows are drawn in the order in which they would have come.
"""

from argparse import Namespace
from pathlib import Path

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten, tree_unflatten
from mlx_lm.tuner import trainer

from checkpoints import find_checkpoints, is_whole


def optimizer_file(checkpoint: Path) -> Path:
    """The file beside a checkpoint's weights that has the optimizer's state."""
    return checkpoint.with_name(checkpoint.name.replace("_adapters", "_optimizer"))


def last_checkpoint(staging: Path) -> int:
    """The iteration after which a training can go on; 0 if it must start anew."""
    found = find_checkpoints(staging)
    return max((n for n, file in found.items() if is_whole(optimizer_file(file))), default=0)


def keep_state(optimizer) -> None:
    """Let mlx-lm write the optimizer's state before each numbered checkpoint."""
    save = mx.save_safetensors

    def save_both(file: str, *arrays) -> None:
        path = Path(file)
        if path.name[0].isdigit():
            save(str(optimizer_file(path)), dict(tree_flatten(optimizer.state)))
            # The last two: a kill can leave half of the last checkpoint.
            for old in sorted(path.parent.glob("*_optimizer.safetensors"))[:-2]:
                old.unlink()
        save(file, *arrays)

    mx.save_safetensors = save_both


def batches_after(done: int, options: Namespace, valid):
    """mlx-lm's iterate_batches, for the iterations after the first `done` of a training.

    NumPy's generator draws the rows. What was drawn before is drawn again and passed over.
    """
    every = options.steps_per_eval
    extra = done and (done + 1) % every  # mlx-lm validates first, which was not in the plan

    def iterate(dataset, loop=False, **how):
        nonlocal extra
        batches = trainer.iterate_batches(dataset, loop=loop, **how)
        for iteration in range(1, done + 1) if loop else ():
            next(batches)
            if iteration == 1 or iteration % every == 0:
                next(trainer.iterate_batches(valid, **how))
        order = np.random.get_state()
        first = next(batches)
        if extra and not loop:
            np.random.set_state(order)
            extra = False
        yield first
        yield from batches

    return iterate


def train_after(done: int, state: Path | None, options: Namespace):
    """mlx_lm.lora's train(), after `done` iterations that left the optimizer's `state`."""

    def train(optimizer, val_dataset, **rest):
        if done:
            optimizer.state = tree_unflatten(list(mx.load(str(state)).items()))
        keep_state(optimizer)
        rest |= {"optimizer": optimizer, "val_dataset": val_dataset}
        trainer.train(**rest, iterate_batches=batches_after(done, options, val_dataset))

    return train
