"""The one LightningModule: encoder, strategy, optimiser and schedule."""

from __future__ import annotations

import math
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from retrieval.config import ModelConfig, TrainConfig
from retrieval.data.batches import Batch
from retrieval.models.encoder import DualEncoder
from retrieval.training.strategies.base import Losses, Strategy

BASE_LEARNING_RATE = 1e-3
BASE_WIDTH = 128


def learning_rate(train: TrainConfig, model: ModelConfig) -> float:
    """Peak learning rate: as configured, or ``1e-3 · (128 / hidden)^½`` from scratch, ``5e-5`` pretrained."""
    if train.lr is not None:
        return train.lr
    if model.init == "pretrained":
        return 5e-5
    return BASE_LEARNING_RATE * math.sqrt(BASE_WIDTH / model.hidden)


class RetrievalModule(pl.LightningModule):
    """Trains a :class:`DualEncoder` by whatever its strategy says.

    Dropout is seeded from (seed, step), so a resumed run draws what the uninterrupted one would.
    """

    def __init__(
        self, encoder: DualEncoder, strategy: Strategy, train: TrainConfig, peak_lr: float, seed: int
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.strategy = strategy
        self.train_config = train
        self.peak_lr = peak_lr
        self.seed = seed
        self.last: Losses | None = None
        """Losses of the latest step, detached; read by the callbacks."""

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of a step."""
        torch.manual_seed((self.seed << 32) + batch.step)
        losses = self.strategy.losses(self.encoder, batch)
        rob = None if losses.rob is None else losses.rob.detach()
        self.last = Losses(losses.total.detach(), losses.eff.detach(), rob)
        return losses.total

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Called by Lightning."""
        return batch.to(device)

    def configure_optimizers(self) -> Any:
        """AdamW with linear warm-up and linear decay to zero; no weight decay on biases and norms."""
        config = self.train_config
        groups: dict[float, list[torch.nn.Parameter]] = {config.weight_decay: [], 0.0: []}
        for parameter in self.encoder.parameters():
            if parameter.requires_grad:
                groups[config.weight_decay if parameter.ndim > 1 else 0.0].append(parameter)
        optimizer = torch.optim.AdamW(
            [{"params": params, "weight_decay": decay} for decay, params in groups.items() if params],
            lr=self.peak_lr,
            fused=True,
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _factor(self, step: int) -> float:
        config = self.train_config
        warmup = max(1, round(config.warmup * config.steps))
        if step < warmup:
            return (step + 1) / warmup
        return max(0.0, (config.steps - step) / max(1, config.steps - warmup))
