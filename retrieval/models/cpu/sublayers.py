"""The parts of a layer on a CPU: both sublayers and their norm, one operation and gradient each.

A layer is twice ``norm(x + dropout(sublayer(x)))``: attention, then feed-forward. With its gradient written
by hand, the residual and its gradient are added by the products themselves, and no copy of a bias or sum over
tokens is made on the way.
"""

from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from retrieval.models.cpu.attention import HeadSlots, attend, attend_backward
from retrieval.models.cpu.dropout import keep, keep_, keep_mask, scale_kept
from retrieval.models.cpu.linear import (
    LEAST_ROWS,
    input_gradient,
    linear,
    linear_add,
    linear_gelu,
    scaled_product,
    weight_gradients,
)

Pair: TypeAlias = tuple[Tensor, Tensor]
"""Weight and bias."""


def supports(x: Tensor) -> bool:
    """Whether these operations take ``x``."""
    return x.device.type == "cpu" and x.dtype in (torch.bfloat16, torch.float32)


def attended(
    x: Tensor, query_key_value: Pair, out: Pair, slots: HeadSlots, p_weights: float, p: float
) -> Tensor:
    """``x + dropout(linear(attention(linear(x))))``, ``[T, hidden]``.

    ``p_weights``: share of the attention weights to drop; ``p``: share of the sublayer's elements.
    """
    summed: Tensor = _Attended.apply(x, *query_key_value, *out, slots, p_weights, p)  # type: ignore[no-untyped-call]
    return summed


def fed_forward(x: Tensor, up: Pair, down: Pair, p: float) -> Tensor:
    """``x + dropout(linear(gelu(linear(x))))``, ``[T, hidden]``."""
    summed: Tensor = _FedForward.apply(x, *up, *down, p)  # type: ignore[no-untyped-call]
    return summed


def norm(x: Tensor, pair: Pair, eps: float) -> Tensor:
    """Layer norm of ``[T, hidden]`` with float32 weight and bias.

    Of bfloat16 PyTorch sums the gradients of weight and bias over the tokens in bfloat16, and is some 8 % off
    after 5,760 of them; here they are products, whose sums are fp32 (0.4 % off; 1 % where a token's mean is
    three times its standard deviation).
    """
    if x.dtype == torch.float32:
        return F.layer_norm(x, pair[0].shape, *pair, eps)
    normed: Tensor = _Norm.apply(x, *pair, eps)  # type: ignore[no-untyped-call]
    return normed


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        normed, mean, rstd = torch.native_layer_norm(x, weight.shape, weight, bias, eps)
        ctx.save_for_backward(x, weight, bias, mean, rstd)
        return normed

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        x, weight, bias, mean, rstd = ctx.saved_tensors
        gradient = gradient.contiguous()
        of_x, _, _ = torch.ops.aten.native_layer_norm_backward(
            gradient, x, weight.shape, mean, rstd, weight, bias, [True, False, False]
        )
        if not any(ctx.needs_input_grad[1:3]):
            return of_x, None, None, None
        # Σ gradient·(x − μ)/σ = Σ 1/σ·(gradient·x) − Σ μ/σ·gradient, and Σ 1·gradient
        by_token = x.new_ones(LEAST_ROWS, len(x))
        by_token[1], by_token[2] = rstd[:, 0], (mean * rstd)[:, 0]
        sums = (by_token @ gradient).float()
        of_weight = (by_token @ (gradient * x))[1] - sums[2]
        return of_x, of_weight, sums[0], None


class _Attended(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        in_weight: Tensor,
        in_bias: Tensor,
        out_weight: Tensor,
        out_bias: Tensor,
        slots: HeadSlots,
        p_weights: float,
        p: float,
    ) -> Tensor:
        context, saved = attend(linear(x, in_weight, in_bias), slots, p_weights)
        summed, mask = _added(context, out_weight, out_bias, x, p)
        ctx.save_for_backward(x, in_weight, out_weight, context, mask, *saved)
        ctx.slots, ctx.p_weights, ctx.p = slots, p_weights, p
        return summed

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        x, in_weight, out_weight, context, mask, *saved = ctx.saved_tensors
        of_output, scale = _kept(gradient, mask), scale_kept(ctx.p)
        of_context = scaled_product(of_output, out_weight, scale)
        of_projected = attend_backward(of_context, saved, ctx.slots, ctx.p_weights)
        into = _of_pair(ctx.needs_input_grad[1:3], of_projected, x)
        out = _of_pair(ctx.needs_input_grad[3:5], of_output, context, scale)
        return _to_input(of_projected, in_weight, gradient), *into, *out, None, None, None


class _FedForward(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        up_weight: Tensor,
        up_bias: Tensor,
        down_weight: Tensor,
        down_bias: Tensor,
        p: float,
    ) -> Tensor:
        if not any(ctx.needs_input_grad):
            active = linear_gelu(x, up_weight, up_bias)
            return _added(active, down_weight, down_bias, x, p)[0]
        up = linear(x, up_weight, up_bias)
        active = F.gelu(up)
        summed, mask = _added(active, down_weight, down_bias, x, p)
        ctx.save_for_backward(x, up_weight, down_weight, up, active, mask)
        ctx.p = p
        return summed

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        x, up_weight, down_weight, up, active, mask = ctx.saved_tensors
        of_output, scale = _kept(gradient, mask), scale_kept(ctx.p)
        of_up = torch.ops.aten.gelu_backward(scaled_product(of_output, down_weight, scale), up)
        into = _of_pair(ctx.needs_input_grad[1:3], of_up, x)
        out = _of_pair(ctx.needs_input_grad[3:5], of_output, active, scale)
        return _to_input(of_up, up_weight, gradient), *into, *out, None


def _added(
    x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor, p: float
) -> tuple[Tensor, Tensor | None]:
    """The end of a sublayer, added to the residual, and the mask of what dropout kept."""
    if p == 0:
        return linear_add(x, weight, bias, residual), None
    mask, result = keep_mask(residual.shape, p, residual.dtype), linear(x, weight, bias)
    # ``add`` would round the factor to bfloat16, so it is that of a product with ones, which is as fast.
    ones = result.new_ones(result.shape[1])
    return torch.addcmul(residual, keep_(result, mask), ones, value=scale_kept(p), out=result), mask


def _kept(gradient: Tensor, mask: Tensor | None) -> Tensor:
    gradient = gradient.contiguous()
    return gradient if mask is None else keep(gradient, mask)


def _of_pair(
    wanted: tuple[bool, ...], gradient: Tensor, x: Tensor, scale: float = 1.0
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of weight and bias, none of a pair that is not trained."""
    return weight_gradients(gradient, x, scale) if any(wanted) else (None, None)


def _to_input(gradient: Tensor, weight: Tensor, residual: Tensor) -> Tensor:
    """Gradient of a sublayer's input: by way of its first linear layer, and of the residual."""
    return input_gradient(gradient, weight, residual)
