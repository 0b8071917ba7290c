"""The validation loss of a model, over every row: mlx-lm's own loss on mlx-lm's own batches."""

from types import SimpleNamespace

import mlx.core as mx
import numpy as np
from mlx_lm.tuner.datasets import load_dataset
from mlx_lm.tuner.trainer import default_loss, evaluate

from rows import evenly

Row = tuple[list[int], int]  # token ids, and how many of the first ones the loss leaves out


def valid_rows(adapter_config: dict, tokenizer, limit: int = 0) -> list[Row]:
    """The validation rows as the training of `adapter_config` tokenized and masked them.

    With a `limit` above 0, at most so many.
    """
    _, valid, _ = load_dataset(SimpleNamespace(**adapter_config), tokenizer)
    return [valid.process(row) for row in evenly(valid, limit)]


def batch_size(rows: int, most: int) -> int:
    """The largest batch up to `most` that leaves no row over: mlx-lm drops a last, smaller one."""
    return next(size for size in range(min(most, rows), 0, -1) if rows % size == 0)


def validation_loss(model, rows: list[Row], adapter_config: dict) -> tuple[float, int]:
    """(mean loss per supervised token, in nats; the number of such tokens)."""
    tokens = 0

    def counted(model, batch, lengths):
        nonlocal tokens
        loss, count = default_loss(model, batch, lengths)
        tokens += count.item()
        return loss, count

    np.random.seed(0)  # evaluate() shuffles its batches: the same order gives the same bits
    loss = evaluate(
        model,
        rows,
        batch_size(len(rows), adapter_config["batch_size"]),
        num_batches=-1,
        max_seq_length=adapter_config["max_seq_length"],
        loss=counted,
    )
    mx.clear_cache()
    return loss, tokens
