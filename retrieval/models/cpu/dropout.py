"""Dropout whose mask costs little on a CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

_LEVELS = 2**16
_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Of the same size, by bytes."""
_BLOCK = 2**18
"""Elements whose random bits are drawn in one go, half a MiB of them, which stays in the cache."""


def dropout(x: Tensor, p: float) -> Tensor:
    """``x`` with a share ``p`` of its elements zeroed and the others divided by the share kept.

    On the CPU one 64-bit random number decides four elements: several times as fast as PyTorch's own dropout,
    which draws a number for each element. ``p`` is rounded to a multiple of 2⁻¹⁶ there, neither 0 nor 1.
    Follows ``torch.manual_seed``.
    """
    if p == 0:
        return x
    if x.device.type != "cpu" or p == 1:
        return F.dropout(x, p)
    own: Tensor = _Kept.apply(x, keep_mask(x.shape, p, x.dtype))  # type: ignore[no-untyped-call]
    return own * scale_kept(p)


def scale_kept(p: float) -> float:
    """The factor on what dropout keeps; products take it along for nothing."""
    return _LEVELS / (_LEVELS - _dropped_levels(p)) if p > 0 else 1.0


def keep_mask(shape: torch.Size, p: float, dtype: torch.dtype) -> Tensor:
    """Which elements of type ``dtype`` dropout keeps: all bits of an integer of their size, or none.

    ``p``: strictly between 0 and 1. One thread draws: a second one gains nothing beside those of PyTorch.
    """
    mask = torch.empty(shape, dtype=_INTEGERS[dtype.itemsize])
    random = np.random.SFC64(int(torch.randint(2**63 - 1, (1,))))
    least = _dropped_levels(p) - _LEVELS // 2
    for part in torch.split(mask.view(-1), _BLOCK):
        numbers = torch.from_numpy(random.random_raw((len(part) + 3) // 4).view(np.int16))
        part.copy_(numbers[: len(part)].ge_(least).neg_())
    return mask


def kept(x: Tensor, mask: Tensor) -> Tensor:
    """What ``mask`` keeps of ``x``, without the factor; no gradient is recorded.

    A product with zeros and ones takes 1.5 to 3 times as long in bfloat16 on values that left the cache. What
    is dropped is 0 even if it was not finite.
    """
    return (x.view(mask.dtype) & mask).view(x.dtype)


def keep_(x: Tensor, mask: Tensor) -> Tensor:
    """:func:`kept` in the place of ``x``."""
    x.view(mask.dtype).bitwise_and_(mask)
    return x


class _Kept(torch.autograd.Function):
    """:func:`kept`, which is linear, with its gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mask: Tensor) -> Tensor:
        ctx.save_for_backward(mask)
        return kept(x, mask)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return _Kept.apply(gradients[0], ctx.saved_tensors[0]), None  # type: ignore[no-untyped-call]


def _dropped_levels(p: float) -> int:
    return min(max(round(p * _LEVELS), 1), _LEVELS - 1)
