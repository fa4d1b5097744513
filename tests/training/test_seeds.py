from __future__ import annotations

import itertools

import torch

from retrieval.data.batches import step_seed


def test_seed_step_and_stream_each_change_what_is_drawn() -> None:
    drawn = set()
    for seed, step, stream in itertools.product((0, 1, 2**31 - 1), (0, 1, 10_000), (0, 1)):
        generator = torch.Generator().manual_seed(step_seed(seed, step, stream))
        drawn.add(tuple(torch.rand(4, generator=generator).tolist()))
    assert len(drawn) == 18
