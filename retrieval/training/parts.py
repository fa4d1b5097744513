"""Some sequences of a batch as a batch of their own, for the passes that only they need."""

from __future__ import annotations

from dataclasses import dataclass, fields

from torch import Tensor

from retrieval.data.batches import Batch, Shard
from retrieval.data.layout import OnDevice, TokenBatch


@dataclass(frozen=True)
class Part(OnDevice):
    """Sequences taken from a batch.

    ``tokens``: they alone, in the caller's order; ``places``: int64 ``[Σ lengths]``, where each of their
    tokens, the blank ones excepted, lies in the whole batch.
    """

    tokens: TokenBatch
    places: Tensor
    shard: Shard | None = None
    """How the sequences are dealt out, where several processes have some of them each."""

    @classmethod
    def of(cls, batch: Batch, sequences: slice) -> Part:
        """This process's share of some sequences of a step, which is on the CPU."""
        if batch.shard is None:
            return cls(*batch.tokens.select(sequences))
        own, shard = batch.shard.part(sequences)
        return cls(*batch.tokens.select(own), shard)

    def put(self, into: Tensor, values: Tensor) -> Tensor:
        """``into`` ``[T, …]``, by token of the whole batch, with ``values`` at the tokens of the part."""
        return into.index_copy(0, self.places, values[: len(self.places)])


@dataclass(frozen=True, kw_only=True)
class AttackedBatch(Batch):
    """A batch of whose block ``attacked`` the queries and the passages are at hand as parts."""

    attacked: str
    queries: Part
    passages: Part

    @classmethod
    def of(cls, batch: Batch, block: str) -> AttackedBatch:
        """``batch`` (on the CPU) with the parts of a block."""
        place = batch.blocks[block]
        whole = {field.name: getattr(batch, field.name) for field in fields(Batch)}
        queries, passages = (Part.of(batch, part) for part in (place.queries, place.passages))
        return cls(**whole, attacked=block, queries=queries, passages=passages)
