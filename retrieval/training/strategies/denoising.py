"""``denoising``: hard negatives without the false ones (RocketQA, arXiv 2010.08191, §3.3)."""

from __future__ import annotations

from retrieval.training.strategies.hard_negative import HardNegative


class Denoising(HardNegative):
    """Differs from ``hard-negative`` in the list that is drawn from: the teacher's suspects are dropped."""

    name = "denoising"

    @property
    def denoised(self) -> bool:
        """Always."""
        return True
