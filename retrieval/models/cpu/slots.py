"""From tokens to the slots of attention, by head, and back."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from retrieval.data.layout import Group, TokenBatch
from retrieval.data.routes import Route


@dataclass(frozen=True)
class HeadSlots:
    """What the layers of a forward pass share: routes to slots by head, and the scores' biases.

    The slots of a group by head, ``[count, heads, width]``, are consecutive rows of one head's size ``d``, so
    that batched products read them where they lie.
    """

    projections: Route
    """Query, key and value: tokens ``[T·3·heads, d]``, slots ``[3·S·heads, d]``."""
    contexts: Route
    """Tokens ``[T·heads, d]``, slots ``[S·heads, d]``."""
    groups: tuple[Group, ...]
    biases: tuple[Tensor | None, ...]
    """What is added to the scores of each group, ``[count, 1, 1, width]``: −∞ at padding."""
    heads: int

    @classmethod
    def of(cls, batch: TokenBatch, heads: int, dtype: torch.dtype) -> HeadSlots:
        """Of a batch, on its device."""
        head = torch.arange(heads, device=batch.ids.device)
        third = torch.arange(3, device=head.device)[:, None]

        def rows(factor: int) -> Tensor:
            """Of each slot by head, the row of its token, where every token has ``factor`` of them."""
            tokens = (
                batch.places[group.start : group.stop].view(-1, 1, group.width) for group in batch.groups
            )
            return torch.cat([(part * factor + head[:, None]).flatten() for part in tokens])

        # With heads before positions, a sequence begins `heads` times as far from the start.
        starts = (batch.slots - batch.positions) * heads + batch.positions
        slot = starts[:, None] + head * batch.widths[:, None]
        projections = Route(
            (third * heads + rows(3 * heads)).flatten(),
            (third * (len(batch.places) * heads) + slot[:, None, :]).flatten(),
            batch.tokens * 3 * heads,
        )
        contexts = Route(rows(heads), slot.flatten(), batch.tokens * heads)
        biases = tuple(_bias(batch, group, dtype) for group in batch.groups)
        return cls(projections, contexts, batch.groups, biases, heads)


def _bias(batch: TokenBatch, group: Group, dtype: torch.dtype) -> Tensor | None:
    if not group.padded:
        return None
    mask = batch.mask(group)[:, None, None, :]
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, float("-inf"))
