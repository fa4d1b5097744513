"""Some sequences of a batch as a batch of their own, for the passes that only they need."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from retrieval.data.batches import Batch, Shard
from retrieval.data.layout import TokenBatch


@dataclass(frozen=True)
class Part:
    """Sequences taken from a batch.

    ``tokens``: they alone, in the caller's order; ``places``: int64 ``[Σ lengths]``, where each of their
    tokens, the blank ones excepted, lies in the whole batch.
    """

    tokens: TokenBatch
    places: Tensor
    shard: Shard | None = None
    """How the sequences are dealt out, where several processes have some of them each."""

    @classmethod
    def of(cls, whole: TokenBatch, sequences: slice | Tensor, shard: Shard | None = None) -> Part:
        """The part of ``whole`` (on the CPU) at ``sequences`` of the caller's order."""
        return cls(*whole.select(sequences), shard)

    @classmethod
    def of_batch(cls, batch: Batch, sequences: slice) -> Part:
        """This process's share of some sequences of a step."""
        if batch.shard is None:
            return cls.of(batch.tokens, sequences)
        own, shard = batch.shard.part(sequences)
        return cls.of(batch.tokens, own, shard)

    def put(self, into: Tensor, values: Tensor) -> Tensor:
        """``into`` ``[T, …]``, by token of the whole batch, with ``values`` at the tokens of the part."""
        return into.index_copy(0, self.places, values[: len(self.places)])

    def to(self, device: torch.device | str) -> Part:
        """The same on another device."""
        shard = self.shard and replace(self.shard, order=self.shard.order.to(device, non_blocking=True))
        return Part(self.tokens.to(device), self.places.to(device, non_blocking=True), shard)


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
        queries, passages = (Part.of_batch(batch, part) for part in (place.queries, place.passages))
        return cls(**whole, attacked=block, queries=queries, passages=passages)

    def to(self, device: torch.device | str) -> AttackedBatch:
        """The same on another device."""
        moved = Batch.to(self, device)
        whole = {field.name: getattr(moved, field.name) for field in fields(Batch)}
        return replace(self, **whole, queries=self.queries.to(device), passages=self.passages.to(device))
