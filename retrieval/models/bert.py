"""Forward pass of a BERT backbone over the packed layout, with the weights of ``transformers``.

The modules of :class:`transformers.BertModel` keep the parameters, their names and their file format;
only the order of the work is ours. Parameters stay fp32; with ``dtype=torch.bfloat16`` each is cast
once a forward, activations are bf16 and gradients come back as fp32.
"""

import functools
from collections.abc import Callable
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


@dataclass(frozen=True)
class Shares:
    """What a layer drops, and what its norms add to a variance."""

    weights: float
    """Share of the attention weights to drop; 0 in evaluation, as the two others."""
    attended: float
    output: float
    attended_eps: float
    output_eps: float

    @classmethod
    def of(cls, layer: Any, training: bool) -> "Shares":
        """Of a layer of transformers."""
        inner, output = layer.attention, layer.output
        weights, attended, fed = (
            module.dropout.p if training else 0.0 for module in (inner.self, inner.output, output)
        )
        return cls(weights, attended, fed, inner.output.LayerNorm.eps, output.LayerNorm.eps)


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
    compiled: bool = False,
) -> Tensor:
    """Last hidden states, ``[T, hidden]`` in ``dtype``, for the tokens of a batch, blank ones among them.

    ``offset`` (``[T, hidden]``) is added to the word embeddings: the point where an adversary acts.
    ``weights``: what :func:`layer_weights` made of the present parameters, if they are at hand.
    ``compiled``: whether layers are run by what PyTorch compiles of them, while gradients are recorded and
    attention takes the batch without slots; elsewhere it changes nothing.
    """
    hidden = _embed(backbone, batch, dtype, offset)
    heads = int(backbone.config.num_attention_heads)
    on_gpu = batch.unseen is None and flash.supports(hidden, heads)
    places = flash.Sequences.of(batch, heads) if on_gpu else HeadSlots.of(batch, heads, dtype)
    shares = [Shares.of(layer, backbone.training) for layer in backbone.encoder.layer]
    run = _compiled_layers() if compiled and on_gpu and torch.is_grad_enabled() else _layers
    return run(hidden, weights or layer_weights(backbone, dtype), shares, places)


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


def _layers(hidden: Tensor, weights: list[LayerWeights], shares: list[Shares], places: Places) -> Tensor:
    for own, share in zip(weights, shares, strict=True):
        hidden = _layer(own, share, hidden, places)
    return hidden


@functools.cache
def _compiled_layers() -> Callable[[Tensor, list[LayerWeights], list[Shares], Places], Tensor]:
    """:func:`_layers`, compiled at its first call once for all numbers of tokens.

    A step of a small model waits for the host, which launches some hundred kernels. What stands between two
    products (dropout, residual, norm) becomes one of them. The casts of weights stay outside.
    """
    # Rules of ω by gradients take two gradients of one graph: the first may not give its memory away.
    torch._functorch.config.donated_buffer = False
    compiled: Any = torch.compile(_layers, dynamic=True, fullgraph=True)
    return compiled  # type: ignore[no-any-return]


def _layer(own: LayerWeights, share: Shares, hidden: Tensor, places: Places) -> Tensor:
    if isinstance(places, HeadSlots) and sublayers.supports(hidden):
        summed = sublayers.attended(
            hidden, own.query_key_value, own.attended, places, share.weights, share.attended
        )
        hidden = sublayers.norm(summed, own.attended_norm, share.attended_eps)
        summed = sublayers.fed_forward(hidden, own.up, own.down, share.output)
        return sublayers.norm(summed, own.down_norm, share.output_eps)
    projected = F.linear(hidden, *own.query_key_value)
    if isinstance(places, HeadSlots):
        context = attention(projected, places, share.weights)
    else:
        context = flash.attention(projected, places, share.weights)
    summed = dropout(F.linear(context, *own.attended), share.attended) + hidden
    hidden = _norm(summed, own.attended_norm, share.attended_eps)
    summed = dropout(F.linear(F.gelu(F.linear(hidden, *own.up)), *own.down), share.output) + hidden
    return _norm(summed, own.down_norm, share.output_eps)


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
