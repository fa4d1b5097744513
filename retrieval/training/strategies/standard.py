"""``standard``: in-domain pairs with in-batch negatives, the baseline."""

from __future__ import annotations

from retrieval.data.batches import Batch, Stream
from retrieval.models.encoder import DualEncoder
from retrieval.training.strategies.base import EFF, Losses, Strategy, TrainingData, block_loss


class Standard(Strategy):
    """Ranking loss on in-domain pairs; the other passages of the batch are the negatives."""

    name = "standard"

    def streams(self, data: TrainingData, batch_size: int) -> tuple[Stream, ...]:
        """All pairs of the step from the in-domain collection."""
        return (Stream(EFF, (data.in_domain,), batch_size, key=0),)

    def losses(self, encoder: DualEncoder, batch: Batch) -> Losses:
        """One term."""
        loss = block_loss(encoder(batch.tokens), batch, EFF)
        return Losses(total=loss, eff=loss)
