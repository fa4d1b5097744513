"""Rules that choose ω from the gradients of the two losses: UPGrad, MGDA, PCGrad, by TorchJD.

All three give the step as a weighted sum of the two gradients with weights ≥ 0 that follow from their inner
products. The weights are divided by their sum here, so that a step is always that of
(1 − ω)·L_eff + ω·L_rob and rules differ in ω alone; AdamW does not see the length of a gradient anyway.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, ClassVar

from retrieval.config import Config, StrategyConfig
from retrieval.errors import ConfigError
from retrieval.training.omega.rule import Facts, Rule

if TYPE_CHECKING:
    from torch import Tensor, nn

    from retrieval.training.omega.combination import Weighting

LIBRARIES = ("torchjd", "qpsolvers", "quadprog")


class ByGradients(Rule):
    """ω is chosen in the backward pass of each step, from the inner products of both gradients."""

    by_gradients = True
    moves = False
    omega_from = "the gradients"
    weights: ClassVar[str]
    """TorchJD's class."""

    def __init__(self, config: StrategyConfig, facts: Facts) -> None:
        super().__init__(config, facts)
        from torchjd import aggregation

        self.weighting: Weighting = getattr(aggregation, self.weights)()

    @classmethod
    def check(cls, cell: Config) -> None:
        """Both losses in every step, on one device, and TorchJD."""
        super().check(cell)
        if cell.strategy.mixing != "loss":
            raise ConfigError(
                f"strategy.rule={cls.name} needs the gradients of both losses in every step, and "
                "strategy.mixing=steps computes one; set strategy.mixing=loss"
            )
        missing = [name for name in LIBRARIES if find_spec(name) is None]
        if missing:
            raise ConfigError(
                f"strategy.rule={cls.name} needs {', '.join(missing)}; "
                "install with: pip install 'paretrieve[gradients]'"
            )
        if cell.trainer.devices > 1:
            raise ConfigError(
                f"strategy.rule={cls.name} works on one device, not on trainer.devices="
                f"{cell.trainer.devices}; use trainer.devices=1, or strategy.mixing=steps"
            )

    def backward(self, eff: Tensor, rob: Tensor, parameters: Sequence[nn.Parameter]) -> Tensor:
        """The gradient of the loss at the ω that the gradients of both losses give."""
        from retrieval.training.omega.combination import combine

        return combine(eff, rob, parameters, self.weighting)


class UPGrad(ByGradients):
    """Sum of each gradient's projection on the cone where no loss rises (Quinton and Rey 2024,
    arXiv 2406.16232). With two losses PCGrad points in the same direction.
    """

    name, weights = "upgrad", "UPGradWeighting"


class MGDA(ByGradients):
    """The shortest vector between the two gradients (Désidéri 2012)."""

    name, weights = "mgda", "MGDAWeighting"


class PCGrad(ByGradients):
    """Each gradient without its part against the other one (Yu et al. 2020, arXiv 2001.06782)."""

    name, weights = "pcgrad", "PCGradWeighting"
