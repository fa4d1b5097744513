"""Gradient checkpointing: the same gradients from the inputs of the layers alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from retrieval.config.model import ARCHITECTURES
from retrieval.data.layout import TokenBatch
from retrieval.models.families import build_scorer
from tests.models.conftest import SMALL_ROUNDINGS, small_model
from tests.models.test_gradient_caching import batch_of, loss_of
from tests.rounding import assert_gradients


def gradients(encoder: Any, batch: TokenBatch) -> dict[str, torch.Tensor]:
    encoder.zero_grad()
    torch.manual_seed(5)
    loss_of(encoder(batch)).backward()
    return {name: part.grad.clone() for name, part in encoder.named_parameters() if part.grad is not None}


CASES = [(name, "none") for name in ARCHITECTURES] + [("bert", "lora"), ("qwen3", "lora")]


@pytest.mark.parametrize(("name", "adapter"), CASES)
def test_gradients_equal_those_of_all_activations(
    name: str, adapter: str, texts: list[str], tokenizer: Any
) -> None:
    model = small_model(architecture=name, dropout=0.2, adapter=adapter)
    encoder: Any = build_scorer(model, tokenizer, 3, "32").train()
    batch = batch_of(texts, tokenizer)
    encoder.packed = False
    expected = gradients(encoder, batch)
    encoder.checkpoint_gradients()
    recomputed: list[int] = []
    layer = next(part for part in encoder.backbone.modules() if isinstance(part, torch.nn.ModuleList))[0]
    first = next(part for part in layer.modules() if isinstance(part, torch.nn.Linear))
    first.register_forward_pre_hook(lambda *_: recomputed.append(1))
    found = gradients(encoder, batch)
    # A group of sequences of like length is one forward pass; each layer sees it twice.
    assert len(recomputed) == 2 * len(batch.groups)
    assert found.keys() == expected.keys()
    assert_gradients(found.values(), expected.values(), SMALL_ROUNDINGS)
    with torch.inference_mode():
        assert torch.isfinite(encoder.eval()(batch)).all()


def test_it_counts_as_one_more_forward_pass(tokenizer: Any) -> None:
    encoder = build_scorer(small_model(), tokenizer, 3, "32")
    costs = [encoder.backward_cost]
    encoder.mini_batch_size = 4
    costs.append(encoder.backward_cost)
    encoder.checkpoint_gradients()
    assert [*costs, encoder.backward_cost] == [2, 3, 4]
