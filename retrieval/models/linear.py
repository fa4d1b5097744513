"""Linear layers with what follows them: one pass through memory where the processor's library can do it.

Without gradients, in bfloat16 on a CPU, bias, GELU and residual are applied by oneDNN while a product's
result is still in the registers. These operations of PyTorch are those that its own compiler calls; they have
no gradients and, being private, may be missing. The composition then gives the same to the rounding of
bfloat16.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

FUSED: bool = torch._C._has_mkldnn and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``x·Wᵀ + b``: ``[T, in]`` to ``[T, out]``."""
    if _fuses(x):
        fused: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
        return fused
    return F.linear(x, weight, bias)


def linear_gelu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``gelu(x·Wᵀ + b)``, the exact GELU."""
    if _fuses(x):
        fused: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "gelu", [], "none")
        return fused
    return F.gelu(F.linear(x, weight, bias))


def linear_add(x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor) -> Tensor:
    """``x·Wᵀ + b + residual``."""
    if _fuses(x):
        fused: Tensor = torch.ops.mkldnn._linear_pointwise.binary(x, residual, weight, bias, "add")
        return fused
    return F.linear(x, weight, bias) + residual


def _fuses(x: Tensor) -> bool:
    return FUSED and x.device.type == "cpu" and x.dtype == torch.bfloat16 and not torch.is_grad_enabled()
