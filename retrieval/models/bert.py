"""Forward pass of a BERT backbone over the packed layout, with the weights of ``transformers``.

The modules of :class:`transformers.BertModel` keep the parameters, their names and their file format;
only the order of the work is ours. Parameters stay fp32; with ``dtype=torch.bfloat16`` each is cast
once a forward, activations are bf16 and gradients come back as fp32.
"""

from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import BertModel

from retrieval.data.layout import TokenBatch
from retrieval.models import flash
from retrieval.models.adapters import folds, whole_weight
from retrieval.models.cpu import sublayers
from retrieval.models.cpu.attention import HeadSlots, attention
from retrieval.models.cpu.dropout import dropout
from retrieval.models.cpu.sublayers import Pair

Places: TypeAlias = HeadSlots | flash.Sequences
"""Where attention finds the sequences of a batch."""


def supports(backbone: nn.Module) -> bool:
    """Whether :func:`forward` computes what the backbone itself would."""
    config = getattr(backbone, "config", None)
    return (
        isinstance(backbone, BertModel)
        and config is not None
        and config.hidden_act == "gelu"
        and not config.is_decoder
        and getattr(config, "position_embedding_type", "absolute") == "absolute"
        and folds(backbone)
    )


@dataclass(frozen=True)
class LayerWeights:
    """Weights and biases of a layer in the type that it computes in."""

    query_key_value: Pair
    """All three at once; queries come out divided by the root of a head's size."""
    attended: Pair
    attended_norm: Pair
    up: Pair
    down: Pair
    down_norm: Pair


def layer_weights(backbone: BertModel, dtype: torch.dtype) -> list[LayerWeights]:
    """Those of every layer; gradients reach the parameters, unless they are disabled here."""

    def cast(module: Any, to: torch.dtype = dtype) -> Pair:
        return _fixed(whole_weight(module).to(to)), _fixed(module.bias.to(to))

    # On a CPU statistics and their weights stay fp32; a GPU takes them in one type with the activations.
    norms = torch.float32 if backbone.device.type == "cpu" else dtype
    layers: list[Any] = list(backbone.encoder.layer)
    return [
        LayerWeights(
            _query_key_value(layer.attention.self, dtype),
            cast(layer.attention.output.dense),
            cast(layer.attention.output.LayerNorm, norms),
            cast(layer.intermediate.dense),
            cast(layer.output.dense),
            cast(layer.output.LayerNorm, norms),
        )
        for layer in layers
    ]


def forward(
    backbone: BertModel,
    batch: TokenBatch,
    dtype: torch.dtype,
    offset: Tensor | None = None,
    weights: list[LayerWeights] | None = None,
) -> Tensor:
    """Last hidden states, ``[T, hidden]`` in ``dtype``, for the tokens of a batch, blank ones among them.

    ``offset`` (``[T, hidden]``) is added to the word embeddings: the point where an adversary acts.
    ``weights``: what :func:`layer_weights` made of the present parameters, if they are at hand.
    """
    hidden = _embed(backbone, batch, dtype, offset)
    heads = int(backbone.config.num_attention_heads)
    on_gpu = batch.unseen is None and flash.supports(hidden, heads)
    places = flash.Sequences.of(batch, heads) if on_gpu else HeadSlots.of(batch, heads, dtype)
    for layer, own in zip(backbone.encoder.layer, weights or layer_weights(backbone, dtype), strict=True):
        hidden = _layer(layer, own, hidden, places, backbone.training)
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
    return dropout(embedded.to(dtype), tables.dropout.p if backbone.training else 0.0)


def _layer(layer: Any, own: LayerWeights, hidden: Tensor, places: Places, training: bool) -> Tensor:
    inner, output = layer.attention, layer.output
    p_weights, p_attended, p_output = (
        module.dropout.p if training else 0.0 for module in (inner.self, inner.output, output)
    )
    if isinstance(places, HeadSlots) and sublayers.supports(hidden):
        summed = sublayers.attended(hidden, own.query_key_value, own.attended, places, p_weights, p_attended)
        hidden = sublayers.norm(summed, own.attended_norm, inner.output.LayerNorm.eps)
        summed = sublayers.fed_forward(hidden, own.up, own.down, p_output)
        return sublayers.norm(summed, own.down_norm, output.LayerNorm.eps)
    projected = F.linear(hidden, *own.query_key_value)
    if isinstance(places, HeadSlots):
        context = attention(projected, places, p_weights)
    else:
        context = flash.attention(projected, places, p_weights)
    summed = dropout(F.linear(context, *own.attended), p_attended) + hidden
    hidden = _norm(summed, own.attended_norm, inner.output.LayerNorm.eps)
    summed = dropout(F.linear(F.gelu(F.linear(hidden, *own.up)), *own.down), p_output) + hidden
    return _norm(summed, own.down_norm, output.LayerNorm.eps)


def _norm(summed: Tensor, norm: Pair, eps: float) -> Tensor:
    return F.layer_norm(summed, norm[0].shape, *norm, eps)


def _query_key_value(own: Any, dtype: torch.dtype) -> Pair:
    """Scaling the query's weight costs less than scaling the scores; exact if the root is a power of two."""
    scale = own.attention_head_size**-0.5
    query, *others = (own.query, own.key, own.value)
    weight = torch.cat([whole_weight(query) * scale, *map(whole_weight, others)])
    bias = torch.cat([query.bias * scale, *(part.bias for part in others)])
    return _fixed(weight.to(dtype)), _fixed(bias.to(dtype))


def _fixed(parameter: Tensor) -> Tensor:
    """Without gradient where none is recorded: a cast to its own type is the parameter itself."""
    return parameter if torch.is_grad_enabled() else parameter.detach()
