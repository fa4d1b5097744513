"""What the plan says a step holds against what the sampler draws."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence

import pytest

from retrieval.data.batches import Stream
from retrieval.training.sampling import Sampler
from retrieval.training.strategies import base
from sweeps.launch.workload import (
    OTHER_DOMAINS,
    PERTURBED,
    assumed_contents,
    hard_negatives,
    shares,
    workload,
)
from tests.end_to_end.conftest import composed
from tests.training.conftest import Make

STEPS, SIZE = 40, 16
BASES, ROBUST, MIXING = (
    ("standard", "hard-negative", "adversarial"),
    ("ood", "adversarial", "both"),
    ("steps", "loss"),
)


@pytest.mark.parametrize(("of", "robust", "mixing"), list(itertools.product(BASES, ROBUST, MIXING)))
def test_a_plan_counts_the_pairs_that_a_step_draws(
    make: Make,
    data: base.TrainingData,
    of: str,
    robust: str,
    mixing: str,
) -> None:
    mixed = ("strategy=pareto", "strategy.rule=fixed", "strategy.omega=0.25")
    options = (f"strategy.base={of}", f"strategy.robust={robust}", f"strategy.mixing={mixing}")
    config = composed("data=synthetic", *mixed, *options)
    strategy = make(base=of, robust=robust, mixing=mixing, rule="fixed", omega=0.25)
    sampler = Sampler(strategy, data, SIZE, seed=1)
    given = Counter[str]()
    passages = 0
    for _ in range(STEPS):
        for stream in drawn(sampler):
            given[stream.name] += stream.count
            passages += stream.count * (1 + stream.hard)
    found = shares(config.strategy)
    total = STEPS * SIZE
    assert found[PERTURBED] == pytest.approx(given[base.PERTURBED] / total, abs=1 / SIZE)
    assert found[OTHER_DOMAINS] == pytest.approx(given[base.OTHER_DOMAINS] / total, abs=1 / SIZE)
    planned = 1 + hard_negatives(config.strategy) * (1 - found[OTHER_DOMAINS])
    assert planned == pytest.approx(passages / total, abs=1 / SIZE)
    contents = assumed_contents(config)
    expected = config.train.batch_size * (contents.query + planned * contents.passage)
    assert workload(config, contents).step_tokens == pytest.approx(expected)


def drawn(sampler: Sampler) -> Sequence[Stream]:
    """The streams that the next step draws from."""
    return [sampler._choose(sampler._term()).stream] if sampler.lanes else sampler.streams
