from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from retrieval.config import StrategyConfig
from retrieval.config.strategy import RULES as EVERY
from retrieval.training.omega.by_gradients import ByGradients, combine
from retrieval.training.omega.rule import Facts
from retrieval.training.omega.target import Target

RULES = ("upgrad", "mgda", "pcgrad")


def rule_of(name: str) -> ByGradients:
    config = StrategyConfig(name="pareto", rule=name, mixing="loss")
    rule = EVERY[name](config, Facts(Target(1.0, 1.0, "test")))
    assert isinstance(rule, ByGradients)
    return rule


def losses(eff: list[float], rob: list[float]) -> tuple[Tensor, Tensor, list[nn.Parameter]]:
    """Two losses of two parameters whose gradients are the given vectors; the last entry is the second's."""
    first, second = nn.Parameter(torch.zeros(len(eff) - 1)), nn.Parameter(torch.zeros(()))
    of_eff, of_rob = torch.tensor(eff), torch.tensor(rob)
    return (
        first @ of_eff[:-1] + second * of_eff[-1],
        first @ of_rob[:-1] + second * of_rob[-1],
        [first, second],
    )


def step(rule: str, eff: list[float], rob: list[float]) -> tuple[float, Tensor]:
    one, two, parameters = losses(eff, rob)
    omega = combine(one, two, parameters, rule_of(rule).weighting)
    taken = [parameter.grad for parameter in parameters]
    assert all(part is not None for part in taken)
    return float(omega), torch.cat([part.flatten() for part in taken if part is not None])


def test_mgda_takes_the_shortest_mixture() -> None:
    # argmin |(1−ω)(2,0) + ω(0,1)|² = 4/(4+1).
    omega, gradient = step("mgda", [2.0, 0.0], [0.0, 1.0])
    assert omega == pytest.approx(0.8, abs=1e-3)
    torch.testing.assert_close(gradient, torch.tensor([0.4, 0.8]), rtol=1e-2, atol=0)


def test_pcgrad_projects_conflicting_gradients() -> None:
    # g₁ = (1,0), g₂ = (−1,1): g₁ − (g₁·g₂/|g₂|²)g₂ and g₂ − (g₂·g₁/|g₁|²)g₁ have weights (1,½)+(1,1).
    omega, _ = step("pcgrad", [1.0, 0.0], [-1.0, 1.0])
    assert omega == pytest.approx(1.5 / 3.5)


@pytest.mark.parametrize("rule", ["upgrad", "pcgrad"])
def test_gradients_that_agree_are_averaged(rule: str) -> None:
    omega, gradient = step(rule, [1.0, 0.5], [0.5, 2.0])
    assert omega == pytest.approx(0.5, abs=1e-3)
    torch.testing.assert_close(gradient, torch.tensor([0.75, 1.25]), rtol=1e-2, atol=0)


vectors = st.lists(st.integers(-20, 20).map(float), min_size=3, max_size=3).filter(any)


@given(vectors, vectors, st.sampled_from(RULES))
@settings(max_examples=40, deadline=None)
def test_the_step_is_the_mixture_that_omega_names_and_raises_no_loss(
    eff: list[float], rob: list[float], rule: str
) -> None:
    omega, gradient = step(rule, eff, rob)
    assert 0 <= omega <= 1
    expected = (1 - omega) * torch.tensor(eff) + omega * torch.tensor(rob)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-4)
    # To first order a step against the gradient changes a loss by −gradient·g, which must not be a rise.
    for own in (torch.tensor(eff), torch.tensor(rob)):
        assert float(gradient @ own) >= -1e-2 * max(1.0, float(own.norm() * gradient.norm()))


@given(vectors, vectors)
@settings(max_examples=20, deadline=None)
def test_with_two_losses_upgrad_and_pcgrad_are_one(eff: list[float], rob: list[float]) -> None:
    one, two = torch.tensor(eff), torch.tensor(rob)
    cosine = float(one @ two / (one.norm() * two.norm()))
    if abs(cosine) < 0.99 and 0.2 < float(one.norm() / two.norm()) < 5:
        assert step("upgrad", eff, rob)[0] == pytest.approx(step("pcgrad", eff, rob)[0], abs=0.02)


@pytest.mark.parametrize("rule", RULES)
def test_a_gradient_that_is_not_finite_stays_so(rule: str) -> None:
    _, gradient = step(rule, [float("nan"), 1.0], [1.0, 1.0])
    assert not bool(torch.isfinite(gradient).all())
