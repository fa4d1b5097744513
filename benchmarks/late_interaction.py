"""A vector a token: our training and scores against those of sentence-transformers' MultiVectorEncoder."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks import training
from benchmarks.peer import Effort, Kind, pairs_per_second
from benchmarks.training import effort
from benchmarks.work import BATCH, PASSAGE_LENGTH, QUERY_LENGTH, SHAPES
from retrieval.config import ModelConfig
from retrieval.models.maxsim import max_sim

DIMENSION = 128
REPEATS = 20


QUICK_EFFORT = Effort(2, 4)
"""On a CPU, where a step of sentence-transformers at bert-tiny takes two seconds on two cores."""


def _model(size: str) -> ModelConfig:
    layers, hidden = SHAPES[size]
    return ModelConfig(
        family="multi-vector", layers=layers, hidden=hidden, init="scratch", skip_punctuation=False
    )


def ours(size: str, precision: str, device: str = "cpu", quick: bool = False) -> float:
    """Pairs per second of our trainer."""
    steps = _effort(size, device, quick)
    return training.ours(size, 0.0, precision, device, steps=steps, model=_model(size))


def sentence_transformers(size: str, bf16: bool, device: str = "cpu", quick: bool = False) -> float:
    """Pairs per second of ``MultiVectorEncoderTrainer`` with MultiVectorMultipleNegativesRankingLoss."""
    return pairs_per_second(
        Kind("MultiVectorEncoder", _loss), _model(size), _effort(size, device, quick), bf16, device
    )


def _effort(size: str, device: str, quick: bool) -> Effort:
    return QUICK_EFFORT if quick and device == "cpu" else effort(size, device, quick)


def _loss(model: Any) -> Any:
    from sentence_transformers.multi_vector_encoder.losses import MultiVectorMultipleNegativesRankingLoss

    return MultiVectorMultipleNegativesRankingLoss(model)


def our_scores(device: str = "cpu") -> float:
    """Batches per second, forward and backward, of 64 queries with 64 passages."""
    return _batches_per_second(max_sim, device)


def their_scores(device: str = "cpu") -> float:
    """The same by ``sentence_transformers.util.similarity.maxsim``."""
    from sentence_transformers.util.similarity import maxsim

    def scored(queries: Tensor, passages: Tensor) -> Tensor:
        vectors = queries[:, :QUERY_LENGTH, :-2], passages[..., :-2]
        found: Tensor = maxsim(*vectors, queries[:, :QUERY_LENGTH, -2], passages[..., -1])
        return found

    return _batches_per_second(scored, device)


def _batches_per_second(scored: Callable[[Tensor, Tensor], Tensor], device: str) -> float:
    torch.manual_seed(0)
    sides = [
        _rows(torch.normal(float(mean), float(spread), (BATCH,)).clamp(4, longest), device)
        for mean, spread, longest in ((12, 4, QUERY_LENGTH), (80, 25, PASSAGE_LENGTH))
    ]
    for repeat in range(REPEATS + 1):
        if repeat == 1:
            _wait(device)
            start = time.perf_counter()
        torch.autograd.grad(scored(sides[0], sides[1]).square().sum(), sides)
    _wait(device)
    return REPEATS / (time.perf_counter() - start)


def _rows(lengths: Tensor, device: str) -> Tensor:
    """Rows of a batch, all as wide as a passage, as training has them."""
    real = torch.arange(PASSAGE_LENGTH) < lengths[:, None]
    vectors = torch.nn.functional.normalize(torch.randn(BATCH, PASSAGE_LENGTH, DIMENSION), dim=-1)
    rows = torch.cat([vectors * real[..., None], torch.stack([real, real], -1)], -1)
    return rows.to(device).requires_grad_()


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
