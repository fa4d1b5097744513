from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from retrieval.config import ModelConfig
from retrieval.data.tokens import train_wordpiece
from retrieval.models.families import build_scorer
from retrieval.models.families.dual_encoder import DualEncoder
from retrieval.models.scorer import Scorer
from tests.rounding import encoder_roundings, head_scale

WORDS = [f"{a}{b}{c}" for a in "bdfgk" for b in "aeiou" for c in "lmnrst"]


@pytest.fixture(scope="session")
def texts() -> list[str]:
    random = np.random.default_rng(0)
    return [" ".join(random.choice(WORDS, random.integers(1, 30))) for _ in range(300)]


@pytest.fixture(scope="session")
def tokenizer(texts: list[str]) -> Any:
    return train_wordpiece(texts, 400)


@pytest.fixture
def encoder(tokenizer: Any) -> DualEncoder:
    return build_scorer(small_model(), tokenizer, seed=3, precision="32")


SMALL_ROUNDINGS = encoder_roundings(layers=2, hidden=64, tokens=64)
"""Of the models of these tests: none is deeper or wider, and no text longer."""

PAIR_ROUNDINGS = SMALL_ROUNDINGS + encoder_roundings(layers=0, hidden=64, tokens=0)
"""Of a score of a pair: after the encoder come the dense layer of a classifier and its only row."""


def pair_scale(scorer: Scorer, *rows: Tensor) -> float:
    """What errors of a cross-encoder's scores of all pairs of rows are relative to: :func:`head_scale`."""
    (row,) = (part for part in scorer.model.modules() if getattr(part, "out_features", None) == 1)
    assert isinstance(row, nn.Linear)
    held: list[float] = []
    handle = row.register_forward_pre_hook(
        lambda _, given: held.append(float(head_scale(row.weight, given[0].flatten(0, -2)).max()))
    )
    with torch.no_grad():
        scorer.scores(*rows)
    handle.remove()
    return max(held) / scorer.temperature


def small_model(**changes: Any) -> ModelConfig:
    values: dict[str, Any] = {"layers": 2, "hidden": 64, "heads": 2, "init": "scratch", "projection": 48}
    values |= {"similarity": "dot", "temperature": 1.0}
    return ModelConfig(**{**values, **changes})


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    return tmp_path / "model"
