"""Gives memory that the C library holds but does not use back to the system while training on the CPU."""

from __future__ import annotations

from typing import Any

import psutil
import pytorch_lightning as pl

from retrieval.data.batches import Batch
from retrieval.hardware import heap_trimmer

SETTLED_STEPS = 3
"""Steps after which weights, gradients, optimiser state and one step's activations are all there."""

GROWTH, ALLOWANCE = 1.25, 256 * 2**20
"""Resident memory may grow to this multiple of the settled level, plus these bytes."""


class TrimCallback(pl.Callback):
    """Trims the heap when resident memory has outgrown the level of the first steps.

    Every batch has another number of tokens, so blocks of activations fit the holes of earlier ones badly:
    the heap of a BERT-base run with 4 GB in use grew to 11 GB in 110 steps. A step after a trim takes half
    a second longer there, hence not at every step. Without ``malloc_trim`` in the C library nothing is done.
    """

    def __init__(self) -> None:
        self.trim = heap_trimmer()
        self.process = psutil.Process()
        self.limit: float | None = None
        self.steps = 0

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Compare resident memory with the limit set after the first steps of this process."""
        if self.trim is None or pl_module.device.type != "cpu":
            return
        self.steps += 1
        if self.steps < SETTLED_STEPS:
            return
        resident = self.process.memory_info().rss
        if self.limit is None:
            self.limit = GROWTH * resident + ALLOWANCE
        elif resident > self.limit:
            self.trim(0)
