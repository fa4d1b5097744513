from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from retrieval.training.diagnostics import (
    chance_level,
    diagnose,
    distance_to_front,
    divergence,
    oscillation,
    saturation,
)
from retrieval.training.objective import Objective
from retrieval.training.omega.target import Target
from tests.training.conftest import Make

BOUNDS = (0.01, 0.99)
METRICS = ("eff/contrastive_entropy", "ood/contrastive_entropy")


def lines(omegas: list[float]) -> list[dict[str, Any]]:
    return [{"step": 10 * i, "train/omega": omega} for i, omega in enumerate(omegas)]


def codes(objective: Objective, omegas: list[float], **result: float) -> list[str]:
    return [warning["code"] for warning in diagnose(objective.control, lines(omegas), result)]


def test_back_and_forth_is_an_oscillation_and_noise_is_not() -> None:
    random = np.random.default_rng(0)
    assert "turned back at 100%" in str(oscillation(np.array([0.3, 0.7] * 5)))
    assert oscillation(0.5 + 0.01 * random.standard_normal(50)) is None
    assert oscillation(np.linspace(0.1, 0.9, 10)) is None
    assert oscillation(np.full(10, 0.4)) is None


def test_saturation_is_half_of_the_time_at_a_bound() -> None:
    assert "bound 0.99" in str(saturation(np.array([0.9, 0.99, 0.99, 0.99]), BOUNDS))
    assert "bound 0.01" in str(saturation(np.full(5, 0.01), BOUNDS))
    assert saturation(np.array([0.9, 0.95, 0.97, 0.99, 0.96]), BOUNDS) is None


def test_ratios_that_disagree_or_move_against_each_other() -> None:
    assert divergence(np.log([[1.0, 1.5], [1.0, 1.1]])) is not None
    assert divergence(np.log([[1.0, 1.2], [1.0, 1.1]])) is None
    rising, falling = [1.0, 1.02, 1.04, 1.06], [1.06, 1.04, 1.02, 1.0]
    assert "correlation -1.00" in str(divergence(np.log([rising, falling])))
    assert divergence(np.log([rising, rising])) is None
    assert divergence(np.log([rising[:3], falling[:3]])) is None
    assert divergence(np.empty((2, 0))) is None


def test_a_point_of_the_frontier_that_is_better_in_both() -> None:
    target = Target(2.0, 3.0, "frontier.json", "all", METRICS, ((1.5, 3.5), (2.0, 3.0), (2.5, 2.8)))
    for eff, rob, reached in ((2.1, 3.1, False), (2.01, 3.01, True), (1.9, 3.4, True), (2.6, 2.7, True)):
        found = distance_to_front(target, dict(zip(METRICS, (eff, rob), strict=True)))
        assert (found is None) == reached, (eff, rob)
    assert distance_to_front(target, {}) is None
    assert distance_to_front(Target(1.0, 1.0, "prior"), dict.fromkeys(METRICS, 9.0)) is None


def test_an_encoder_that_knows_nothing_is_named_whatever_the_strategy(make: Make) -> None:
    at_chance = {"eff/contrastive_entropy": math.log(257), "eval/negatives": 256.0}
    assert "5.549" in str(chance_level(at_chance))
    assert chance_level({**at_chance, "eff/contrastive_entropy": 5.4}) is None
    assert chance_level({}) is None
    for control in (None, make().control):
        assert [warning["code"] for warning in diagnose(control, [], at_chance)] == ["AT_CHANCE_LEVEL"]


def test_every_code_has_its_run(make: Make) -> None:
    calm = [0.5 + 0.01 * i for i in range(20)]
    assert codes(make(), calm) == []
    assert codes(make(), [0.3, 0.7] * 10) == ["OMEGA_OSCILLATES"]
    assert codes(make(), [*calm, *[0.99] * 20]) == ["OMEGA_SATURATED"]
    assert codes(make("standard"), []) == []
    assert codes(make(rule="fixed", omega=1.0), [1.0] * 20) == []
    objective = make()
    control = objective.control
    assert control is not None
    control.update(torch.tensor(1.0), torch.tensor(1.0))
    control.recalibrate(10, torch.tensor(1.0), torch.tensor(2.0))
    control.target = Target(1.0, 1.0, "frontier.json", "all", METRICS, ((1.0, 1.0),))
    found = codes(objective, calm, **dict.fromkeys(METRICS, 2.0))
    assert found == ["PROXY_DIVERGED", "FRONTIER_NOT_REACHED"]


def test_a_message_holds_the_numbers_of_the_run(make: Make) -> None:
    (warning,) = diagnose(make().control, lines([0.3, 0.7] * 10), {})
    assert warning.keys() == {"code", "message", "remedy"}
    assert "0.40" in warning["message"]
    assert "\n" not in warning["message"]


@pytest.mark.parametrize("count", [0, 3])
def test_too_few_logged_steps_say_nothing(make: Make, count: int) -> None:
    assert codes(make(), [0.01] * count) == []


def test_the_ratios_are_those_of_the_recalibrations(make: Make) -> None:
    control = make().control
    assert control is not None
    control.update(torch.tensor(2.0), torch.tensor(3.0))
    control.recalibrate(10, torch.tensor(4.0), torch.tensor(5.0))
    assert control.ratios()[:, 0].tolist() == pytest.approx([math.log(1.5), math.log(1.25)])
