"""``fixed`` and ``schedule``: ω as a function of the step alone."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import TYPE_CHECKING

from retrieval.training.omega.rule import Rule

if TYPE_CHECKING:
    from retrieval.training.omega.state import OmegaState


def constant(mean: float, progress: float) -> float:
    """ω is ``mean`` throughout."""
    return mean


def cool_down(mean: float, progress: float) -> float:
    """ω falls linearly from min(1, 2·mean) to max(0, 2·mean − 1): up-sampled first (arXiv 2410.04579)."""
    first = min(1.0, 2 * mean)
    return first + (2 * mean - 2 * first) * progress


def warm_up(mean: float, progress: float) -> float:
    """ω rises linearly, the reverse of ``cool-down``."""
    return cool_down(mean, 1 - progress)


def switch(mean: float, progress: float) -> float:
    """The robust loss alone for the first ``mean`` of the training, then the in-domain loss alone."""
    return 1.0 if progress < mean else 0.0


SCHEDULES: dict[str, Callable[[float, float], float]] = {
    "constant": constant,
    "cool-down": cool_down,
    "warm-up": warm_up,
    "switch": switch,
}
"""``strategy.schedule`` → (mean of ω, share of the steps done) → ω. Each has the mean that it is given."""


class Fixed(Rule):
    """``ω_t = strategy.omega``. Assumes that somebody has found the value, on dev metrics of other runs."""

    name = "fixed"
    moves = False
    needs = MappingProxyType({"omega": "NUMBER, from 0 to 1"})


class Schedule(Rule):
    """``ω_t = f(t/T)`` with mean ``strategy.omega``. Assumes that order matters as much as amount."""

    name = "schedule"
    moves = False
    needs = MappingProxyType({"omega": "NUMBER, from 0 to 1"})
    owns = MappingProxyType({"schedule": "constant"})

    def _at(self, step: int) -> float:
        assert self.config.omega is not None
        steps = int(self.facts.where["steps"])
        # The middle of the step, so that the mean over all steps is exact for a line.
        return SCHEDULES[self.config.schedule](float(self.config.omega), (step + 0.5) / steps)

    def start(self) -> float:
        """ω of the first step."""
        return self._at(0)

    def after_step(self, control: OmegaState) -> float:
        """ω of the next step."""
        return self._at(min(control.steps, int(self.facts.where["steps"]) - 1))
