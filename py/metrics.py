"""What a training reports: metrics.jsonl, a curve in the terminal, an early stop."""

import json
import math
import time
from pathlib import Path

from mlx_lm.tuner.callbacks import TrainingCallback

from checkpoints import METRICS, losses, sparkline


class StopTraining(Exception):
    """Leaves mlx-lm's loop; `failed` when the weights are of no use."""

    def __init__(self, reason: str, failed: bool):
        super().__init__(reason)
        self.failed = failed


class Metrics(TrainingCallback):
    """Writes each report to metrics.jsonl and stops a training that no longer gets anywhere.

    `staging` is the training's folder, None on a worker that writes nothing; `plan` is what
    resume.prepare gives. `patience` validations in a row whose loss is not lower by `min_delta`
    end training; 0 never does.
    """

    def __init__(self, staging: Path | None, plan: dict, patience: int, min_delta: float):
        self.staging, self.patience, self.min_delta = staging, patience, min_delta
        self.iters, self.save_every = plan["iters"], plan["save_every"]
        self.start = self.iterations = plan["done"]
        last = plan["reported"][-1] if plan["reported"] else {"seconds": 0, "tokens": 0}
        self.tokens_before = self.tokens = last["tokens"]
        self.began = time.monotonic() - last["seconds"]
        self.curve: list[float] = []
        self.lowest, self.stale = math.inf, 0  # validations since the loss fell by min_delta
        for loss in losses(plan["reported"], "val_loss").values():
            self.judge(loss)
        self.ends_after = self.reason = None  # of an early stop: its iteration, and why

    def judge(self, loss: float) -> None:
        """Count a validation for the early stop."""
        self.curve.append(loss)
        if loss < self.lowest - self.min_delta:
            self.lowest, self.stale = loss, 0
        else:
            self.stale += 1

    def seconds(self) -> float:
        """Seconds of training so far, over all runs."""
        return round(time.monotonic() - self.began, 2)

    def write(self, entry: dict) -> None:
        """Add a line to metrics.jsonl, with null for NaN and infinity."""
        if self.staging:
            entry = {k: v if math.isfinite(v) else None for k, v in entry.items()}
            with (self.staging / METRICS).open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(entry) + "\n")

    def on_train_loss_report(self, train_info: dict) -> None:
        """mlx-lm calls it every steps_per_report iterations, and after the last."""
        self.iterations = self.start + train_info["iteration"]
        self.tokens = self.tokens_before + train_info["trained_tokens"]
        self.write(
            {
                "iteration": self.iterations,
                "train_loss": train_info["train_loss"],
                "tokens": self.tokens,
                "seconds": self.seconds(),
                "tokens_per_second": round(train_info["tokens_per_second"], 1),
                "learning_rate": train_info["learning_rate"],
                "peak_memory_gb": round(train_info["peak_memory"], 3),
            }
        )
        self.refuse_nan("training", train_info["train_loss"])
        # The checkpoint is saved after its iteration's report; after the last mlx-lm ends anyway.
        if self.ends_after is not None and self.ends_after < self.iterations < self.iters:
            raise StopTraining(self.reason, failed=False)

    def on_val_loss_report(self, val_info: dict) -> None:
        """mlx-lm calls it after each validation, with the number of updates before it."""
        iteration, loss = self.start + val_info["iteration"], val_info["val_loss"]
        self.write(
            {
                "iteration": iteration,
                "val_loss": loss,
                "tokens": self.tokens,
                "seconds": self.seconds(),
                "val_seconds": round(val_info["val_time"], 2),
            }
        )
        self.refuse_nan("validation", loss)
        if self.start and iteration == self.start:  # an unbroken run has no validation here
            self.curve.append(loss)
        else:
            self.judge(loss)
        if self.staging:
            print(f"          {sparkline(self.curve)}  lowest {min(self.curve):.3f}")
        if self.patience and self.ends_after is None and self.stale >= self.patience:
            done = val_info["iteration"] + 1
            self.ends_after = self.start + done + -done % self.save_every  # the next checkpoint
            self.reason = (
                f"{self.patience} validations without a loss lower by {self.min_delta:g}"
                f" than {self.lowest:.4f}, the last after {iteration} iterations"
            )

    def refuse_nan(self, what: str, loss: float) -> None:
        """Raises StopTraining when `loss` is NaN or infinite: it never recovers."""
        if not math.isfinite(loss):
            raise StopTraining(
                f"the {what} loss is {loss} after {self.iterations} iterations:"
                " lower LEARNING_RATE, and see that MAX_SEQ_LENGTH leaves an answer in every row",
                failed=True,
            )
