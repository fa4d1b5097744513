"""``standard``: the baseline on in-domain pairs."""

from types import MappingProxyType

from retrieval.training.strategy import IN_DOMAIN, Strategy


class Standard(Strategy):
    """Ranking loss on in-domain pairs; the other passages of the batch are the negatives."""

    name = "standard"
    is_base = True
    reads = frozenset()
    eff = MappingProxyType({IN_DOMAIN: 1.0})
