"""``anchor``: the fine-tuned weights are drawn back towards the initial ones as far as dev losses ask for."""

from __future__ import annotations

import math
from typing import Any

import pytorch_lightning as pl
from torch import Tensor

from retrieval.config import StrategyConfig
from retrieval.errors import ConfigError
from retrieval.training.interpolation import Measure, best, interpolate, weights_of
from retrieval.training.omega.rule import Facts, Rule
from retrieval.training.omega.state import OmegaState


class Anchor(Rule):
    """``θ = (1 − c)·θ₀ + c·θ_T`` with c ∈ {0, .1, …, 1} of the least E_dev + R_dev after training.

    WiSE-FT (Wortsman et al. 2022, arXiv 2109.01903) with the coefficient chosen on dev pairs; training itself
    goes on at ω = ``strategy.omega``, 0 by default. It assumes that the initial weights are a good model that
    fine-tuning on one domain spoils for others: a pretrained start.

    Raises:
        ConfigError: the initial weights are random.
    """

    name = "anchor"
    moves = False
    measures = ("eff", "rob")
    measures_while_training = False

    def __init__(self, config: StrategyConfig, facts: Facts) -> None:
        super().__init__(config, facts)
        if facts.where.get("init") == "scratch":
            raise ConfigError(
                "strategy.rule=anchor draws weights back to a pretrained start and model.init=scratch has "
                "none; set model.init=pretrained, or choose another rule"
            )
        self.coefficient = math.nan

    def start(self) -> float:
        """In-domain pairs alone, unless a share of robust steps is asked for."""
        return 0.0 if self.config.omega is None else float(self.config.omega)

    def after_step(self, control: OmegaState) -> Tensor:
        """ω as it is."""
        return control.omega

    def weights_callback(self, measure: Measure) -> pl.Callback:
        """Interpolates after the last step."""
        return _Interpolate(self, measure)

    def result(self) -> dict[str, Any]:
        """The coefficient; 1 keeps the fine-tuned weights."""
        return {"omega/coefficient": self.coefficient}

    def state_dict(self) -> dict[str, Any]:
        """The coefficient, for a run that is resumed after its last step."""
        return {"coefficient": self.coefficient}


class _Interpolate(pl.Callback):
    def __init__(self, rule: Anchor, measure: Measure) -> None:
        self.rule, self.measure = rule, measure
        self.initial: dict[str, Tensor] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep the initial weights; a resumed run has them in its checkpoint."""
        if not self.initial:
            self.initial = weights_of(pl_module)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Choose after the last step, before it is written to the checkpoint."""
        if trainer.global_step == trainer.max_steps:
            found = interpolate(pl_module, self.initial, weights_of(pl_module), self.measure)
            self.rule.coefficient = best(found)

    def state_dict(self) -> dict[str, Any]:
        """The initial weights."""
        return {"initial": self.initial}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The initial weights of the interrupted run."""
        self.initial = state_dict["initial"]
