"""What the plan says a step holds against what the sampler draws."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence

import pytest

from retrieval.config import StrategyConfig
from retrieval.config.knobs import choices
from retrieval.config.strategy import STRATEGIES
from retrieval.data.batches import Stream
from retrieval.training.sampling import Sampler
from retrieval.training.streams import TrainingData
from tests.training.conftest import Make

STEPS, SIZE, OMEGA = 40, 16, 0.25
CASES = [
    *(
        (name, {"mixing": mixing})
        for name, mixing in itertools.product(STRATEGIES, choices(StrategyConfig, "mixing"))
    ),
    *(
        ("pareto", {"base": base, "robust": robust, "mixing": mixing, "rule": "fixed", "omega": OMEGA})
        for base, robust, mixing in itertools.product(
            choices(StrategyConfig, "base"),
            choices(StrategyConfig, "robust"),
            choices(StrategyConfig, "mixing"),
        )
    ),
]


@pytest.mark.parametrize(("name", "values"), CASES)
def test_a_strategy_says_which_pairs_its_mean_step_draws(
    make: Make, data: TrainingData, name: str, values: dict[str, str]
) -> None:
    objective = make(name, **values)
    strategy, sampler = objective.strategy, Sampler(objective, data, SIZE, seed=1)
    given = Counter[str]()
    for _ in range(STEPS):
        for stream in drawn(sampler):
            given[stream.name] += stream.count
            assert stream.hard == strategy.negatives_of(stream.name)
    omega = OMEGA if "omega" in values else 0.5
    expected = strategy.expected_counts(SIZE, omega)
    assert set(expected) == set(given)
    for block, count in given.items():
        assert count / STEPS == pytest.approx(expected[block], abs=1)


def drawn(sampler: Sampler) -> Sequence[Stream]:
    """The streams that the next step draws from."""
    return [sampler._choose(sampler._term()).stream] if sampler.lanes else sampler.streams
