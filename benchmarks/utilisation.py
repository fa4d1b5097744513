"""Model FLOP/s of a training step against the speed of large matrix products on the same cores."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch

from benchmarks.peer import Effort
from benchmarks.training import ours
from benchmarks.work import BATCH, model_config, tokenizer, training_pairs
from retrieval.data.layout import group_tokens
from retrieval.models.families import build_scorer
from retrieval.models.flops import BACKWARD, FORWARD, Work
from retrieval.training.cost import peak_flops

EFFORT = Effort(4, 4)
"""By the fourth step of bert-base the heap has grown to what a step needs."""


def product(threads: int, device: str = "cpu", precision: str = "bf16", size: int | None = None) -> float:
    """FLOP/s of square products of ``size``, by default as a run measures it."""
    with _threads(threads), tempfile.TemporaryDirectory() as cache:
        return peak_flops(torch.device(device), precision, Path(cache), size)


def training(size: str, threads: int, device: str = "cpu", precision: str = "bf16") -> float:
    """Analytic FLOP/s of training, padding not counted."""
    with _threads(threads):
        pairs_per_second = ours(size, 0.0, precision, device, steps=EFFORT if device == "cpu" else None)
    return pairs_per_second * _flops_per_pair(size)


def _flops_per_pair(size: str) -> float:
    pairs = training_pairs(16 * BATCH)
    rows = np.arange(16 * BATCH)
    encoder = build_scorer(model_config(size, 0.0), tokenizer(), 1, "bf16")
    work = Work()
    for store in (pairs.queries, pairs.passages):
        work += Work.of(group_tokens(*store.gather(rows)), FORWARD + BACKWARD)
    return encoder.flops(work) / len(rows)


class _threads:
    """The given number of threads for a while."""

    def __init__(self, wanted: int) -> None:
        self.wanted = wanted

    def __enter__(self) -> None:
        self.before = torch.get_num_threads()
        torch.set_num_threads(self.wanted)

    def __exit__(self, *_: object) -> None:
        torch.set_num_threads(self.before)
