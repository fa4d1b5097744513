"""Forward pass of a BERT backbone over the grouped layout, with the weights of ``transformers``.

The modules of :class:`transformers.BertModel` keep the parameters, their names and their file format;
only the order of the work is ours. Parameters stay fp32; with ``dtype=torch.bfloat16`` each is cast
once a forward, activations are bf16 and gradients come back as fp32.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import BertModel

from retrieval.models.attention import grouped_attention
from retrieval.models.dropout import dropout
from retrieval.models.layout import TokenBatch


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


def forward(
    backbone: BertModel, batch: TokenBatch, dtype: torch.dtype, offset: Tensor | None = None
) -> Tensor:
    """Last hidden states, ``[T, hidden]`` in ``dtype``, for the tokens of a grouped batch.

    ``offset`` (``[T, hidden]``) is added to the word embeddings: the point where an adversary acts.
    """
    training = backbone.training
    hidden = _embed(backbone, batch, dtype, offset)
    masks = [_attention_bias(batch, index, dtype) for index in range(len(batch.groups))]
    for layer in backbone.encoder.layer:
        hidden = _layer(layer, hidden, batch, masks, training)
    return hidden


def _embed(backbone: BertModel, batch: TokenBatch, dtype: torch.dtype, offset: Tensor | None) -> Tensor:
    tables = backbone.embeddings
    words = F.embedding(batch.ids, tables.word_embeddings.weight)
    if offset is not None:
        words = words + offset
    positions = tables.position_embeddings.weight + tables.token_type_embeddings.weight[0]
    missing = max(group.width for group in batch.groups) - len(positions)
    if missing > 0:  # widths are rounded up: what lies beyond the last position is padding
        positions = torch.cat([positions, positions[-1:].expand(missing, -1)])
    spans = [
        positions[: group.width].expand(group.count, -1, -1).reshape(-1, positions.shape[1])
        for group in batch.groups
    ]
    embedded = words + torch.cat(spans)
    norm = tables.LayerNorm
    embedded = F.layer_norm(embedded, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
    return dropout(embedded.to(dtype), tables.dropout.p, backbone.training)


def _attention_bias(batch: TokenBatch, index: int, dtype: torch.dtype) -> Tensor | None:
    group = batch.groups[index]
    if not group.padded:
        return None
    mask = batch.mask(group)[:, None, None, :]
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, float("-inf"))


def _linear(module: nn.Linear, x: Tensor) -> Tensor:
    return F.linear(x, module.weight.to(x.dtype), module.bias.to(x.dtype))


def _add_norm(norm: nn.LayerNorm, x: Tensor, residual: Tensor) -> Tensor:
    weight, bias = norm.weight.to(x.dtype), norm.bias.to(x.dtype)
    return F.layer_norm(x + residual, norm.normalized_shape, weight, bias, norm.eps)


def _layer(
    layer: Any, hidden: Tensor, batch: TokenBatch, masks: list[Tensor | None], training: bool
) -> Tensor:
    attention, output = layer.attention, layer.output
    context = _attend(attention.self, hidden, batch, masks, training)
    attended = dropout(_linear(attention.output.dense, context), attention.output.dropout.p, training)
    hidden = _add_norm(attention.output.LayerNorm, attended, hidden)
    wide = F.gelu(_linear(layer.intermediate.dense, hidden))
    narrow = dropout(_linear(output.dense, wide), output.dropout.p, training)
    return _add_norm(output.LayerNorm, narrow, hidden)


def _attend(
    attention: Any, hidden: Tensor, batch: TokenBatch, masks: list[Tensor | None], training: bool
) -> Tensor:
    heads = attention.num_attention_heads
    projected = F.linear(hidden, *_query_key_value(attention, hidden.dtype))
    p = attention.dropout.p if training else 0.0
    if projected.device.type == "cpu" and projected.dtype == torch.bfloat16:
        return grouped_attention(projected, batch.groups, masks, heads, p)
    contexts = []
    for group, part, mask in zip(batch.groups, batch.split(projected), masks, strict=True):
        view = part.view(group.count, group.width, 3, heads, -1)
        query, key, value = view.permute(2, 0, 3, 1, 4)
        context = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=p, scale=1.0)
        contexts.append(context.transpose(1, 2).reshape(group.count * group.width, -1))
    return torch.cat(contexts)


def _query_key_value(attention: Any, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """One weight and bias for all three; queries come out divided by the root of a head's size.

    Scaling the weight costs less than scaling the scores, and is exact where the root is a power of two.
    """
    scale = attention.attention_head_size**-0.5
    query, *others = (attention.query, attention.key, attention.value)
    weight = torch.cat([query.weight * scale, *(part.weight for part in others)])
    bias = torch.cat([query.bias * scale, *(part.bias for part in others)])
    return weight.to(dtype), bias.to(dtype)
