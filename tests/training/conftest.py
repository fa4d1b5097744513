"""A little vocabulary with words of one and of several tokens, a small encoder, pairs to train on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval.config import ModelConfig, PerturbationConfig, StrategyConfig
from retrieval.data.batches import TrainingPairs
from retrieval.data.collection import Judgements
from retrieval.data.tokens import TokenStore, train_wordpiece, write_store
from retrieval.models.families import build_scorer
from retrieval.models.families.dual_encoder import DualEncoder
from retrieval.training.objective import Objective, Setting, build_objective
from retrieval.training.streams import TrainingData

WORDS = [f"{a}{b}{c}" for a in "bdfgk" for b in "aeiou" for c in "lmnrst"]
PAIRS = 40


@pytest.fixture(scope="session")
def texts() -> list[str]:
    random = np.random.default_rng(0)
    return [" , ".join(random.choice(WORDS, random.integers(2, 20))) for _ in range(6 * PAIRS)]


@pytest.fixture(scope="session")
def tokenizer(texts: list[str]) -> Any:
    return train_wordpiece(texts, 130)


@pytest.fixture(scope="session")
def data(texts: list[str], tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> TrainingData:
    """An in-domain collection and two robust-training domains, 40 pairs each."""

    def collection(name: str, own: list[str]) -> TrainingPairs:
        stores = []
        for side, part, length in (("q", own[:PAIRS], 12), ("p", own[PAIRS:], 32)):
            folder: Path = tmp_path_factory.mktemp(f"{name}-{side}")
            write_store(folder, iter(part), tokenizer, length)
            stores.append(TokenStore(folder))
        rows = np.arange(PAIRS, dtype=np.int64)
        judged = Judgements(rows, rows, np.ones(PAIRS, np.int32))
        return TrainingPairs(name, *stores, pairs=judged, known=judged)

    parts = [collection(str(i), texts[2 * i * PAIRS : 2 * (i + 1) * PAIRS]) for i in range(3)]
    return TrainingData(parts[0], tuple(parts[1:]))


@pytest.fixture
def encoder(tokenizer: Any) -> DualEncoder:
    shape = ModelConfig(layers=2, hidden=32, heads=2, init="scratch", projection=24)
    return build_scorer(shape, tokenizer, seed=3, precision="32")


Make = Callable[..., Objective]


@pytest.fixture
def make(tokenizer: Any) -> Make:
    """Build the objective of a strategy, its ω by ``dro`` unless said; ``perturbation``: its settings."""

    def built(name: str = "pareto", perturbation: dict[str, Any] | None = None, **values: Any) -> Objective:
        config = StrategyConfig(name=name, **{"rule": "dro", **values})
        config.perturbation = PerturbationConfig(**(perturbation or {}))
        return build_objective(config, Setting(seed=7, tokenizer=tokenizer))

    return built
