"""From tokens to the slots of attention's groups and back: rows are gathered both ways, gradients too.

Blank tokens at the end of a batch stand in for padding: slots that are padding read the first of them, and
no slot is read into them, so that their gradient is zero. Gathers alone, there are no sums whose order, and
with it the result, could change from run to run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from retrieval.data.layout import Group, TokenBatch


@dataclass(frozen=True)
class Route:
    """Between rows of tokens and rows of slots.

    ``into``: int64, for each row of a slot that of its token; ``out``: int64, for each row of a token that of
    its slot; ``end``: rows of tokens from here on are blank.
    """

    into: Tensor
    out: Tensor
    end: int

    def gathered(self, values: Tensor) -> Tensor:
        """Rows of slots, of ``values`` by token; no gradient is recorded."""
        return values.index_select(0, self.into)

    def returned(self, values: Tensor) -> Tensor:
        """Rows of tokens, of ``values`` by slot, blank ones zero; no gradient is recorded."""
        rows = values.index_select(0, self.out)
        rows[self.end :] = 0
        return rows

    def to_slots(self, values: Tensor) -> Tensor:
        """:meth:`gathered`; the gradient is :meth:`returned`."""
        rows: Tensor = _Moved.apply(values, self.gathered, self.returned)  # type: ignore[no-untyped-call]
        return rows

    def to_tokens(self, values: Tensor) -> Tensor:
        """:meth:`returned`; the gradient is :meth:`gathered`."""
        rows: Tensor = _Moved.apply(values, self.returned, self.gathered)  # type: ignore[no-untyped-call]
        return rows


class _Moved(torch.autograd.Function):
    """Rows moved ``there``, their gradients moved ``back``."""

    @staticmethod
    def forward(
        ctx: Any, values: Tensor, there: Callable[[Tensor], Tensor], back: Callable[[Tensor], Tensor]
    ) -> Tensor:
        ctx.back = back
        return there(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return ctx.back(gradients[0]), None, None


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


def sequence_slots(batch: TokenBatch) -> Route:
    """Tokens ``[T, …]``, slots ``[S, …]`` with each group as ``count`` × ``width`` consecutive rows."""
    return Route(batch.places, batch.slots, batch.tokens)


def _bias(batch: TokenBatch, group: Group, dtype: torch.dtype) -> Tensor | None:
    if not group.padded:
        return None
    mask = batch.mask(group)[:, None, None, :]
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, float("-inf"))
