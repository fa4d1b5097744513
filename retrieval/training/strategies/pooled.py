"""``pooled``: the baseline that has all the data, as one collection."""

from types import MappingProxyType

from retrieval.training.strategy import POOLED, Strategy


class Pooled(Strategy):
    """Every batch is drawn from all pairs together: each source gives in proportion to its number of pairs.

    The passages of a batch are candidates for each of its queries, whatever their source.
    """

    name = "pooled"
    reads = frozenset()
    eff = MappingProxyType({POOLED: 1.0})
