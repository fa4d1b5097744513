"""Tiny but whole runs: the synthetic suite, two layers, a handful of steps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig

from tests.conftest import composed
from tests.rounding import encoder_roundings

SMALL = (
    "data=synthetic",
    "data.passages=300",
    "data.queries=200",
    "data.topics=10",
    "data.words=300",
    "data.vocabulary=400",
    "model=bert-tiny",
    "model.hidden=64",
    "train.steps=12",
    "train.batch_size=8",
    "eval.pool=150",
    "eval.negatives=32",
    "eval.draws=2",
    "trainer.log_every=3",
    "trainer.progress=false",
    "logger=none",
)

ROUNDINGS = encoder_roundings(layers=2, hidden=64, tokens=64) + 768
"""Of a vector of such a run: of a dual encoder it has 768 numbers, whose squares add up to its length."""

ATTACK = (
    "attack=wsra",
    "attack.queries=3",
    "attack.first_rank=21",
    "attack.last_rank=50",
    "attack.min_cosine=-1",
    "attack.candidates=3",
    "attack.tries=5",
)
"""An attack on so small a suite."""

__all__ = ["ATTACK", "ROUNDINGS", "SMALL", "Compose", "composed"]

Compose = Callable[..., DictConfig]


@pytest.fixture
def small(tmp_path: Path, cache: Path) -> Compose:
    """Compose a small cell; its runs folder is the test's own."""

    def make(*overrides: str) -> DictConfig:
        return composed(*SMALL, f"runs={tmp_path / 'runs'}", f"cache={cache}", *overrides)

    return make
