"""N of every architecture, against closed forms in the shapes of its configuration."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    BertConfig,
    BertModel,
    DebertaV2Config,
    DebertaV2Model,
    DistilBertConfig,
    DistilBertModel,
    GPT2Config,
    GPT2Model,
    LlamaConfig,
    LlamaModel,
    ModernBertConfig,
    ModernBertModel,
    MPNetConfig,
    MPNetModel,
    Qwen2Config,
    Qwen2Model,
    Qwen3Config,
    Qwen3Model,
    RobertaConfig,
    RobertaModel,
    T5Config,
    T5EncoderModel,
)

from retrieval.config import ModelConfig
from retrieval.models.families.dual_encoder import DualEncoder

V, H, F, L, A, P = 50, 32, 48, 2, 4, 20
"""Words, hidden width, feed-forward width, layers, attention heads, positions."""
KV, HEAD, BUCKETS = 2, 16, 12
"""Heads of keys and values, width of a head where it is not H / A, rows of a relative bias."""
PROJECTION = 24
PROJECTED = H * PROJECTION + PROJECTION

BERT_LAYER = 4 * (H * H + H) + 2 * H * F + F + H + 2 * 2 * H
"""Query, key, value and output; feed-forward; two layer norms; all with biases."""
GATED = 3 * H * F
"""Gate, up and down, without biases."""
GROUPED = 2 * H * H + 2 * H * KV * H // A
"""Query and output; key and value with fewer heads."""

BERT: dict[str, Any] = {
    "vocab_size": V,
    "hidden_size": H,
    "num_hidden_layers": L,
    "num_attention_heads": A,
    "intermediate_size": F,
    "max_position_embeddings": P,
}
DECODER = BERT | {"num_key_value_heads": KV}
SPECIAL = {"pad_token_id": 0, "cls_token_id": 1, "sep_token_id": 2, "bos_token_id": 1, "eos_token_id": 2}


def bert() -> nn.Module:
    return BertModel(BertConfig(**BERT), add_pooling_layer=False)


def roberta() -> nn.Module:
    return RobertaModel(RobertaConfig(**BERT, type_vocab_size=1), add_pooling_layer=False)


def distilbert() -> nn.Module:
    return DistilBertModel(
        DistilBertConfig(vocab_size=V, dim=H, n_layers=L, n_heads=A, hidden_dim=F, max_position_embeddings=P)
    )


def mpnet() -> nn.Module:
    config = MPNetConfig(**BERT, relative_attention_num_buckets=BUCKETS)
    return MPNetModel(config, add_pooling_layer=False)


def deberta() -> nn.Module:
    shape = {"relative_attention": True, "position_buckets": BUCKETS, "type_vocab_size": 0}
    return DebertaV2Model(DebertaV2Config(**BERT, **shape, position_biased_input=False))


def t5() -> nn.Module:
    shape = {"d_model": H, "d_kv": HEAD, "d_ff": F, "num_layers": L, "num_heads": A}
    return T5EncoderModel(T5Config(vocab_size=V, **shape, relative_attention_num_buckets=BUCKETS))


def gpt2() -> nn.Module:
    return GPT2Model(GPT2Config(vocab_size=V, n_embd=H, n_inner=F, n_layer=L, n_head=A, n_positions=P))


ARCHITECTURES = {
    "bert": (bert, L * BERT_LAYER, (V + P + 2 + 2) * H),
    "roberta": (roberta, L * BERT_LAYER, (V + P + 1 + 2) * H),
    "distilbert": (distilbert, L * BERT_LAYER, (V + P + 2) * H),
    # A relative bias for all layers, outside of them.
    "mpnet": (mpnet, L * BERT_LAYER + BUCKETS * A, (V + P + 2) * H),
    # A table of relative positions, of the hidden width, outside the layers.
    "deberta": (deberta, L * BERT_LAYER, (V + 2) * H + 2 * BUCKETS * H),
    # The first layer has no norm before its attention; a last norm; a gated feed-forward, its halves in one.
    "modernbert": (
        lambda: ModernBertModel(ModernBertConfig(**BERT, **SPECIAL)),
        L * (3 * H * H + H * H + GATED + 2 * H) - H + H,
        (V + 1) * H,
    ),
    "llama": (lambda: LlamaModel(LlamaConfig(**DECODER)), L * (GROUPED + GATED + 2 * H) + H, V * H),
    # Biases of query, key and value.
    "qwen2": (
        lambda: Qwen2Model(Qwen2Config(**DECODER)),
        L * (GROUPED + H + 2 * KV * H // A + GATED + 2 * H) + H,
        V * H,
    ),
    # Heads of their own width, and a norm of the queries and of the keys of a head.
    "qwen3": (
        lambda: Qwen3Model(Qwen3Config(**DECODER, head_dim=HEAD)),
        L * (2 * H * A * HEAD + 2 * H * KV * HEAD + 2 * HEAD + GATED + 2 * H) + H,
        V * H,
    ),
    # A relative bias in the attention of the first layer, for all.
    "t5": (t5, L * (4 * H * A * HEAD + 2 * H * F + 2 * H) + H + BUCKETS * A, V * H),
    "gpt2": (gpt2, L * BERT_LAYER + 2 * H, (V + P) * H),
}


def encoder_of(backbone: nn.Module) -> DualEncoder:
    return DualEncoder(backbone, ModelConfig(projection=PROJECTION))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_n_is_the_closed_form(name: str) -> None:
    build, other, embedding = ARCHITECTURES[name]
    with torch.device("meta"):
        encoder = encoder_of(build())
    counted = encoder.groups().counts()
    assert counted["non_embedding"] == other + PROJECTED
    assert counted["embedding"] == embedding
    assert counted["total"] == sum(parameter.numel() for parameter in encoder.parameters())


@pytest.mark.parametrize("name", ["bert", "roberta", "distilbert", "deberta"])
def test_names_agree_where_they_say_embedding(name: str) -> None:
    """The convention of arXiv 2403.18684 on the encoders it was made for."""
    with torch.device("meta"):
        encoder = encoder_of(ARCHITECTURES[name][0]())
    named = [name for name, _ in encoder.named_parameters() if "embedding" in name]
    assert list(encoder.groups().embedding) == named


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_each_parameter_is_in_one_part(name: str) -> None:
    with torch.device("meta"):
        encoder = encoder_of(ARCHITECTURES[name][0]())
    embedding, other, adapters = encoder.groups()
    assert not adapters
    assert not set(embedding) & set(other)
    assert embedding | other == dict(encoder.named_parameters())
    words = encoder.backbone.get_input_embeddings().weight  # type: ignore[operator]
    assert any(parameter is words for parameter in embedding.values())


class Headed(nn.Module):
    """A backbone with an output head on its table of words."""

    def __init__(self) -> None:
        super().__init__()
        self.model = LlamaModel(LlamaConfig(**DECODER))
        self.config = self.model.config
        self.head = nn.Linear(H, V, bias=False)
        self.head.weight = self.model.embed_tokens.weight

    def get_input_embeddings(self) -> nn.Module:
        return self.model.get_input_embeddings()


def test_a_tied_head_counts_once() -> None:
    with torch.device("meta"):
        tied = encoder_of(Headed())
        plain = encoder_of(LlamaModel(LlamaConfig(**DECODER)))
    assert tied.groups().counts() == plain.groups().counts()
