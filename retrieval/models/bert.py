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
    spans = [
        positions[: group.width].expand(group.count, -1, -1).reshape(-1, positions.shape[1])
        for group in batch.groups
    ]
    embedded = words + torch.cat(spans)
    norm = tables.LayerNorm
    embedded = F.layer_norm(embedded, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
    return F.dropout(embedded, tables.dropout.p, backbone.training).to(dtype)


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
    attended = F.dropout(_linear(attention.output.dense, context), attention.output.dropout.p, training)
    hidden = _add_norm(attention.output.LayerNorm, attended, hidden)
    wide = F.gelu(_linear(layer.intermediate.dense, hidden))
    narrow = F.dropout(_linear(output.dense, wide), output.dropout.p, training)
    return _add_norm(output.LayerNorm, narrow, hidden)


def _attend(
    attention: Any, hidden: Tensor, batch: TokenBatch, masks: list[Tensor | None], training: bool
) -> Tensor:
    parts = (attention.query, attention.key, attention.value)
    weight = torch.cat([part.weight for part in parts]).to(hidden.dtype)
    bias = torch.cat([part.bias for part in parts]).to(hidden.dtype)
    projected = F.linear(hidden, weight, bias)
    heads = attention.num_attention_heads
    dropout = attention.dropout.p if training else 0.0
    contexts = []
    for group, mask in zip(batch.groups, masks, strict=True):
        view = projected[group.start : group.stop].view(group.count, group.width, 3, heads, -1)
        contexts.append(attention_over(view, mask, dropout).reshape(group.count * group.width, -1))
    return torch.cat(contexts)


def attention_over(projected: Tensor, mask: Tensor | None, dropout: float) -> Tensor:
    """Attention within the sequences of a group.

    ``projected``: ``[n, width, 3, heads, d]`` (query, key, value); ``mask``: additive, ``[n, 1, 1, width]``.
    Returns ``[n, width, heads, d]``. On the CPU in bf16 two batched matrix products with an fp32
    softmax between them: PyTorch's fused kernel has a backward pass some 5-10 times slower there.
    """
    count, width, _, heads, size = projected.shape
    stacked = projected.permute(2, 0, 3, 1, 4)
    if projected.device.type != "cpu" or projected.dtype != torch.bfloat16:
        query, key, value = stacked
        context = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)
        return context.transpose(1, 2)
    query, key, value = stacked.reshape(3, count * heads, width, size)
    scores = torch.bmm(query, key.transpose(1, 2)).float() * size**-0.5
    if mask is not None:
        scores = (scores.view(count, heads, width, width) + mask).view_as(scores)
    weights = F.dropout(torch.softmax(scores, -1).to(projected.dtype), dropout, dropout > 0)
    return torch.bmm(weights, value).view(count, heads, width, size).transpose(1, 2)
