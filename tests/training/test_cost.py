"""Analytic FLOPs against PyTorch's own count of the operations that run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from retrieval.config import ModelConfig
from retrieval.models.backbones import build_encoder
from retrieval.models.layout import WIDTH_MULTIPLE, group_tokens
from retrieval.training.cost import BACKWARD, FORWARD, Work, encoder_flops


@pytest.mark.parametrize("backward", [False, True], ids=["forward", "training step"])
@pytest.mark.parametrize("projection", [0, 24])
@pytest.mark.parametrize(("layers", "hidden"), [(2, 32), (3, 64)])
def test_analytic_flops_are_those_counted(
    tokenizer: Any, layers: int, hidden: int, projection: int, backward: bool
) -> None:
    shape = ModelConfig(layers=layers, hidden=hidden, heads=2, init="scratch", projection=projection)
    # bf16 attention is plain matrix products, which the counter knows on every version.
    encoder = build_encoder(shape, tokenizer, seed=1, precision="bf16").train()
    lengths = np.repeat([WIDTH_MULTIPLE, 3 * WIDTH_MULTIPLE], 16)  # widths without padding
    batch = group_tokens(np.ones(lengths.sum(), dtype=np.int64), lengths)
    assert batch.tokens == len(batch.ids)
    with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(backward):
        vectors = encoder(batch)
        if backward:
            vectors.sum().backward()
    work = Work.of(batch, FORWARD + BACKWARD if backward else FORWARD)
    assert counter.get_total_flops() == pytest.approx(encoder_flops(encoder, work), rel=1e-9)
