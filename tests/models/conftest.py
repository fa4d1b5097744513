from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval.config import ModelConfig
from retrieval.data.tokens import train_wordpiece
from retrieval.models.families import build_scorer
from retrieval.models.families.dual_encoder import DualEncoder
from tests.rounding import encoder_roundings

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


def small_model(**changes: Any) -> ModelConfig:
    values: dict[str, Any] = {"layers": 2, "hidden": 64, "heads": 2, "init": "scratch", "projection": 48}
    values |= {"similarity": "dot", "temperature": 1.0}
    return ModelConfig(**{**values, **changes})


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    return tmp_path / "model"
