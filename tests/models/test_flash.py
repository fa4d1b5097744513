"""Attention without padding: the sequences it sees, and on a GPU its values and gradients by the formula."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from retrieval.models import flash
from retrieval.models.families import build_scorer
from tests.models.conftest import small_model
from tests.models.test_attention import HEADS, LENGTHS, assert_near, batch_of, projections, reference
from tests.models.test_encoder import tokens_of

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")


def test_sequences_cover_every_token_once_the_blank_ones_too() -> None:
    batch = batch_of(LENGTHS)
    sequences = flash.Sequences.of(batch, HEADS)
    blank = len(batch.ids) - int(LENGTHS.sum())
    assert sequences.bounds.dtype == torch.int32
    assert sequences.bounds.diff().tolist() == [*np.sort(LENGTHS), blank]
    assert sequences.longest == max(LENGTHS.max(), blank)


@pytest.mark.parametrize(
    ("capability", "hidden", "taken"),
    [
        ((8, 0), 512, True),
        ((8, 9), 384, True),
        ((8, 9), 512, False),
        ((9, 0), 520, False),
        ((7, 5), 64, False),
    ],
)
def test_which_gpu_takes_which_heads(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], hidden: int, taken: bool
) -> None:
    class OfAGpu:
        dtype, is_cuda, shape, device = torch.bfloat16, True, (1, hidden), torch.device("cuda")

    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    monkeypatch.setattr(torch.backends.cuda, "is_flash_attention_available", lambda: True)
    assert flash.supports(OfAGpu(), 2) is taken  # type: ignore[arg-type]


def test_no_processor_takes_it() -> None:
    assert not flash.supports(torch.zeros(1, 64, dtype=torch.bfloat16), 2)


@on_gpu
def test_values_and_gradients_are_those_of_the_formula() -> None:
    batch = batch_of(LENGTHS)
    projected, toward = projections(batch, torch.bfloat16)
    expected, of_projected = reference(projected, toward, batch, 0.0)
    placed = projected.detach().cuda().requires_grad_()
    context = flash.attention(placed, flash.Sequences.of(batch.to("cuda"), HEADS), 0.0)
    (gradient,) = torch.autograd.grad(context, placed, toward.cuda())
    # bfloat16 has eight bits: 0.4 % a rounding
    of_tokens = slice(0, batch.tokens)
    assert (context[of_tokens].cpu().float() - expected[of_tokens]).norm() / expected.norm() < 0.01
    assert_near(gradient.cpu(), of_projected, batch, 0.01)


@on_gpu
def test_half_the_weights_dropped_are_the_same_ones_in_the_backward_pass() -> None:
    batch = batch_of(np.array([32]))
    projected = torch.zeros(len(batch.ids), 3 * 32, dtype=torch.bfloat16)
    projected[:32, 64:] = torch.eye(32)  # the context shows which weights were kept
    placed = projected.cuda().requires_grad_()
    torch.manual_seed(0)
    context = flash.attention(placed, flash.Sequences.of(batch.to("cuda"), 1), 0.5)
    kept = context[:32] != 0
    assert 0 < int(kept.sum()) < 32 * 32
    toward = torch.zeros_like(context)
    toward[:32] = 1
    (gradient,) = torch.autograd.grad(context, placed, toward)
    used = gradient[:32, 64] * 32 / 2  # 1/32 · 1/(1 − ½) for each query that kept the key
    assert used.tolist() == kept.sum(0).tolist()


@on_gpu
@pytest.mark.parametrize(("precision", "least"), [("32", 1 - 1e-5), ("bf16", 0.999)])
def test_vectors_of_a_gpu_are_those_of_a_processor(
    texts: list[str], tokenizer: Any, precision: str, least: float
) -> None:
    batch, _ = tokens_of(texts[:40], tokenizer)
    expected = build_scorer(small_model(), tokenizer, 3, "32").eval()(batch)
    found = build_scorer(small_model(), tokenizer, 3, precision).eval().cuda()(batch.to("cuda"))
    assert found.dtype == torch.float32
    assert torch.nn.functional.cosine_similarity(expected, found.cpu()).min() > least


@on_gpu
def test_gradient_caching_replays_the_dropout_of_a_gpu(texts: list[str], tokenizer: Any) -> None:
    encoder = build_scorer(small_model(dropout=0.3), tokenizer, 3, "bf16").train().cuda()
    batch, _ = tokens_of(texts[:40], tokenizer)
    batch = batch.to("cuda")
    found = []
    for cached in (False, True):
        torch.manual_seed(7)
        encoder.mini_batch_size = 10 if cached else None
        if cached:
            vectors = encoder(batch)
        else:
            vectors = torch.cat([encoder(chunk) for chunk, _ in batch.chunks(10)])[batch.inverse]
        loss = vectors.square().mean()
        found.append(torch.autograd.grad(loss, list(encoder.parameters()), materialize_grads=True))
    for plain, again in zip(*found, strict=True):
        torch.testing.assert_close(again, plain, rtol=1e-2, atol=1e-2 * float(plain.abs().max()))
