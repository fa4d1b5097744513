"""``anchor``: the fine-tuned weights are drawn back towards the initial ones as far as dev losses ask for."""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from retrieval.config import Config, StrategyConfig
from retrieval.errors import ConfigError
from retrieval.training.omega.rule import Facts, Rule

if TYPE_CHECKING:
    from torch import Tensor, nn, optim

    from retrieval.training.interpolation import Measure


class Anchor(Rule):
    """``θ = (1 − c)·θ₀ + c·θ_T`` with c ∈ {0, .1, …, 1} of the least E_dev + R_dev after training.

    WiSE-FT (Wortsman et al. 2022, arXiv 2109.01903) with the coefficient chosen on dev pairs, or given as
    ``strategy.coefficient``; training itself goes on at ω = ``strategy.omega``, 0 by default. It assumes that
    the initial weights are a good model that fine-tuning on one domain spoils for others: a pretrained start.
    """

    name = "anchor"
    moves = False
    measures = ("eff", "rob")
    acts_on_weights = True
    owns = MappingProxyType({"coefficient": None})

    def __init__(self, config: StrategyConfig, facts: Facts) -> None:
        super().__init__(config, facts)
        self.coefficient = math.nan
        self.initial: dict[str, Tensor] = {}

    @classmethod
    def check(cls, cell: Config) -> None:
        """The initial weights have to be worth something."""
        super().check(cell)
        if cell.model.init == "scratch":
            raise ConfigError(
                "strategy.rule=anchor draws weights back to a pretrained start and model.init=scratch has "
                "none; set model.init=pretrained, or choose another rule"
            )

    def start(self) -> float:
        """In-domain pairs alone, unless a share of robust steps is asked for."""
        return 0.0 if self.config.omega is None else float(self.config.omega)

    def before_training(self, model: nn.Module) -> None:
        """Keep the initial weights; a resumed run has them in its checkpoint."""
        from retrieval.training.interpolation import weights_of

        self.initial = self.initial or weights_of(model)

    def change_weights(
        self, step: int, model: nn.Module, optimizer: optim.Optimizer, measure: Measure
    ) -> None:
        """Interpolate after the last step."""
        from retrieval.training.interpolation import interpolate, set_weights, weights_of

        if step != self.facts.where["steps"]:
            return
        given = self.config.coefficient
        if given is None:
            self.coefficient = interpolate(model, self.initial, weights_of(model), measure)
        else:
            set_weights(model, self.initial, weights_of(model), given)
            self.coefficient = given

    def result(self) -> dict[str, Any]:
        """The coefficient, and whether it was given; 1 keeps the fine-tuned weights."""
        given = self.config.coefficient
        stated = {} if given is None else {"omega/coefficient_given": given}
        return {"omega/coefficient": self.coefficient, **stated}

    def state_dict(self) -> dict[str, Any]:
        """The initial weights, and the coefficient for a run that is resumed after its last step."""
        return {"coefficient": self.coefficient, "initial": self.initial}
