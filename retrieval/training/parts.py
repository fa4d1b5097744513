"""Some sequences of a batch as a batch of their own, for the passes that only they need."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from retrieval.data.batches import Batch
from retrieval.models.layout import Group, TokenBatch


@dataclass(frozen=True)
class Part:
    """Sequences taken from a batch.

    ``tokens``: they alone, in the caller's order; ``places``: int64 ``[T]``, where each of their tokens lies
    in the whole batch.
    """

    tokens: TokenBatch
    places: Tensor

    @classmethod
    def of(cls, whole: TokenBatch, sequences: slice) -> Part:
        """The part of ``whole`` (on the CPU) at ``sequences`` of the caller's order; widths are kept."""
        members = whole.inverse[sequences].numpy()
        chosen = np.sort(members)
        groups, places = [], []
        first, start = 0, 0
        for group in whole.groups:
            inside = chosen[(chosen >= first) & (chosen < first + group.count)]
            first += group.count
            if len(inside):
                shortest = int(whole.lengths[int(inside[0])])
                groups.append(Group(start, len(inside), group.width, padded=shortest < group.width))
                starts = group.start + (inside - (first - group.count)) * group.width
                places.append((starts[:, None] + np.arange(group.width)).ravel())
                start = groups[-1].stop
        taken = torch.from_numpy(np.concatenate(places))
        lengths = whole.lengths[torch.from_numpy(chosen)]
        inverse = torch.from_numpy(np.searchsorted(chosen, members))
        tokens = TokenBatch(
            whole.ids[taken],
            lengths,
            inverse,
            tuple(groups),
            int(lengths.sum()),
            int(lengths.square().sum()),
        )
        return cls(tokens, taken)

    def to(self, device: torch.device | str) -> Part:
        """The same on another device."""
        return Part(self.tokens.to(device), self.places.to(device, non_blocking=True))


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
        queries, passages = (Part.of(batch.tokens, part) for part in (place.queries, place.passages))
        return cls(**whole, attacked=block, queries=queries, passages=passages)

    def to(self, device: torch.device | str) -> AttackedBatch:
        """The same on another device."""
        moved = Batch.to(self, device)
        whole = {field.name: getattr(moved, field.name) for field in fields(Batch)}
        return AttackedBatch(
            **whole,
            attacked=self.attacked,
            queries=self.queries.to(device),
            passages=self.passages.to(device),
        )
