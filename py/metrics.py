"""What mlx-lm reports while it trains: metrics.jsonl, and an early stop."""

import json
import math
import time
from pathlib import Path

from mlx_lm.tuner.callbacks import TrainingCallback

from checkpoints import METRICS, losses
from program import Failed


class StopTraining(Exception):
    """Leaves mlx-lm's training loop early. Failed leaves it when the weights are of no use."""


class Metrics(TrainingCallback):
    """Writes each of mlx-lm's reports to metrics.jsonl, and stops a training that does not improve.

    `folder` is where to write; a worker that writes nothing has None. `done` iterations came before
    this run, with the metrics `reported`. After args.patience validations in a row without a loss
    lower by args.min_delta, training ends; 0 never ends it. `options` are those of mlx_lm lora.
    """

    def __init__(self, folder: Path | None, done: int, reported: list[dict], args, options):
        self.folder, self.start, self.iterations = folder, done, done
        self.patience, self.min_delta = args.patience, args.min_delta
        self.planned, self.save_every = options.iters, options.save_every
        last = reported[-1] if reported else {"seconds": 0, "tokens": 0}
        self.earlier_tokens = self.tokens = last["tokens"]
        self.began = time.monotonic() - last["seconds"]
        self.lowest, self.stale = math.inf, 0
        for loss in losses(reported, "val_loss").values():
            self.judge(loss)
        self.ends_after, self.reason = None, ""  # of an early stop

    def judge(self, loss: float) -> None:
        """Count a validation: `stale` is how many in a row did not lower the loss."""
        if loss < self.lowest - self.min_delta:
            self.lowest, self.stale = loss, 0
        else:
            self.stale += 1

    def seconds(self) -> float:
        """Seconds of training so far, over all runs."""
        return round(time.monotonic() - self.began, 2)

    def write(self, iteration: int, kind: str, loss: float, **more) -> None:
        """Add a line to metrics.jsonl. Raises Failed for NaN or infinity."""
        finite = math.isfinite(loss)
        entry = {"iteration": iteration, kind: loss if finite else None, "tokens": self.tokens}
        if self.folder:
            with (self.folder / METRICS).open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(entry | {"seconds": self.seconds()} | more) + "\n")
        if not finite:
            raise Failed(
                f"the {kind} is {loss} after {self.iterations} iterations: lower LEARNING_RATE,"
                " and see that MAX_SEQ_LENGTH leaves an answer in every row"
            )

    def on_train_loss_report(self, train_info: dict) -> None:
        """mlx-lm calls it every steps_per_report iterations, and after the last."""
        self.iterations = self.start + train_info["iteration"]
        self.tokens = self.earlier_tokens + train_info["trained_tokens"]
        self.write(
            self.iterations,
            "train_loss",
            train_info["train_loss"],
            tokens_per_second=round(train_info["tokens_per_second"], 1),
            learning_rate=train_info["learning_rate"],
            peak_memory_gb=round(train_info["peak_memory"], 3),
        )
        # mlx-lm saves a checkpoint after its iteration's report. After the last it ends by itself.
        if self.ends_after and self.ends_after < self.iterations < self.planned:
            raise StopTraining(self.reason)

    def on_val_loss_report(self, val_info: dict) -> None:
        """mlx-lm calls it after each validation. The iteration that it prints is 1 more."""
        iteration, loss = self.start + val_info["iteration"], val_info["val_loss"]
        self.write(iteration, "val_loss", loss, val_seconds=round(val_info["val_time"], 2))
        if not self.start or iteration > self.start:  # resumed, it validates the same weights again
            self.judge(loss)
        lower = f"a loss lower by {self.min_delta:g} than {self.lowest:.4f}"
        stale = f"{self.stale} validations without {lower}"
        if self.folder and self.stale > 1:
            print(f"          {stale}")
        if self.patience and self.stale >= self.patience and not self.ends_after:
            done = val_info["iteration"] + 1
            self.ends_after = self.start + done + -done % self.save_every  # the next checkpoint
            self.reason = f"{stale}, the last after {iteration} iterations"
