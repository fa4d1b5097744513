"""``soup``: a common trunk, two branches at a low and at a high ω, and the average of their weights."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any

from retrieval.config import Config, StrategyConfig
from retrieval.errors import ConfigError
from retrieval.training.omega.rule import Facts, Rule

if TYPE_CHECKING:
    from torch import Tensor, nn, optim

    from retrieval.training.interpolation import Measure
    from retrieval.training.omega.state import OmegaState


class Soup(Rule):
    """``θ = (1 − c)·θ_low + c·θ_high`` with c ∈ {0, .1, …, 1} of the least E_dev + R_dev.

    The trunk takes ``strategy.trunk`` of all steps at the mean of ``strategy.omegas``; the two branches share
    the other steps, one at each of these ω, both from the trunk's weights and optimiser state. The learning
    rate decays over the trunk and one branch, so each branch ends at 0. Both branches count among the run's
    steps: the run takes as many as any other. Rewarded soups (Ramé et al. 2023, arXiv 2306.04488) and, for
    retrieval, BOOM (arXiv 2602.05787). It assumes that the branches stay on one basin: the longer the trunk,
    the truer.
    """

    name = "soup"
    moves = False
    measures = ("eff", "rob")
    acts_on_weights = True

    def __init__(self, config: StrategyConfig, facts: Facts) -> None:
        super().__init__(config, facts)
        self.low, self.high = (float(omega) for omega in config.omegas)
        steps = int(facts.where["steps"])
        self.branch = (steps - round(config.trunk * steps)) // 2
        self.trunk = steps - 2 * self.branch
        self.coefficient = math.nan
        self.at_trunk: dict[str, Tensor] = {}
        """Weights at the end of the trunk, until the second branch begins; so the next."""
        self.optimizer: dict[str, Any] = {}
        self.first: dict[str, Tensor] = {}
        """Weights of the first branch."""

    @classmethod
    def check(cls, cell: Config) -> None:
        """Two branches need two values of ω."""
        super().check(cell)
        omegas = [float(omega) for omega in cell.strategy.omegas]
        if len(omegas) != 2 or not 0 <= omegas[0] < omegas[1] <= 1:
            raise ConfigError(
                f"strategy.omegas={omegas} must be a low and a high ω from 0 to 1, such as [0,0.5]"
            )

    def course(self, step: int, steps: int) -> tuple[int, int]:
        """Place of a step in the schedule of the learning rate: that of the trunk and one branch."""
        length = self.trunk + self.branch
        return (step if step < length else step - self.branch), length

    def start(self) -> float:
        """The trunk's ω."""
        return self._at(0)

    def _at(self, step: int) -> float:
        if step < self.trunk:
            return (self.low + self.high) / 2
        return self.low if step < self.trunk + self.branch else self.high

    def after_step(self, control: OmegaState) -> Tensor | float:
        """The ω of the stretch that the next step belongs to."""
        return self._at(control.steps)

    def change_weights(
        self, step: int, model: nn.Module, optimizer: optim.Optimizer, measure: Measure
    ) -> None:
        """Keep the trunk, go back to it for the second branch, and average at the end."""
        from retrieval.training.interpolation import interpolate, set_weights, weights_of

        if step == self.trunk:
            self.at_trunk = weights_of(model)
            self.optimizer = copy.deepcopy(optimizer.state_dict())
        if step == self.trunk + self.branch:
            self.first = weights_of(model)
            set_weights(model, self.at_trunk, self.at_trunk, 0.0)
            # The rates are the schedule's; the moments are the trunk's.
            rates = [group["lr"] for group in optimizer.param_groups]
            optimizer.load_state_dict(self.optimizer)
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate
            self.at_trunk, self.optimizer = {}, {}
        if step == self.facts.where["steps"]:
            self.coefficient = interpolate(model, self.first, weights_of(model), measure)

    def result(self) -> dict[str, Any]:
        """The coefficient; 1 keeps the branch of the high ω."""
        return {"omega/coefficient": self.coefficient, "omega/low": self.low, "omega/high": self.high}

    def state_dict(self) -> dict[str, Any]:
        """What the rest of the run goes back to, and the coefficient for one resumed after its last step."""
        names = ("coefficient", "at_trunk", "optimizer", "first")
        return {name: getattr(self, name) for name in names}
