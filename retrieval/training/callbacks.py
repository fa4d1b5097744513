"""Lightning callbacks: ω control, metrics, checkpoints, progress, and stopping on a signal."""

from __future__ import annotations

import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from tqdm import tqdm

from retrieval.data.batches import Batch
from retrieval.errors import TrainingError
from retrieval.models.flops import Work
from retrieval.run.directory import RunDirectory
from retrieval.training.checkpoints import Checkpoints
from retrieval.training.cost import Spent
from retrieval.training.interpolation import Measure
from retrieval.training.module import RetrievalModule
from retrieval.training.objective import Objective
from retrieval.training.omega.controller import OmegaController
from retrieval.training.strategy import EFF, ROB

BOTH, MEASURING = "both", "measuring"

Sink = Callable[[int, Mapping[str, float]], None]
"""Receives ``(step, values)`` of a logged step."""


class OmegaCallback(pl.Callback):
    """Updates ω at every optimisation step; its state is part of the checkpoint.

    ``measure``: dev losses, for a rule that asks for them every so many steps.
    """

    def __init__(self, controller: OmegaController, measure: Measure | None = None) -> None:
        self.controller, self.measure = controller, measure

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Bring ω to the model's device: a step never waits for the host."""
        self.controller.to(pl_module.device)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """ω_t → ω_{t+1} from the losses of this step, then from dev losses where they are due."""
        assert isinstance(pl_module, RetrievalModule)
        losses = pl_module.last
        assert losses is not None
        self.controller.update(losses.eff, losses.rob)
        if self.measure is not None and trainer.global_step % self.controller.config.measure_every == 0:
            self.controller.measure(trainer.global_step, *self.measure())

    def state_dict(self) -> dict[str, Any]:
        """ω, the averages and the distance."""
        return self.controller.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue a resumed run's ω."""
        self.controller.load_state_dict(state_dict)


class RecalibrationCallback(pl.Callback):
    """Measures both losses on dev pairs every so many steps and corrects the averages that ω follows.

    ``batch``: dev pairs of :func:`retrieval.training.streams.dev_streams`, on the CPU. Runs after
    the update of ω and before the metrics are logged.
    """

    def __init__(
        self,
        objective: Objective,
        controller: OmegaController,
        batch: Batch,
        every: int,
        metrics: MetricsCallback,
    ) -> None:
        self.objective, self.controller = objective, controller
        self.batch = objective.prepare(batch)
        self.every = every
        self.metrics = metrics

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Bring the dev pairs to the model's device."""
        self.batch = self.batch.to(pl_module.device)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """At every so many steps: contrastive entropy of the dev pairs, without dropout."""
        if trainer.global_step % self.every:
            return
        assert isinstance(pl_module, RetrievalModule)
        start = time.perf_counter()
        pl_module.encoder.eval()
        with torch.no_grad():
            losses = self.objective.losses(pl_module.encoder, self.batch, 0)
        pl_module.encoder.train()
        assert losses.eff is not None
        assert losses.rob is not None
        self.controller.recalibrate(trainer.global_step, losses.eff, losses.rob)
        self.metrics.measured(losses.work, time.perf_counter() - start)


class MetricsCallback(pl.Callback):
    """Hands the mean losses since the last logged step to the sinks and stops on a loss that is not finite.

    Each mean is over the steps that measured the loss. Losses are summed on the device and read once per
    logged step. Pairs and work are counted by the term of the loss that they served.
    """

    def __init__(self, every: int, sinks: list[Sink]) -> None:
        self.every = every
        self.sinks = sinks
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}
        """Steps of the open interval that measured each loss."""
        self.spent = {name: Spent() for name in (EFF, ROB, BOTH, MEASURING)}
        """By the term that a step minimised, ``both`` where it was the weighted sum, and of dev losses."""
        self.seconds = 0.0
        self.measuring_seconds = 0.0
        """Part of ``seconds`` that went into dev losses."""
        self._mark: tuple[float, int] | None = None

    @property
    def work(self) -> Work:
        """All work so far."""
        return sum((spent.work for spent in self.spent.values()), Work())

    @property
    def pairs_seen(self) -> int:
        """Pairs trained on so far."""
        return sum(spent.pairs for name, spent in self.spent.items() if name != MEASURING)

    def measured(self, work: Work, seconds: float) -> None:
        """Count what dev losses took."""
        self.spent[MEASURING] += Spent(work=work)
        self.measuring_seconds += seconds

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._mark = (time.perf_counter(), self.pairs_seen)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Accumulate; at a logged step, report."""
        assert isinstance(pl_module, RetrievalModule)
        assert pl_module.last is not None
        losses = pl_module.last
        terms = {"loss": losses.total, "loss_eff": losses.eff, "loss_rob": losses.rob}
        terms |= {f"loss_{name}": value for name, value in losses.blocks.items()}
        terms["regularisation"] = losses.regularisation
        for name, value in terms.items():
            if value is not None:
                previous = self.sums.get(name)
                self.sums[name] = value.clone() if previous is None else previous.to(value.device) + value
                self.counts[name] = self.counts.get(name, 0) + 1
        self.spent[batch.term or BOTH] += Spent.of_step(batch, losses.work)
        step = trainer.global_step
        if step % self.every == 0 or step >= (trainer.max_steps or 0):
            self._report(step, trainer, pl_module)

    def _report(self, step: int, trainer: pl.Trainer, module: RetrievalModule) -> None:
        values = {f"train/{name}": float(total) / self.counts[name] for name, total in self.sums.items()}
        self.sums, self.counts = {}, {}
        if not all(math.isfinite(value) for value in values.values()):
            raise TrainingError("LOSS_NOT_FINITE", f"not finite at step {step}: {values}")
        values |= module.objective.logged()
        values["train/lr"] = trainer.optimizers[0].param_groups[0]["lr"]
        now = time.perf_counter()
        if self._mark is not None:
            since, pairs = self._mark
            self.seconds += now - since
            values["train/pairs_per_second"] = (self.pairs_seen - pairs) / max(now - since, 1e-9)
        self._mark = (now, self.pairs_seen)
        for sink in self.sinks:
            sink(step, values)

    def state_dict(self) -> dict[str, Any]:
        """Sums of the open interval and totals so far, so that a resumed run logs the same values."""
        sums = {name: value.detach().cpu() for name, value in self.sums.items()}
        spent = {name: value.to_list() for name, value in self.spent.items()}
        names = ("counts", "seconds", "measuring_seconds")
        return {"sums": sums, "spent": spent, **{name: getattr(self, name) for name in names}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue a resumed run's sums."""
        for name, value in state_dict.items():
            if name == "spent":
                value = {term: Spent.from_list(numbers) for term, numbers in value.items()}
            setattr(self, name, value)


class CheckpointCallback(pl.Callback):
    """Writes the checkpoint every so many steps, but not more often than ``min_seconds``."""

    def __init__(self, checkpoints: Checkpoints, every: int, min_seconds: float = 0.0) -> None:
        self.checkpoints = checkpoints
        self.every = every
        self.min_seconds = min_seconds
        self._last = time.monotonic()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Save when it is due; the last step is always saved, so that evaluation can be resumed."""
        step = trainer.global_step
        due = step % self.every == 0 and time.monotonic() - self._last >= self.min_seconds
        if due or step == trainer.max_steps:
            self.checkpoints.save(trainer)
            self._last = time.monotonic()


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


class StopCallback(pl.Callback):
    """On SIGTERM or the first Ctrl-C: finish the step, save, leave; the second Ctrl-C leaves at once."""

    def __init__(self, checkpoints: Checkpoints) -> None:
        self.checkpoints = checkpoints
        self.received: int | None = None
        # Before Lightning's, which are no longer heard once its training is over.
        self._before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Install the handlers (Lightning has set its own by now)."""
        if threading.current_thread() is threading.main_thread():
            for number in self._before:
                signal.signal(number, self._handle)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Save and leave when a signal came."""
        if self.received is not None:
            self.checkpoints.save(trainer)
            raise Stopped(self.received)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Give the handlers back: a signal ends the evaluation at once, which a resume repeats."""
        if threading.current_thread() is threading.main_thread():
            for number, handler in self._before.items():
                signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None and number == signal.SIGINT:
            raise Stopped(number)  # Lightning answers KeyboardInterrupt with the exit status of a failure
        self.received = number
        print("stopping after this step; Ctrl-C again stops now", file=sys.stderr)


class Stopped(SystemExit):
    """The run was asked to stop; exit status 128 + signal."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
