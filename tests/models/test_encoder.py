from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel, DistilBertConfig, DistilBertModel

from retrieval.config import ModelConfig
from retrieval.data.layout import TokenBatch, group_tokens
from retrieval.models import bert
from retrieval.models.families import build_scorer
from retrieval.models.families.dual_encoder import DualEncoder
from tests.models.conftest import SMALL_ROUNDINGS, small_model
from tests.models.test_gradient_caching import PAIRS, loss_of
from tests.rounding import assert_gradients, assert_vectors


def tokens_of(texts: list[str], tokenizer: Any) -> tuple[TokenBatch, dict[str, torch.Tensor]]:
    encoded = tokenizer(texts, truncation=True, max_length=24)["input_ids"]
    lengths = np.array([len(ids) for ids in encoded])
    padded = tokenizer(texts, truncation=True, max_length=24, padding=True, return_tensors="pt")
    return group_tokens(np.concatenate(encoded), lengths), padded


def reference(encoder: DualEncoder, padded: dict[str, torch.Tensor]) -> torch.Tensor:
    states = encoder.backbone(padded["input_ids"], attention_mask=padded["attention_mask"]).last_hidden_state
    mask = padded["attention_mask"][..., None].float()
    pooled = states[:, 0] if encoder.config.pooling == "cls" else (states * mask).sum(1) / mask.sum(1)
    assert encoder.projection is not None
    return encoder.projection(pooled)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_grouped_forward_equals_transformers(texts: list[str], tokenizer: Any, pooling: str) -> None:
    encoder = build_scorer(small_model(pooling=pooling), tokenizer, seed=3, precision="32").eval()
    batch, padded = tokens_of(texts[:40], tokenizer)
    assert_vectors(encoder(batch), reference(encoder, padded), SMALL_ROUNDINGS)


def test_gradients_equal_those_of_transformers(
    encoder: DualEncoder, texts: list[str], tokenizer: Any
) -> None:
    batch, padded = tokens_of(texts[: 2 * PAIRS], tokenizer)
    gradients = []
    for vectors in (encoder(batch), reference(encoder, padded)):
        encoder.zero_grad()
        loss_of(vectors).backward()
        gradients.append(
            {name: p.grad.clone() for name, p in encoder.named_parameters() if p.grad is not None}
        )
    assert gradients[0].keys() == gradients[1].keys()
    assert_gradients(gradients[0].values(), gradients[1].values(), SMALL_ROUNDINGS)
    # It would tell if any of them were missing, but for those that are zero but for rounding.
    for lost in gradients[0]:
        lacking = [0 * part if name == lost else part for name, part in gradients[0].items()]
        if "key.bias" not in lost:
            with pytest.raises(AssertionError, match="is allowed"):
                assert_gradients(lacking, gradients[1].values(), SMALL_ROUNDINGS)


def test_bf16_is_close_to_fp32(texts: list[str], tokenizer: Any) -> None:
    batch, _ = tokens_of(texts[:40], tokenizer)
    full, half = (build_scorer(small_model(), tokenizer, 3, kind).eval()(batch) for kind in ("32", "bf16"))
    cosine = torch.nn.functional.cosine_similarity(full, half)
    assert half.dtype == torch.float32
    assert cosine.min() > 0.999


def test_other_backbones_take_their_own_forward(texts: list[str], tokenizer: Any) -> None:
    torch.manual_seed(0)
    shape = DistilBertConfig(vocab_size=len(tokenizer), dim=64, n_layers=1, n_heads=2, hidden_dim=128)
    encoder = DualEncoder(DistilBertModel(shape), small_model()).eval()
    batch, padded = tokens_of(texts[:20], tokenizer)
    assert not encoder.packed
    assert_vectors(encoder(batch), reference(encoder, padded), SMALL_ROUNDINGS)


def test_a_bert_with_another_activation_is_not_packed() -> None:
    shape = BertConfig(
        vocab_size=50, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, hidden_act="relu"
    )
    assert not bert.supports(BertModel(shape, add_pooling_layer=False))


def test_cosine_scores_are_bounded_by_the_temperature(texts: list[str], tokenizer: Any) -> None:
    config = small_model(similarity="cosine", temperature=0.05)
    vectors = build_scorer(config, tokenizer, 3, "32").eval()(tokens_of(texts[:20], tokenizer)[0])
    torch.testing.assert_close(vectors.square().sum(1), torch.full((20,), 20.0))


def test_an_offset_of_zero_changes_nothing(encoder: DualEncoder, texts: list[str], tokenizer: Any) -> None:
    batch, _ = tokens_of(texts[:10], tokenizer)
    encoder.eval()
    assert torch.equal(encoder(batch, torch.zeros(len(batch.ids), 64)), encoder(batch))
    assert not torch.allclose(encoder(batch, torch.ones(len(batch.ids), 64)), encoder(batch))


@pytest.mark.parametrize(
    ("layers", "hidden", "encoder_parameters"),
    [(2, 128, 396_544), (4, 256, 3_159_040), (8, 512, 25_219_072), (12, 768, 85_054_464)],
)
def test_parameters_of_the_bert_shapes(
    layers: int, hidden: int, encoder_parameters: int, tokenizer: Any
) -> None:
    """Encoder-only counts of the published checkpoints, plus the projection to 768."""
    with torch.device("meta"):
        backbone = BertModel(
            BertConfig(
                hidden_size=hidden,
                num_hidden_layers=layers,
                num_attention_heads=hidden // 64,
                intermediate_size=4 * hidden,
            ),
            add_pooling_layer=False,
        )
        encoder = DualEncoder(backbone, ModelConfig(layers=layers, hidden=hidden, init="scratch"))
    counted = encoder.groups().counts()
    assert counted["non_embedding"] == encoder_parameters + 768 * hidden + 768
    assert counted["total"] == counted["non_embedding"] + counted["embedding"]


def test_the_seed_fixes_the_weights(tokenizer: Any) -> None:
    first, same, other = (build_scorer(small_model(), tokenizer, seed, "32") for seed in (1, 1, 2))
    weights = [torch.cat([p.flatten() for p in encoder.parameters()]) for encoder in (first, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize("layers", [2, 12])
def test_fresh_sublayers_start_smaller_the_more_there_are(tokenizer: Any, layers: int) -> None:
    backbone = build_scorer(small_model(layers=layers, hidden=128), tokenizer, 3, "32").backbone
    usual = backbone.config.initializer_range  # type: ignore[union-attr]
    for name, weight in backbone.named_parameters():
        if name.endswith("dense.weight"):
            expected = usual * (2 * layers) ** -0.5 if "output" in name else usual
            assert float(weight.detach().std()) == pytest.approx(expected, rel=0.05), name
