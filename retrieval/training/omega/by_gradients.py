"""What rules have in common that choose ω from the gradients of the two losses, by TorchJD.

Each gives the step as a weighted sum of the two gradients with weights ≥ 0 that follow from their inner
products. The weights are divided by their sum here, so that a step is always that of
(1 − ω)·L_eff + ω·L_rob and rules differ in ω alone; AdamW does not see the length of a gradient anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, ClassVar

from retrieval.config import Config, StrategyConfig
from retrieval.errors import ConfigError
from retrieval.training.omega.rule import Facts, Rule

if TYPE_CHECKING:
    from torch import Tensor, nn

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

        self.weighting: Callable[[Tensor], Tensor] = getattr(aggregation, self.weights)()

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
        return combine(eff, rob, parameters, self.weighting)


def combine(
    eff: Tensor, rob: Tensor, parameters: Sequence[nn.Parameter], weighting: Callable[[Tensor], Tensor]
) -> Tensor:
    """Write the gradient of (1 − ω)·eff + ω·rob into ``parameters``; returns the rule's ω, 0-d.

    ``eff``, ``rob``: 0-d losses of one graph; ``weighting``: inner products of their gradients,
    float32[2, 2], to weights ``[2]``. Where the gradients are not finite ω is ½, and so is the
    gradient not finite: that is reported as ``LOSS_NOT_FINITE``, not hidden by a solver's error.
    """
    import torch

    of_eff = torch.autograd.grad(eff, parameters, retain_graph=True, materialize_grads=True)
    of_rob = torch.autograd.grad(rob, parameters, materialize_grads=True)
    rows = (of_eff, of_rob)

    def inner(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
        return torch.stack([torch.vdot(x.flatten(), y.flatten()) for x, y in zip(a, b, strict=True)]).sum()

    products = torch.stack([torch.stack([inner(a, b) for b in rows]) for a in rows])
    weights = weighting(products) if bool(torch.isfinite(products).all()) else torch.ones_like(products[0])
    omega = (weights[1] / weights.sum()).clamp(0, 1)
    for parameter, a, b in zip(parameters, of_eff, of_rob, strict=True):
        parameter.grad = torch.lerp(a, b, omega.to(a.dtype))
    return omega
