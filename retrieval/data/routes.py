"""Rows of tokens moved to slots of a padded layout and back: gathered both ways, gradients too.

Blank tokens at the end of a batch stand in for padding: slots that are padding read the first of them, and
no slot is read into them, so that their gradient is zero. Gathers alone, there are no sums whose order, and
with it the result, could change from run to run.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


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
