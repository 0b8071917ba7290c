"""REPORT_TO=trackio: mlx-lm has callbacks for wandb and swanlab only."""

# ruff: noqa: D102 - the names of the methods are mlx-lm's

from pathlib import Path

from mlx_lm.tuner.callbacks import TrainingCallback


class TrackioCallback(TrainingCallback):
    """Logs on this machine, without an account; `trackio show` opens the dashboard.

    The arguments are those of mlx-lm's other callbacks.
    """

    def __init__(self, project_name: str, log_dir: str, config: dict, wrapped_callback):
        import trackio  # only if it is wanted: it need not be installed

        name = Path(log_dir).parent.name
        self.run = trackio.init(project=project_name, name=name, config=config, embed=False)
        self.inner = wrapped_callback

    def on_train_loss_report(self, train_info: dict) -> None:
        self.run.log(train_info, step=train_info["iteration"])
        self.inner.on_train_loss_report(train_info)

    def on_val_loss_report(self, val_info: dict) -> None:
        self.run.log(val_info, step=val_info["iteration"])
        self.inner.on_val_loss_report(val_info)
