"""``denoising``: hard negatives without the false ones."""

from retrieval.training.strategies.hard_negative import HardNegative


class Denoising(HardNegative):
    """Draws from a list without the teacher's suspects (RocketQA, arXiv 2010.08191, §3.3)."""

    name = "denoising"
    reads = frozenset({"hard", "denoise"})
    denoised = True
