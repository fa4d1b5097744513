"""Analytic FLOPs against PyTorch's own count of the operations that run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from retrieval.config import ModelConfig
from retrieval.data.layout import WIDTH_MULTIPLE, group_tokens
from retrieval.models.families import build_scorer
from retrieval.models.flops import BACKWARD, FORWARD, Work


@pytest.mark.parametrize("backward", [False, True], ids=["forward", "training step"])
@pytest.mark.parametrize("projection", [0, 24])
@pytest.mark.parametrize(("layers", "hidden"), [(2, 32), (3, 64)])
def test_analytic_flops_are_those_counted(
    tokenizer: Any, layers: int, hidden: int, projection: int, backward: bool
) -> None:
    shape = ModelConfig(layers=layers, hidden=hidden, heads=2, init="scratch", projection=projection)
    encoder = build_scorer(shape, tokenizer, seed=1, precision="32").train()
    lengths = np.repeat([WIDTH_MULTIPLE, 3 * WIDTH_MULTIPLE], 16)  # widths without padding
    batch = group_tokens(np.ones(lengths.sum(), dtype=np.int64), lengths, group_cost=0)
    # The counter knows plain matrix products on every version of PyTorch, and few fused operations.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        vectors = encoder(batch)
        if backward:
            vectors.sum().backward()
    passes = FORWARD + BACKWARD if backward else FORWARD
    blank = Work(tokens=passes * (len(batch.ids) - batch.tokens))  # computed, but no part of the work
    expected = encoder.flops(Work.of(batch, passes) + blank)
    assert counter.get_total_flops() == pytest.approx(expected, rel=1e-9)
