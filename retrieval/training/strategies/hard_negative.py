"""``hard-negative`` and ``denoising``: the baseline with mined negatives beside those of the batch."""

from __future__ import annotations

from retrieval.training.strategies.standard import Standard


class HardNegative(Standard):
    """Each query brings passages that BM25, or a model, ranks high for it and that are not relevant."""

    name = "hard-negative"

    @property
    def hard_negatives(self) -> int:
        """As configured."""
        return self.config.hard.count


class Denoising(HardNegative):
    """Draws from a list without the teacher's suspects (RocketQA, arXiv 2010.08191, §3.3)."""

    name = "denoising"
    denoised = True
