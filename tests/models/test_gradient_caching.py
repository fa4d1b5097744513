"""Gradient caching: the gradients of the whole batch from a part of its activations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from retrieval.data.layout import TokenBatch, group_tokens
from retrieval.models.families import build_scorer
from retrieval.models.families.dual_encoder import DualEncoder
from retrieval.training.losses import contrastive_loss
from tests.models.conftest import SMALL_ROUNDINGS, small_model
from tests.models.test_layout import check_slots
from tests.rounding import assert_gradients, assert_vectors

PAIRS = 24


def batch_of(texts: list[str], tokenizer: Any) -> TokenBatch:
    encoded = tokenizer(texts[: 2 * PAIRS], truncation=True, max_length=24)["input_ids"]
    return group_tokens(np.concatenate(encoded), np.array([len(ids) for ids in encoded]), group_cost=8)


def loss_of(vectors: Tensor) -> Tensor:
    labels = torch.arange(PAIRS)
    scores = vectors[:PAIRS] @ vectors[PAIRS:].T
    return contrastive_loss(scores, labels, torch.zeros(PAIRS, PAIRS, dtype=torch.bool))


def gradients(encoder: DualEncoder, loss: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(encoder.parameters()), materialize_grads=True))


@pytest.mark.parametrize("size", [1, 5, 16, 48, 100])
def test_gradients_equal_those_of_the_plain_batch(texts: list[str], tokenizer: Any, size: int) -> None:
    encoder = build_scorer(small_model(), tokenizer, seed=3, precision="32")
    batch = batch_of(texts, tokenizer)
    offset = 0.1 * torch.randn(len(batch.ids), 64, generator=torch.Generator().manual_seed(1))
    plain = encoder(batch, offset)
    expected = gradients(encoder, loss_of(plain))
    encoder.mini_batch_size = size
    cached = encoder(batch, offset)
    assert_vectors(cached, plain, SMALL_ROUNDINGS)
    assert_gradients(gradients(encoder, loss_of(cached)), expected, SMALL_ROUNDINGS)


@pytest.mark.parametrize("precision", ["32", "bf16"])
def test_dropout_is_replayed_in_the_second_pass(texts: list[str], tokenizer: Any, precision: str) -> None:
    encoder = build_scorer(small_model(dropout=0.3), tokenizer, seed=3, precision=precision).train()
    batch = batch_of(texts, tokenizer)
    torch.manual_seed(7)
    chunks = torch.cat([encoder(chunk) for chunk, _ in batch.chunks(10)])[batch.inverse]
    expected = gradients(encoder, loss_of(chunks))
    encoder.mini_batch_size = 10
    torch.manual_seed(7)
    cached = encoder(batch)
    assert_vectors(cached, chunks, SMALL_ROUNDINGS)
    assert_gradients(gradients(encoder, loss_of(cached)), expected, SMALL_ROUNDINGS)


@pytest.mark.parametrize("precision", ["32", "bf16"])
def test_both_gradients_of_a_gradient_rule_come_from_one_graph(
    texts: list[str], tokenizer: Any, precision: str
) -> None:
    encoder = build_scorer(small_model(), tokenizer, seed=3, precision=precision)
    encoder.mini_batch_size = 10
    loss = loss_of(encoder(batch_of(texts, tokenizer)))
    parameters = list(encoder.parameters())
    first = torch.autograd.grad(loss, parameters, retain_graph=True, materialize_grads=True)
    assert all(map(torch.equal, gradients(encoder, loss), first))


def test_less_than_a_quarter_of_the_activations_is_kept(texts: list[str], tokenizer: Any) -> None:
    encoder = build_scorer(small_model(), tokenizer, seed=3, precision="32")
    batch = batch_of(texts, tokenizer)
    weights = {parameter.data_ptr() for parameter in encoder.parameters()}

    def most_kept() -> int:
        kept: dict[int, int] = {}
        most = 0

        def pack(tensor: Tensor) -> Tensor:
            nonlocal most
            if tensor.data_ptr() not in weights:
                kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            most = max(most, sum(kept.values()))
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            encoder(batch)
        return most

    plain = most_kept()
    encoder.mini_batch_size = 6
    assert most_kept() < plain / 4


def test_nothing_is_chunked_without_gradients(texts: list[str], tokenizer: Any) -> None:
    encoder = build_scorer(small_model(), tokenizer, seed=3, precision="32").eval()
    encoder.mini_batch_size = 4
    with torch.no_grad():
        assert not encoder(batch_of(texts, tokenizer)).requires_grad


@given(lengths=st.lists(st.integers(1, 12), min_size=1, max_size=30), size=st.integers(1, 40))
def test_chunks_partition_the_layout(lengths: list[int], size: int) -> None:
    ids = np.arange(1, sum(lengths) + 1)
    batch = group_tokens(ids, np.array(lengths), group_cost=3)
    chunks = batch.chunks(size)
    assert all(len(chunk.lengths) <= size for chunk, _ in chunks)
    assert [span.start for _, span in chunks] == [0, *(span.stop for _, span in chunks[:-1])]
    assert chunks[-1][1].stop == batch.tokens
    assert torch.equal(torch.cat([chunk.lengths for chunk, _ in chunks]), batch.lengths)
    for chunk, span in chunks:
        for name in ("ids", "positions", "widths"):
            assert torch.equal(getattr(chunk, name)[: chunk.tokens], getattr(batch, name)[span])
            assert not getattr(chunk, name)[chunk.tokens :].any()
        check_slots(chunk)
