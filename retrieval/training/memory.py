"""Keeps the memory of activations from step to step while training on the CPU, but no more than they take."""

from typing import Any

import psutil
import pytorch_lightning as pl

from retrieval.run.heap import HugePages, heap_holder, heap_trimmer

SETTLED_STEPS = 3
"""Steps after which weights, gradients, optimiser state and one step's activations are all there."""

FIRST_STEPS = 16
"""Steps after which memory moves into huge pages for the first time. That takes about a second, which a run
of a few steps would not win back."""

GROWTH, ALLOWANCE = 1.25, 256 * 2**20
"""Resident memory may grow to this multiple of the settled level, plus these bytes."""


class HeapCallback(pl.Callback):
    """Keeps the heap while training, and trims it when resident memory has outgrown the first steps.

    Blocks that are mapped anew at every step cost a BERT-base step on two cores a sixth of its time. But
    every batch has another number of tokens, so blocks may fit the holes of earlier ones badly: with layouts
    of many shapes such a heap grew from 4 to 11 GB in 110 steps. A step after a trim takes half a second
    longer there, hence not at every step. Where the C library cannot do one or the other it is left out.
    """

    def __init__(self) -> None:
        self.trim = heap_trimmer()
        self.hold = heap_holder()
        self.huge = HugePages(FIRST_STEPS)
        self.process = psutil.Process()
        self.limit: float | None = None
        self.steps = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep freed blocks."""
        self._keep(pl_module, True)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Give everything back."""
        self._keep(pl_module, False)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Give everything back."""
        self._keep(pl_module, False)

    def _keep(self, module: pl.LightningModule, keep: bool) -> None:
        if self.trim is None or self.hold is None or module.device.type != "cpu":
            return
        self.hold(keep)
        if not keep:
            self.trim(0)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Compare resident memory with the limit set after the first steps of this process."""
        if self.trim is None or pl_module.device.type != "cpu":
            return
        self.steps += 1
        self.huge.round_done()
        if self.steps < SETTLED_STEPS:
            return
        resident = self.process.memory_info().rss
        if self.limit is None:
            self.limit = GROWTH * resident + ALLOWANCE
        elif resident > self.limit:
            self.trim(0)
            self.huge.again()
