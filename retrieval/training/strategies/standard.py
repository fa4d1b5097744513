"""The baselines: ``standard`` on in-domain pairs, and ``pooled`` on all the data as one collection."""

from __future__ import annotations

from types import MappingProxyType

from retrieval.training.strategy import IN_DOMAIN, POOLED, Strategy


class Standard(Strategy):
    """Ranking loss on in-domain pairs; the other passages of the batch are the negatives."""

    name = "standard"
    is_base = True
    eff = MappingProxyType({IN_DOMAIN: 1.0})


class Pooled(Strategy):
    """Every batch is drawn from all pairs together: each source gives in proportion to its number of pairs.

    The passages of a batch are candidates for each of its queries, whatever their source.
    """

    name = "pooled"
    eff = MappingProxyType({POOLED: 1.0})
