"""``hard-negative``: the baseline with mined negatives beside those of the batch."""

from retrieval.training.strategies.standard import Standard


class HardNegative(Standard):
    """Each query brings passages that BM25, or a model, ranks high for it and that are not relevant."""

    name = "hard-negative"
    reads = frozenset({"hard"})

    @property
    def hard_negatives(self) -> int:
        """As configured."""
        return self.config.hard.count
