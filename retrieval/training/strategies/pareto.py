"""``pareto``: (1 − ω)·L_eff + ω·L_rob with a controlled ω (arXiv 2505.24279)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from retrieval.config import StrategyConfig
from retrieval.data.batches import Stream
from retrieval.models.flops import BACKWARD
from retrieval.training.omega import Facts, OmegaController, load_target
from retrieval.training.omega.rules.gradients import ByGradients, combine
from retrieval.training.strategies.adversarial import Adversarial
from retrieval.training.strategies.base import (
    OTHER_DOMAINS,
    PERTURBED,
    Losses,
    Mixture,
    Setting,
    Strategy,
    TrainingData,
)
from retrieval.training.strategies.denoising import Denoising
from retrieval.training.strategies.hard_negative import HardNegative
from retrieval.training.strategies.standard import Standard

BASES: dict[str, type[Strategy]] = {
    kind.name: kind for kind in (Standard, HardNegative, Denoising, Adversarial)
}

OBJECTIVES: dict[str, Mixture] = {
    "ood": {OTHER_DOMAINS: 1.0},
    "adversarial": {PERTURBED: 1.0},
    "both": {PERTURBED: 0.5, OTHER_DOMAINS: 0.5},
}
"""L_rob by ``strategy.robust``."""

VALIDATION_PAIRS = 257
"""Dev pairs of a loss in a recalibration: each query's positive beside W = 256 other passages."""


class Pareto(Strategy):
    """The whole loss of a base strategy and a robustness loss, weighted by ω."""

    name = "pareto"

    def __init__(self, config: StrategyConfig, setting: Setting) -> None:
        self.base = BASES[config.base](config, setting)
        super().__init__(config, setting)
        target = load_target(config.frontier, config.robust, setting.where)
        self.controller = OmegaController(config, Facts(target, setting.where))
        self.initial_omega = float(self.controller.omega)
        if self.controller.rule.by_gradients:
            self.backward_passes = 2 * BACKWARD

    @property
    def eff(self) -> Mixture:
        """Everything that the base strategy minimises."""
        return self.base.shares

    @property
    def rob(self) -> Mixture | None:
        """The chosen robustness objective."""
        return OBJECTIVES[self.config.robust]

    @property
    def omega(self) -> Tensor:
        """ω of this step."""
        return self.controller.omega

    @property
    def hard(self) -> int:
        """The base strategy's."""
        return self.base.hard

    @property
    def base_name(self) -> str:
        """The strategy of the effectiveness loss."""
        return self.base.name

    @property
    def needs_robust_domains(self) -> bool:
        """Whether pairs of robust-training domains are in a batch."""
        return OTHER_DOMAINS in self.shares

    def validation_streams(self, dev: TrainingData) -> tuple[Stream, ...]:
        """As many dev pairs for each loss: their ranking loss is a contrastive entropy of equal W.

        257 pairs, or as many as the smallest collection has.
        """
        parts = {name: self._stream(name, dev, 0, key) for key, name in enumerate(self.shares)}
        sizes = [len(source) * len(part.sources) for part in parts.values() for source in part.sources]
        count = min(VALIDATION_PAIRS, *sizes)
        return tuple(Stream(part.name, part.sources, count, part.key) for part in parts.values())

    def backward(self, losses: Losses, parameters: list[torch.nn.Parameter]) -> None:
        """By the weighted loss, or by the gradients of both losses where the rule asks for them."""
        rule = self.controller.rule
        if not isinstance(rule, ByGradients):
            super().backward(losses, parameters)
            return
        assert losses.eff is not None
        assert losses.rob is not None
        self.controller.omega = combine(losses.eff, losses.rob, parameters, rule.weighting)

    def course(self, step: int, steps: int) -> tuple[int, int]:
        """As the rule has it."""
        return self.controller.rule.course(step, steps)

    def logged(self) -> dict[str, float]:
        """ω, its distance, and the latest dev losses."""
        return self.controller.logged()

    def result(self) -> dict[str, Any]:
        """``omega/*`` keys: rule, target and where ω started and ended."""
        target = self.controller.target
        return super().result() | {
            "omega/rule": self.controller.rule.name,
            "omega/robust": self.config.robust,
            "omega/eta": self.config.eta,
            "omega/initial": self.initial_omega,
            "omega/final": float(self.controller.omega),
            "omega/mean": float(self.controller.total) / max(1, self.controller.steps),
            "omega/target_ratio": target.ratio,
            "omega/target_eff": target.eff,
            "omega/target_rob": target.rob,
            "omega/target_source": target.source,
            "omega/target_group": target.group,
            **self.controller.proxy(),
            **self.controller.rule.result(),
        }
