"""Linear layers with what follows them, and their gradients: few passes through memory on a CPU.

In bfloat16 bias, GELU and residual are applied by oneDNN while a product's result is still in the registers.
These operations of PyTorch are those that its own compiler calls: they record no gradients and, being
private, may be missing. The composition then gives the same to the rounding of bfloat16.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from retrieval.data.layout import TOKEN_MULTIPLE

FUSED: bool = (
    torch._C._has_mkldnn
    and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    and hasattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported")
    and torch.ops.mkldnn._is_mkldnn_bf16_supported()
)

LEAST_CHANNELS = 256
"""Results of a layer from which on a convolution gives its gradients sooner than a product and a sum do."""

LEAST_TURNED = 768
"""Results from which on a transposed copy does it sooner still, where a layer has more inputs."""

LEAST_ROWS = 16
"""Rows of the smallest block that the processor multiplies; a product with one row takes longer."""

_TURNED_ROWS = 64
"""Rows that are transposed at a time."""


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


def input_gradient(gradient: Tensor, weight: Tensor, residual: Tensor) -> Tensor:
    """``gradient·W + residual``, for ``gradient`` ``[T, out]`` of a layer's result: ``[T, in]``."""
    if _fuses(gradient):
        fused: Tensor = torch.ops.mkldnn._linear_pointwise.binary(gradient, residual, weight.t(), None, "add")
        return fused
    return torch.addmm(residual, gradient, weight)


def scaled_product(left: Tensor, right: Tensor, scale: float) -> Tensor:
    """``scale·left·right``, of two matrices; the factor is applied to the sums in the registers."""
    return torch.addmm(left.new_empty(1), left, right, beta=0, alpha=scale)


def weight_gradients(gradient: Tensor, x: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Gradients of weight and bias of a linear layer, ``[out, in]`` and ``[out]``.

    ``scale·gradient``: ``[T, out]``, of the result; ``x``: ``[T, in]``; T: a multiple of ``TOKEN_MULTIPLE``.

    For ``gradientᵀ·x`` oneDNN copies the transpose at half the speed of the layer's other products, so in
    bfloat16 larger layers go one of two ways around it.
    """
    out, size = gradient.shape[1], x.shape[1]
    if not _fuses(x) or out < LEAST_CHANNELS:
        return by_product(gradient, x, scale)
    if LEAST_TURNED <= out < size:
        return by_transpose(gradient, x, scale)
    return by_convolution(gradient, x, scale)


def by_product(gradient: Tensor, x: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """:func:`weight_gradients` as a product and a sum."""
    return scaled_product(gradient.t(), x, scale), gradient.sum(0).mul_(scale)


def by_convolution(gradient: Tensor, x: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """:func:`weight_gradients` as those of a 1 × 1 convolution over images of one row: the same sums.

    Its kernel transposes blocks in the cache and sums the bias's gradient along the way.
    """
    out, size = gradient.shape[1], x.shape[1]
    wanted = [False, True, True]
    fixed = ([1, 1], [0, 0], [1, 1], False, [0, 0], 1)  # stride, padding, dilation, transposed, …, groups
    _, of_weight, of_bias = torch.ops.aten.convolution_backward(
        _images(gradient), _images(x), x.new_empty(out, size, 1, 1), [out], *fixed, wanted
    )
    if scale != 1:
        of_weight.mul_(scale)
        of_bias.mul_(scale)
    return of_weight.view(out, size), of_bias


def by_transpose(gradient: Tensor, x: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """:func:`weight_gradients` by a transposed copy, little beside the product of a narrow gradient."""
    rows = gradient.new_ones(LEAST_ROWS, len(gradient))  # sums in fp32, sooner than a sum makes them
    return scaled_product(_turned(gradient), x, scale), scaled_product(rows, gradient, scale)[0]


def _turned(rows: Tensor) -> Tensor:
    """``rowsᵀ`` of ``[T, c]``, contiguous.

    Blocks of rows stay in the cache, so this takes a fifth to a half of what a copy at once takes.
    """
    turned = rows.new_empty(rows.shape[::-1])
    for start in range(0, len(rows), _TURNED_ROWS):
        turned[:, start : start + _TURNED_ROWS].copy_(rows[start : start + _TURNED_ROWS].t())
    return turned


def _images(rows: Tensor) -> Tensor:
    """``[T, c]`` as images of ``TOKEN_MULTIPLE`` pixels and c channels, in place."""
    return rows.view(-1, 1, TOKEN_MULTIPLE, rows.shape[1]).permute(0, 3, 1, 2)


def _fuses(x: Tensor) -> bool:
    return FUSED and x.device.type == "cpu" and x.dtype == torch.bfloat16 and not torch.is_grad_enabled()
