"""Forward pass of a BERT backbone over the packed layout, with the weights of ``transformers``.

The modules of :class:`transformers.BertModel` keep the parameters, their names and their file format;
only the order of the work is ours. Parameters stay fp32; with ``dtype=torch.bfloat16`` each is cast
once a forward, activations are bf16 and gradients come back as fp32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import BertModel

from retrieval.models.attention import attention
from retrieval.models.dropout import dropout
from retrieval.models.layout import TokenBatch
from retrieval.models.linear import linear, linear_add, linear_gelu
from retrieval.models.slots import HeadSlots


def supports(backbone: nn.Module) -> bool:
    """Whether :func:`forward` computes what the backbone itself would."""
    config = getattr(backbone, "config", None)
    return (
        isinstance(backbone, BertModel)
        and config is not None
        and config.hidden_act == "gelu"
        and not config.is_decoder
        and getattr(config, "position_embedding_type", "absolute") == "absolute"
    )


Pair: TypeAlias = tuple[Tensor, Tensor]
"""Weight and bias."""


@dataclass(frozen=True)
class LayerWeights:
    """Weights and biases of a layer in the type that it computes in."""

    query_key_value: Pair
    """All three at once; queries come out divided by the root of a head's size."""
    attended: Pair
    attended_norm: Pair
    wide: Pair
    narrow: Pair
    narrow_norm: Pair


def layer_weights(backbone: BertModel, dtype: torch.dtype) -> list[LayerWeights]:
    """Those of every layer; gradients reach the parameters."""

    def cast(module: Any) -> Pair:
        return module.weight.to(dtype), module.bias.to(dtype)

    layers: list[Any] = list(backbone.encoder.layer)
    return [
        LayerWeights(
            _query_key_value(layer.attention.self, dtype),
            cast(layer.attention.output.dense),
            cast(layer.attention.output.LayerNorm),
            cast(layer.intermediate.dense),
            cast(layer.output.dense),
            cast(layer.output.LayerNorm),
        )
        for layer in layers
    ]


def sum_norm(x: Tensor, residual: Tensor, norm: Pair, eps: float) -> Tensor:
    """Layer norm of the sum."""
    return F.layer_norm(x + residual, norm[0].shape, *norm, eps)


def linear_sum_norm(x: Tensor, dense: Pair, residual: Tensor, norm: Pair, eps: float) -> Tensor:
    """Layer norm of the sum of a linear layer and ``residual``."""
    return F.layer_norm(linear_add(x, *dense, residual), norm[0].shape, *norm, eps)


@dataclass(frozen=True)
class Operations:
    """Position-wise operations of a layer, as they are or compiled (:mod:`retrieval.models.compiling`)."""

    linear_gelu: Callable[[Tensor, Tensor, Tensor], Tensor] = linear_gelu
    sum_norm: Callable[[Tensor, Tensor, Pair, float], Tensor] = sum_norm
    linear_sum_norm: Callable[[Tensor, Pair, Tensor, Pair, float], Tensor] = linear_sum_norm


PLAIN = Operations()


def forward(
    backbone: BertModel,
    batch: TokenBatch,
    dtype: torch.dtype,
    offset: Tensor | None = None,
    weights: list[LayerWeights] | None = None,
    operations: Operations = PLAIN,
) -> Tensor:
    """Last hidden states, ``[T, hidden]`` in ``dtype``, for the tokens of a batch, blank ones among them.

    ``offset`` (``[T, hidden]``) is added to the word embeddings: the point where an adversary acts.
    ``weights``: what :func:`layer_weights` made of the present parameters, if they are at hand.
    """
    hidden = _embed(backbone, batch, dtype, offset)
    slots = HeadSlots.of(batch, int(backbone.config.num_attention_heads), dtype)
    for layer, own in zip(backbone.encoder.layer, weights or layer_weights(backbone, dtype), strict=True):
        hidden = _layer(layer, own, hidden, slots, backbone.training, operations)
    return hidden


def _embed(backbone: BertModel, batch: TokenBatch, dtype: torch.dtype, offset: Tensor | None) -> Tensor:
    tables = backbone.embeddings
    words = F.embedding(batch.ids, tables.word_embeddings.weight)
    if offset is not None:
        words = words + offset
    positions = tables.position_embeddings.weight + tables.token_type_embeddings.weight[0]
    embedded = words + F.embedding(batch.positions, positions)
    norm = tables.LayerNorm
    embedded = F.layer_norm(embedded, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
    return dropout(embedded.to(dtype), tables.dropout.p, backbone.training)


def _layer(
    layer: Any,
    own: LayerWeights,
    hidden: Tensor,
    slots: HeadSlots,
    training: bool,
    operations: Operations,
) -> Tensor:
    inner, output = layer.attention, layer.output
    projected = linear(hidden, *own.query_key_value)
    context = attention(projected, slots, inner.self.dropout.p if training else 0.0)
    hidden = _close(inner.output, own.attended, own.attended_norm, context, hidden, training, operations)
    wide = operations.linear_gelu(hidden, *own.wide)
    return _close(output, own.narrow, own.narrow_norm, wide, hidden, training, operations)


def _close(
    module: Any,
    dense: Pair,
    norm: Pair,
    x: Tensor,
    residual: Tensor,
    training: bool,
    operations: Operations,
) -> Tensor:
    """Linear layer, dropout, residual, layer norm: the end of both halves of a layer."""
    p, eps = module.dropout.p, module.LayerNorm.eps
    if training and p > 0:
        return operations.sum_norm(dropout(linear(x, *dense), p, training), residual, norm, eps)
    return operations.linear_sum_norm(x, dense, residual, norm, eps)


def _query_key_value(own: Any, dtype: torch.dtype) -> Pair:
    """Scaling the query's weight costs less than scaling the scores; exact if the root is a power of two."""
    scale = own.attention_head_size**-0.5
    query, *others = (own.query, own.key, own.value)
    weight = torch.cat([query.weight * scale, *(part.weight for part in others)])
    bias = torch.cat([query.bias * scale, *(part.bias for part in others)])
    return weight.to(dtype), bias.to(dtype)
