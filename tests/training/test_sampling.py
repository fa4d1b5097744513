"""What each step trains: the share of robust steps, turns, positions, resumes."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retrieval.data.batches import Batch
from retrieval.training.omega.controller import OmegaController
from retrieval.training.sampling import Sampler
from retrieval.training.strategy import EFF, IN_DOMAIN, OTHER_DOMAINS, PERTURBED, ROB
from retrieval.training.streams import TrainingData
from tests.training.conftest import Make

SIZE = 8
shared = settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])


def ids(batch: Batch) -> list[int]:
    found: list[int] = batch.tokens.ids.tolist()
    return found


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60))
@shared
def test_robust_steps_follow_omega_with_less_than_one_step_of_error(
    make: Make, data: TrainingData, omegas: list[float]
) -> None:
    objective = make(rule="fixed", omega=0.0)
    assert objective.control is not None
    sampler = Sampler(objective, data, SIZE, seed=1)
    wanted, robust = 0.0, 0
    for omega in omegas:
        objective.control.omega = torch.tensor(omega)
        wanted += float(objective.omega)
        robust += sampler._term() == ROB
        assert abs(wanted - robust) <= 0.5 + 1e-6


@pytest.mark.parametrize("rule", ["dro", "linear"])
def test_rules_of_training_losses_choose_by_omega_of_a_step_ago(
    make: Make, data: TrainingData, rule: str
) -> None:
    objective = make(rule=rule, omega=0.5)
    assert objective.control is not None
    sampler = Sampler(objective, data, SIZE, seed=1)
    omegas = [0.5, 0.9, 0.2, 0.7, 0.7, 0.3]
    credit = 0.0
    for before, omega in zip([0.5, *omegas], omegas, strict=False):
        objective.control.omega = torch.tensor(omega)
        credit += before - (sampler._term() == ROB)
        assert sampler.credit == pytest.approx(credit)


def test_omega_of_a_step_ago_survives_a_resume(make: Make, data: TrainingData) -> None:
    whole, first, second = (make(rule="dro", omega=0.5, eta=1.0).control for _ in range(3))
    assert whole is not None
    assert first is not None
    assert second is not None
    losses = [(1.0, None), (None, 4.0), (3.0, None), (None, 0.5), (0.2, None), (2.0, None)]

    def steps(control: OmegaController, of: list[tuple[float | None, float | None]]) -> list[float]:
        found = []
        for pair in of:
            found.append(control.choose_by())
            control.update(*(None if value is None else torch.tensor(value) for value in pair))
        return found

    expected = steps(whole, losses)
    assert len(set(expected)) > 2
    assert steps(first, losses[:4]) == expected[:4]
    second.load_state_dict(first.state_dict())
    assert steps(second, losses[4:]) == expected[4:]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
def test_on_a_gpu_a_choice_does_not_wait_for_the_latest_step(make: Make, data: TrainingData) -> None:
    objective = make(rule="dro", omega=0.5)
    assert objective.control is not None
    half = torch.tensor(0.5, device="cuda")
    objective.control.omega = half
    for _ in range(3):  # until pinned memory is at hand: taking some waits for the device
        objective.control.choose_by()
    torch.cuda.synchronize()
    torch.cuda._sleep(2_000_000_000)
    objective.control.omega = half + 0.1
    assert objective.control.choose_by() == 0.5
    assert not torch.cuda.current_stream().query()


@pytest.mark.parametrize(("omega", "term"), [(0.0, EFF), (1.0, ROB)])
def test_at_either_end_one_loss_is_trained_alone(
    make: Make, data: TrainingData, omega: float, term: str
) -> None:
    sampler = Sampler(make(rule="fixed", omega=omega), data, SIZE, seed=1)
    assert {sampler.batch(step).term for step in range(9)} == {term}


def test_in_domain_steps_are_those_of_standard_in_their_order(make: Make, data: TrainingData) -> None:
    standard = Sampler(make("standard"), data, SIZE, seed=1)
    expected = [ids(standard.batch(step)) for step in range(12)]
    mixed = Sampler(make(rule="fixed", omega=0.3), data, SIZE, seed=1)
    found = [mixed.batch(step) for step in range(12)]
    in_domain = [ids(batch) for batch in found if batch.term == EFF]
    assert 6 < len(in_domain) < 12
    assert in_domain == expected[: len(in_domain)]
    assert all(batch.pairs == SIZE for batch in found)


def test_robust_steps_take_one_domain_each_in_turn(make: Make, data: TrainingData) -> None:
    sampler = Sampler(make(rule="fixed", omega=1.0), data, SIZE, seed=1)
    assert [lane.stream.sources[0].name for lane in sampler.lanes if lane.term == ROB] == ["1", "2"]
    for step in range(7):
        sampler.batch(step)
    assert sampler.positions == {"eff/in-domain": 0, "rob/other-domains/1": 4, "rob/other-domains/2": 3}
    pooled = Sampler(make(rule="fixed", omega=1.0, domains="pooled"), data, SIZE, seed=1)
    assert pooled.positions == {"eff/in-domain": 0, "rob/other-domains": 0}
    (lane,) = (lane for lane in pooled.lanes if lane.term == ROB)
    assert len(lane.stream.sources) == 2


@pytest.mark.parametrize(
    ("values", "shares"),
    [
        ({"robust": "both"}, {(EFF, IN_DOMAIN): 16, (ROB, PERTURBED): 8, (ROB, OTHER_DOMAINS): 8}),
        (
            {"base": "adversarial"},
            {(EFF, IN_DOMAIN): 8, (EFF, PERTURBED): 8, (ROB, OTHER_DOMAINS): 16},
        ),
        (
            {"base": "adversarial", "robust": "adversarial"},
            {(EFF, IN_DOMAIN): 8, (EFF, PERTURBED): 8, (ROB, PERTURBED): 16},
        ),
    ],
)
def test_losses_of_a_term_share_its_steps(
    make: Make, data: TrainingData, values: dict[str, str], shares: dict[tuple[str, str], int]
) -> None:
    sampler = Sampler(make(rule="fixed", omega=0.5, **values), data, SIZE, seed=1)
    batches = [sampler.batch(step) for step in range(32)]
    assert Counter((batch.term, *batch.blocks) for batch in batches) == shares


def test_adversarial_trains_on_perturbed_passages_every_second_step(make: Make, data: TrainingData) -> None:
    sampler = Sampler(make("adversarial"), data, SIZE, seed=1)
    found = [[*sampler.batch(step).blocks] for step in range(6)]
    assert found == [[IN_DOMAIN], [PERTURBED]] * 3


@pytest.mark.parametrize(
    "values",
    [
        {"rule": "fixed", "omega": 0.37},
        {"rule": "fixed", "omega": 0.6, "robust": "both", "base": "adversarial"},
        {"rule": "fixed", "omega": 0.6, "mixing": "loss"},
    ],
)
@pytest.mark.parametrize("cut", [0, 1, 5, 11])
def test_a_sampler_continues_where_its_state_was_taken(
    make: Make, data: TrainingData, values: dict[str, Any], cut: int
) -> None:
    whole, first, second = (Sampler(make(**values), data, SIZE, seed=1) for _ in range(3))
    expected = [ids(whole.batch(step)) for step in range(16)]
    for step in range(cut):
        first.batch(step)
    second.load_state_dict(first.state_dict())
    assert [ids(second.batch(step)) for step in range(cut, 16)] == expected[cut:]


def test_distinct_pairs_count_a_pair_once(make: Make, data: TrainingData) -> None:
    values = {"rule": "fixed", "omega": 0.5, "robust": "both", "base": "adversarial"}
    sampler = Sampler(make(**values), data, SIZE, seed=1)
    assert sampler.distinct_pairs() == {EFF: 0, ROB: 0}
    seen: dict[str, set[tuple[str, int]]] = {EFF: set(), ROB: set()}
    for step in range(24):
        before = dict(sampler.positions)
        sampler.batch(step)
        (name,) = (name for name, count in sampler.positions.items() if count != before[name])
        stream = next(lane.stream for lane in sampler.lanes if lane.name == name)
        for draw in stream.draw(1, step, before[name]):
            side = EFF if draw.source is data.in_domain else ROB
            seen[side] |= {(draw.source.name, row) for row in draw.query_rows.tolist()}
        assert sampler.distinct_pairs() == {side: len(pairs) for side, pairs in seen.items()}


def test_processes_choose_alike(make: Make, data: TrainingData) -> None:
    values = {"rule": "fixed", "omega": 0.4, "robust": "ood"}
    alone = Sampler(make(**values), data, SIZE, seed=1)
    halves = [Sampler(make(**values), data, SIZE, 1, rank, 2) for rank in range(2)]
    for step in range(8):
        whole = alone.batch(step)
        parts = [half.batch(step) for half in halves]
        assert {part.term for part in parts} == {whole.term}
        assert sum(part.tokens.tokens for part in parts) == whole.tokens.tokens
        for one, two in itertools.pairwise([whole, *parts]):
            assert one.blocks.keys() == two.blocks.keys()
