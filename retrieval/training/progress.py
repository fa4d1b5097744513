"""What a person sees while a run trains."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
from tqdm import tqdm

from retrieval.run.directory import RunDirectory


class StepReport(pl.Callback):
    """Tells the run directory which step is done."""

    def __init__(self, directory: RunDirectory) -> None:
        self.directory = directory

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Called by Lightning."""
        self.directory.progress(trainer.global_step)


class ProgressBar(pl.Callback):
    """Steps done, time left and the latest logged loss, on standard error."""

    def __init__(self, steps: int, start: int) -> None:
        self._bar = tqdm(total=steps, initial=start, desc="training", unit="step", mininterval=0.5)

    def show(self, step: int, values: Any) -> None:
        """A metrics sink: the losses (and ω) of a logged step beside the bar."""
        names = {"train/loss": "loss", "train/omega": "ω"}
        self._bar.set_postfix({names[k]: f"{v:.3f}" for k, v in values.items() if k in names}, refresh=False)

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Called by Lightning."""
        self._bar.update(trainer.global_step - self._bar.n)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Leave the line as it is."""
        self._bar.close()
