"""``soup``: a common trunk, two branches at a low and at a high ω, and the average of their weights."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from retrieval.config import StrategyConfig
from retrieval.training.interpolation import Measure, best, interpolate, set_weights, weights_of
from retrieval.training.omega.rule import Facts, Rule
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
    measures_while_training = False

    def __init__(self, config: StrategyConfig, facts: Facts) -> None:
        super().__init__(config, facts)
        self.low, self.high = (float(omega) for omega in config.omegas)
        steps = int(facts.where["steps"])
        self.branch = (steps - round(config.trunk * steps)) // 2
        self.trunk = steps - 2 * self.branch
        self.coefficient = math.nan

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

    def weights_callback(self, measure: Measure) -> pl.Callback:
        """Branches and averages."""
        return _Branches(self, measure)

    def result(self) -> dict[str, Any]:
        """The coefficient; 1 keeps the branch of the high ω."""
        return {"omega/coefficient": self.coefficient, "omega/low": self.low, "omega/high": self.high}

    def state_dict(self) -> dict[str, Any]:
        """The coefficient, for a run that is resumed after its last step."""
        return {"coefficient": self.coefficient}


class _Branches(pl.Callback):
    """Keeps the trunk, goes back to it for the second branch, and averages at the end."""

    def __init__(self, rule: Soup, measure: Measure) -> None:
        self.rule, self.measure = rule, measure
        self.trunk: dict[str, Tensor] = {}
        self.optimizer: dict[str, Any] = {}
        self.first: dict[str, Tensor] = {}
        """Weights of the first branch."""

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Act at the ends of the trunk and of the branches, before a checkpoint is written."""
        step, rule = trainer.global_step, self.rule
        if step == rule.trunk:
            self.trunk = weights_of(pl_module)
            self.optimizer = copy.deepcopy(trainer.optimizers[0].state_dict())
        if step == rule.trunk + rule.branch:
            self.first = weights_of(pl_module)
            set_weights(pl_module, self.trunk, self.trunk, 0.0)
            # The rates are the schedule's; the moments are the trunk's.
            with torch.no_grad():
                rates = [group["lr"] for group in trainer.optimizers[0].param_groups]
                trainer.optimizers[0].load_state_dict(self.optimizer)
                for group, rate in zip(trainer.optimizers[0].param_groups, rates, strict=True):
                    group["lr"] = rate
            self.trunk, self.optimizer = {}, {}
        if step == trainer.max_steps:
            found = interpolate(pl_module, self.first, weights_of(pl_module), self.measure)
            rule.coefficient = best(found)

    def state_dict(self) -> dict[str, Any]:
        """What the rest of the run goes back to."""
        return {"trunk": self.trunk, "optimizer": self.optimizer, "first": self.first}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue a resumed run."""
        self.trunk, self.optimizer, self.first = (
            state_dict[name] for name in ("trunk", "optimizer", "first")
        )
