"""``standard``: in-domain pairs with in-batch negatives, the baseline."""

from __future__ import annotations

from retrieval.training.strategy import IN_DOMAIN, Mixture, Strategy


class Standard(Strategy):
    """Ranking loss on in-domain pairs; the other passages of the batch are the negatives."""

    name = "standard"
    is_base = True

    @property
    def eff(self) -> Mixture:
        """In-domain pairs."""
        return {IN_DOMAIN: 1.0}
