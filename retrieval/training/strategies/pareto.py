"""``pareto``: (1 − ω)·L_eff + ω·L_rob with a controlled ω (arXiv 2505.24279)."""

from collections.abc import Mapping
from typing import Any

from retrieval.config import Config, StrategyConfig
from retrieval.config.strategy import RULES, STRATEGIES
from retrieval.training.omega.rule import Rule, chosen_rule
from retrieval.training.strategy import OTHER_DOMAINS, PERTURBED, Mixture, Strategy

OBJECTIVES: dict[str, Mixture] = {
    "ood": {OTHER_DOMAINS: 1.0},
    "adversarial": {PERTURBED: 1.0},
    "both": {PERTURBED: 0.5, OTHER_DOMAINS: 0.5},
}
"""L_rob by ``strategy.robust``."""


class Pareto(Strategy):
    """The whole loss of a base strategy and a robustness loss, weighted by ω."""

    name = "pareto"
    has_omega = True

    def __init__(self, config: StrategyConfig) -> None:
        super().__init__(config)
        self.base: Strategy = STRATEGIES[config.base](config)

    @classmethod
    def unread_keys(cls, config: Mapping[str, Any]) -> frozenset[str]:
        """Options of hard negatives, denoising and perturbations where neither loss has them."""
        base = str(config.get("base"))
        if cls is not Pareto or base not in STRATEGIES:
            return frozenset()
        parts = {"hard", "denoise"} | ({"perturbation"} if config.get("robust") == "ood" else set())
        return frozenset(STRATEGIES[base].unread_keys(config) & parts)

    @property
    def eff(self) -> Mixture:
        """Everything that the base strategy minimises."""
        return self.base.shares

    @property
    def rob(self) -> Mixture | None:
        """The chosen robustness objective."""
        return OBJECTIVES[self.config.robust]

    @property
    def hard_negatives(self) -> int:
        """The base strategy's."""
        return self.base.hard_negatives

    @property
    def denoised(self) -> bool:
        """As the base strategy has it."""
        return self.base.denoised

    @property
    def backward_passes(self) -> int:
        """One for each loss where the rule asks for the gradients of both."""
        return 2 if self.config.rule in RULES and RULES[self.config.rule].by_gradients else 1

    @property
    def base_name(self) -> str:
        """The strategy of the effectiveness loss."""
        return self.base.name

    def rule(self, cell: Config) -> type[Rule]:
        """The rule of ω, as far as the configuration tells: what dev pairs there are is known later."""
        dev = ("eff", "rob") if cell.data.robust_dev else ("eff",)
        return RULES[chosen_rule(self.config, dev)]

    def trains_proxies(self, cell: Config) -> bool:
        """As the rule wants."""
        return self.rule(cell).trains_proxies

    def check(self, cell: Config) -> None:
        """As every strategy, and what the rule of ω needs."""
        super().check(cell)
        self.rule(cell).check(cell)
