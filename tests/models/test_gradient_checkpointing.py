"""Gradient checkpointing: the same gradients from the inputs of the layers alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from retrieval.config.model import ARCHITECTURES
from retrieval.models.families import build_scorer
from tests.models.conftest import small_model
from tests.models.test_gradient_caching import batch_of, gradients, loss_of


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_gradients_equal_those_of_all_activations(name: str, texts: list[str], tokenizer: Any) -> None:
    encoder: Any = build_scorer(small_model(architecture=name, dropout=0.2), tokenizer, 3, "32").train()
    batch = batch_of(texts, tokenizer)
    encoder.packed = False
    torch.manual_seed(5)
    expected = gradients(encoder, loss_of(encoder(batch)))
    encoder.checkpoint_gradients()
    torch.manual_seed(5)
    recomputed: list[int] = []
    layer = next(part for part in encoder.backbone.modules() if isinstance(part, torch.nn.ModuleList))[0]
    layer.register_forward_hook(lambda *_: recomputed.append(1))
    found = gradients(encoder, loss_of(encoder(batch)))
    # A group of sequences of like length is one forward pass; each layer sees it twice.
    assert len(recomputed) == 2 * len(batch.groups)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_it_counts_as_one_more_forward_pass(tokenizer: Any) -> None:
    encoder = build_scorer(small_model(), tokenizer, 3, "32")
    costs = [encoder.backward_cost]
    encoder.mini_batch_size = 4
    costs.append(encoder.backward_cost)
    encoder.checkpoint_gradients()
    assert [*costs, encoder.backward_cost] == [2, 3, 4]
