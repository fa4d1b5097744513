"""What a rule of ω is. Each rule is one file that registers itself here."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytorch_lightning as pl
from torch import Tensor

from retrieval.config import StrategyConfig
from retrieval.training.interpolation import Measure
from retrieval.training.omega.state import OmegaState
from retrieval.training.omega.target import Target

RULES: dict[str, type[Rule]] = {}
"""Rules by the value of ``strategy.rule``."""


@dataclass(frozen=True)
class Facts:
    """What a rule may know of its run beside its configuration."""

    target: Target
    where: Mapping[str, Any] = field(default_factory=dict)
    """``params_non_embedding`` (N), ``train_pairs`` (D), ``steps`` and ``batch_size`` of the run;
    ``robust_dev``: whether it has such domains; ``init``: ``model.init``."""


class Rule(ABC):
    """How ω moves. The controller keeps ω, the moving averages and the dev measurements; see there."""

    name: ClassVar[str]
    moves: ClassVar[bool] = True
    """Whether ω follows anything that happens in the run; such rules are clipped to ``omega_min``, …"""
    by_gradients: ClassVar[bool] = False
    """Whether the rule needs the gradients of both losses in every step, so ``mixing=loss``."""
    measures: ClassVar[tuple[str, ...]] = ()
    """Dev losses that the rule asks for: ``eff``, ``rob``."""
    measures_while_training: ClassVar[bool] = True
    """Whether it asks every ``strategy.measure_every`` steps; else when its callback does."""
    trains_proxies: ClassVar[bool] = False
    """Whether :meth:`before_training` is called before the first step."""

    def __init__(self, config: StrategyConfig, facts: Facts) -> None:
        self.config, self.facts = config, facts

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        if "name" in cls.__dict__:
            RULES[cls.name] = cls

    def start(self) -> float:
        """ω of the first step: as configured, or ω₀ = R*/(E* + R*)."""
        given = self.config.omega
        return self.facts.target.initial_omega if given is None else float(given)

    def before_training(self, trial: Callable[[float, int], tuple[float, float]]) -> None:
        """Choose :meth:`start` by ``trial(ω, repeat)``: E_dev and R_dev of a proxy trained with ω."""
        raise NotImplementedError

    @abstractmethod
    def after_step(self, control: OmegaState) -> Tensor | float:
        """ω of the next step, before clipping."""

    def after_measurement(self, control: OmegaState) -> Tensor | float:
        """ω after a measurement of dev losses, the newest row of ``control.measured``; before clipping."""
        return control.omega

    def course(self, step: int, steps: int) -> tuple[int, int]:
        """Where a step stands in the schedule of the learning rate, and how long that is."""
        return step, steps

    def weights_callback(self, measure: Measure) -> pl.Callback | None:
        """A callback for rules that act on weights; ``measure`` gives E_dev and R_dev of the model."""
        return None

    def result(self) -> dict[str, Any]:
        """What the rule adds to ``result.json``."""
        return {}

    def findings(self) -> list[tuple[str, str]]:
        """Codes and messages for the ``warnings`` of the run."""
        return []

    def state_dict(self) -> dict[str, Any]:
        """What a resume needs beside the controller's state: numbers and tensors by name."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where :meth:`state_dict` was taken."""
        for name, value in state.items():
            setattr(self, name, value)
