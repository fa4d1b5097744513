from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from retrieval.data.batches import Batch, collate
from retrieval.errors import ConfigError
from retrieval.models.families.dual_encoder import DualEncoder
from retrieval.models.flops import Work
from retrieval.training.objective import Objective, block_loss
from retrieval.training.strategy import IN_DOMAIN, OTHER_DOMAINS, PERTURBED, split
from retrieval.training.streams import TrainingData, dev_streams, streams
from tests.training.conftest import Make


def batch_of(objective: Objective, data: TrainingData, size: int = 16) -> Batch:
    return objective.prepare(collate(streams(objective.strategy, data, size), seed=1, step=0))


def gradients(encoder: DualEncoder, loss: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(encoder.parameters()), materialize_grads=True))


def assert_same(found: Sequence[Tensor | None], expected: list[Tensor]) -> None:
    """Equal up to the rounding of fp32 sums over another layout of the batch."""
    scale = max(float(gradient.abs().max()) for gradient in expected)
    for mine, gradient in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, gradient, rtol=0, atol=1e-5 * scale)


@pytest.mark.parametrize("robust", ["ood", "adversarial", "both"])
@pytest.mark.parametrize("base", ["standard", "adversarial"])
@pytest.mark.parametrize("omega", [0.0, 1.0])
def test_at_either_end_of_omega_the_gradient_is_that_of_one_loss(
    make: Make, data: TrainingData, encoder: DualEncoder, base: str, robust: str, omega: float
) -> None:
    objective = make(base=base, robust=robust, rule="fixed", omega=omega)
    batch = batch_of(objective, data)
    losses = objective.losses(encoder, batch)
    objective.backward(losses, list(encoder.parameters()))
    values = losses.detached()
    found = [parameter.grad for parameter in encoder.parameters()]
    again = objective.losses(encoder, batch)
    assert again.rob is not None
    expected = gradients(encoder, again.eff if omega == 0 else again.rob)
    assert values.rob is not None
    assert float(values.total) == pytest.approx(float(values.eff if omega == 0 else values.rob), rel=1e-6)
    assert_same(found, expected)


@pytest.mark.parametrize("omega", [0.0, 1.0])
def test_the_other_loss_leaves_no_trace_in_the_gradient(
    make: Make, data: TrainingData, encoder: DualEncoder, omega: float
) -> None:
    # The standard strategy on the same block alone, without the other half of the batch.
    objective = make(robust="ood", rule="fixed", omega=omega)
    name = IN_DOMAIN if omega == 0 else OTHER_DOMAINS
    found = {stream.name: stream for stream in streams(objective.strategy, data, 16)}
    alone = collate((found[name],), seed=1, step=0)
    expected = gradients(encoder, block_loss(encoder, encoder(alone.tokens), alone, name))
    objective.backward(objective.losses(encoder, batch_of(objective, data)), list(encoder.parameters()))
    assert_same([parameter.grad for parameter in encoder.parameters()], expected)


@pytest.mark.parametrize(
    ("values", "eff", "rob"),
    [
        ({"base": "standard", "robust": "ood"}, {IN_DOMAIN: 1}, {OTHER_DOMAINS: 1}),
        ({"base": "standard", "robust": "both"}, {IN_DOMAIN: 1}, {PERTURBED: 0.5, OTHER_DOMAINS: 0.5}),
        ({"base": "adversarial", "robust": "ood"}, {IN_DOMAIN: 0.5, PERTURBED: 0.5}, {OTHER_DOMAINS: 1}),
        ({"base": "adversarial", "robust": "adversarial"}, {IN_DOMAIN: 0.5, PERTURBED: 0.5}, {PERTURBED: 1}),
    ],
)
def test_one_pass_gives_what_separate_passes_would(
    make: Make,
    data: TrainingData,
    encoder: DualEncoder,
    values: dict[str, str],
    eff: dict[str, float],
    rob: dict[str, float],
) -> None:
    objective = make(**values, rule="fixed", omega=0.3)
    batch = batch_of(objective, data)
    losses = objective.losses(encoder, batch).detached()
    single = {}
    for stream in streams(objective.strategy, data, 16):
        alone = collate((stream,), seed=1, step=0)
        if stream.name == PERTURBED:
            assert objective.perturbation is not None
            seen = objective.perturbation(encoder, batch)  # type: ignore[arg-type]
            vectors = encoder(seen.tokens, seen.offset)
            single[stream.name] = block_loss(encoder, vectors, batch, PERTURBED).detach()
        else:
            single[stream.name] = block_loss(encoder, encoder(alone.tokens), alone, stream.name).detach()
    expected = [sum(weight * float(single[name]) for name, weight in part.items()) for part in (eff, rob)]
    assert losses.rob is not None
    assert [float(losses.eff), float(losses.rob)] == pytest.approx(expected, rel=1e-4)
    assert float(losses.total) == pytest.approx(0.7 * expected[0] + 0.3 * expected[1], rel=1e-4)


def test_adversarial_is_half_clean_half_perturbed_and_harder(
    make: Make, data: TrainingData, encoder: DualEncoder
) -> None:
    objective = make("adversarial", budget="extra", perturbation={"epsilon": 0.1})
    losses = objective.losses(encoder, batch_of(objective, data)).detached()
    assert losses.rob is not None
    assert float(losses.total) == pytest.approx((float(losses.eff) + float(losses.rob)) / 2)
    # With extra pairs the perturbed passages are those of the clean pairs.
    assert losses.rob > losses.eff


@pytest.mark.parametrize(
    ("name", "values", "equal"),
    [
        ("standard", {}, {IN_DOMAIN: 16}),
        ("hard-negative", {}, {IN_DOMAIN: 16}),
        ("adversarial", {}, {IN_DOMAIN: 8, PERTURBED: 8}),
        ("pareto", {}, {IN_DOMAIN: 8, OTHER_DOMAINS: 8}),
        ("pareto", {"robust": "both"}, {IN_DOMAIN: 8, PERTURBED: 4, OTHER_DOMAINS: 4}),
        ("pareto", {"base": "adversarial"}, {IN_DOMAIN: 4, PERTURBED: 4, OTHER_DOMAINS: 8}),
        ("pareto", {"base": "adversarial", "robust": "adversarial"}, {IN_DOMAIN: 4, PERTURBED: 12}),
    ],
)
def test_an_equal_budget_is_split_and_an_extra_one_multiplied(
    make: Make, data: TrainingData, name: str, values: dict[str, Any], equal: dict[str, int]
) -> None:
    found = streams(make(name, **values).strategy, data, 16)
    assert {stream.name: stream.count for stream in found} == equal
    more = streams(make(name, **values, budget="extra").strategy, data, 16)
    assert {stream.name: stream.count for stream in more} == dict.fromkeys(equal, 16)


@given(st.lists(st.integers(1, 8), min_size=1, max_size=4), st.integers(8, 200))
def test_a_split_gives_away_every_pair(weights: list[int], total: int) -> None:
    shares = {str(i): weight / sum(weights) for i, weight in enumerate(weights)}
    counts = split(shares, total)
    assert sum(counts.values()) == total
    assert all(abs(counts[name] - shares[name] * total) < 1 for name in shares)


def test_hard_negatives_are_asked_for_in_domain_only(make: Make, data: TrainingData) -> None:
    objective = make(base="hard-negative", robust="both")
    asked = {stream.name: stream.hard for stream in streams(objective.strategy, data, 16)}
    assert asked == {IN_DOMAIN: 1, PERTURBED: 1, OTHER_DOMAINS: 0}
    assert objective.strategy.base_name == "hard-negative"


def test_work_counts_every_pass(make: Make, data: TrainingData, encoder: DualEncoder) -> None:
    def parts(batch: Batch, name: str) -> tuple[Work, Work]:
        only = collate(
            tuple(s for s in streams(make("adversarial").strategy, data, 16) if s.name == name), 1, 0
        )
        queries, passages = (slice(0, 8), slice(8, 16))
        lengths = only.tokens.lengths[only.tokens.inverse]
        one, two = (
            Work(float(lengths[p].sum()), float(lengths[p].square().sum()), 8) for p in (queries, passages)
        )
        return one, two

    standard = make("standard")
    batch = batch_of(standard, data)
    assert standard.losses(encoder, batch).work == Work.of(batch.tokens, 3)
    for kind, steps, gradients_taken in (("fgsm", 5, 1), ("pgd", 4, 4)):
        objective = make("adversarial", {"kind": kind, "steps": steps})
        batch = batch_of(objective, data)
        queries, passages = parts(batch, PERTURBED)
        expected = Work.of(batch.tokens, 3) + queries
        for _ in range(2 * gradients_taken):
            expected += passages
        assert objective.losses(encoder, batch).work == expected
    by_gradients = make(rule="mgda")
    batch = batch_of(by_gradients, data)
    assert by_gradients.losses(encoder, batch).work == Work.of(batch.tokens, 5)


def test_flops_against_a_count_by_hand(encoder: DualEncoder) -> None:
    # Two layers of width 32 and feed-forward width 128; projection to 24.
    weights = 2 * (4 * 32 * 32 + 2 * 32 * 128)
    expected = 2 * weights * 10 + 4 * 32 * 2 * 50 + 2 * 32 * 24 * 3 + 7
    assert encoder.flops(Work(10, 50, 3, 7)) == expected


@pytest.mark.parametrize("robust", ["ood", "both"])
def test_robust_domains_are_missed_where_they_are_needed(make: Make, data: TrainingData, robust: str) -> None:
    with pytest.raises(ConfigError, match="needs robust-training domains"):
        streams(make(robust=robust).strategy, TrainingData(data.in_domain), 16)


def test_adversarial_robustness_needs_no_robust_domains(make: Make, data: TrainingData) -> None:
    found = streams(make(robust="adversarial").strategy, TrainingData(data.in_domain), 16)
    assert [stream.name for stream in found] == [IN_DOMAIN, PERTURBED]


def test_dev_pairs_of_every_loss_are_as_many(make: Make, data: TrainingData) -> None:
    for base, robust in itertools.product(("standard", "adversarial"), ("ood", "both")):
        objective = make(base=base, robust=robust)
        found = dev_streams(objective.strategy, data)
        assert {stream.count for stream in found} == {40}
        assert {stream.hard for stream in found} == {0}
