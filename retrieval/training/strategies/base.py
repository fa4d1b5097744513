"""What a strategy is: which pairs a batch holds, which losses are computed, how they are weighted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from retrieval.config import StrategyConfig
from retrieval.data.batches import Batch, Stream, TrainingPairs
from retrieval.models.encoder import DualEncoder
from retrieval.training.losses import contrastive_loss

EFF, ROB = "eff", "rob"


@dataclass(frozen=True)
class TrainingData:
    """What a strategy may draw from."""

    in_domain: TrainingPairs
    robust: tuple[TrainingPairs, ...] = ()


@dataclass(frozen=True)
class Losses:
    """The terms of a step: 0-d fp32 tensors. ``total`` is what is minimised."""

    total: Tensor
    eff: Tensor
    rob: Tensor | None = None


class Strategy(ABC):
    """Optimisation strategy of a run; one instance per run."""

    name: str

    def __init__(self, config: StrategyConfig, seed: int) -> None:
        self.config = config
        self.seed = seed

    @property
    def base_name(self) -> str:
        """The strategy of the effectiveness loss."""
        return self.name

    @abstractmethod
    def streams(self, data: TrainingData, batch_size: int) -> tuple[Stream, ...]:
        """The pairs of a step for ``batch_size`` pairs of the baseline."""

    @abstractmethod
    def losses(self, encoder: DualEncoder, batch: Batch) -> Losses:
        """Encode a batch and compute the terms of the step."""

    def result(self) -> dict[str, Any]:
        """What the strategy adds to ``result.json``."""
        return {}


def block_loss(vectors: Tensor, batch: Batch, name: str) -> Tensor:
    """Contrastive loss of one block of a batch whose sequences were encoded to ``vectors`` ``[n, d]``."""
    block = batch.blocks[name]
    return contrastive_loss(vectors[block.queries], vectors[block.passages], block.labels, block.excluded)
