"""Sparse vectors and cross-encoders: our training against the trainer that sentence-transformers has."""

from __future__ import annotations

from typing import Any

from benchmarks import training
from benchmarks.peer import Effort, Kind, pairs_per_second
from benchmarks.work import SHAPES
from retrieval.config import ModelConfig

NEGATIVES = 7
"""Passages of the batch that a cross-encoder scores a query with, beside its own."""

EFFORTS = {
    "sparse": {"tiny": Effort(3, 6), "mini": Effort(3, 6)},
    "cross-encoder": {"tiny": Effort(3, 6), "mini": Effort(2, 3)},
}
"""A step reads 512 pairs for a cross-encoder, and gives each token 30,522 logits for sparse vectors, which
takes sentence-transformers five to eight seconds on two cores without AMX."""

GPU_EFFORT = Effort(10, 20)


def ours(family: str, size: str, precision: str, device: str = "cpu", quick: bool = False) -> float:
    """Pairs per second of our trainer."""
    steps = _effort(family, size, device, quick)
    return training.ours(size, 0.0, precision, device, steps=steps, model=_model(family, size))


def sentence_transformers(
    family: str, size: str, bf16: bool, device: str = "cpu", quick: bool = False
) -> float:
    """Pairs per second of ``SparseEncoderTrainer`` or ``CrossEncoderTrainer``."""
    steps = _effort(family, size, device, quick)
    return pairs_per_second(KINDS[family], _model(family, size), steps, bf16, device)


def _model(family: str, size: str) -> ModelConfig:
    layers, hidden = SHAPES[size]
    return ModelConfig(
        family=family, layers=layers, hidden=hidden, init="scratch", listed_negatives=NEGATIVES
    )


def _effort(family: str, size: str, device: str, quick: bool) -> Effort:
    whole = GPU_EFFORT if device == "cuda" else EFFORTS[family][size]
    return whole.quick if quick else whole


def _splade(model: Any) -> Any:
    from sentence_transformers.sparse_encoder import losses

    ranking = losses.SparseMultipleNegativesRankingLoss(model)
    return losses.SpladeLoss(model, ranking, document_regularizer_weight=1e-4, query_regularizer_weight=3e-4)


def _ranking(model: Any) -> Any:
    from sentence_transformers.cross_encoder import losses

    return losses.MultipleNegativesRankingLoss(model, num_negatives=NEGATIVES)


KINDS = {"sparse": Kind("SparseEncoder", _splade), "cross-encoder": Kind("CrossEncoder", _ranking)}
"""By family."""
