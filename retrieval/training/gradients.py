"""Rules that choose ω from the gradients of the two losses: UPGrad, MGDA, PCGrad, by TorchJD.

All three give the step as a weighted sum of the two gradients with weights ≥ 0 that follow from their inner
products. The weights are divided by their sum here, so that a step is always that of
(1 − ω)·L_eff + ω·L_rob and rules differ in ω alone; AdamW does not see the length of a gradient anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from retrieval.errors import ConfigError

Weighting = Callable[[Tensor], Tensor]
"""Inner products of the gradients fp32 ``[2, 2]`` → weights ``[2]``."""

CLASSES = {"upgrad": "UPGradWeighting", "mgda": "MGDAWeighting", "pcgrad": "PCGradWeighting"}


def weighting_of(rule: str) -> Weighting:
    """The rule ``upgrad`` (Quinton and Rey 2024, arXiv 2406.16232), ``mgda`` (Désidéri 2012) or ``pcgrad``
    (Yu et al. 2020, arXiv 2001.06782).

    With two losses PCGrad and UPGrad point in the same direction: both sum each gradient's projection on
    the half-space where the other loss does not rise.

    Raises:
        ConfigError: TorchJD is not installed.
    """
    try:
        from torchjd import aggregation

        found: Weighting = getattr(aggregation, CLASSES[rule])()
    except ImportError as error:
        raise ConfigError(
            f"strategy.rule={rule} needs TorchJD ({error}); install with: pip install 'paretrieve[gradients]'"
        ) from error
    return found


def combine(eff: Tensor, rob: Tensor, parameters: Sequence[nn.Parameter], weighting: Weighting) -> Tensor:
    """Write the gradient of (1 − ω)·eff + ω·rob into ``parameters``; returns the rule's ω, 0-d.

    ``eff``, ``rob``: 0-d losses of one graph. Where the gradients are not finite ω is ½, and so is the
    gradient not finite: that is reported as ``LOSS_NOT_FINITE``, not hidden by a solver's error.
    """
    of_eff = torch.autograd.grad(eff, parameters, retain_graph=True, materialize_grads=True)
    of_rob = torch.autograd.grad(rob, parameters, materialize_grads=True)
    rows = (of_eff, of_rob)
    products = torch.stack([torch.stack([_inner(a, b) for b in rows]) for a in rows])
    weights = weighting(products) if bool(torch.isfinite(products).all()) else torch.ones_like(products[0])
    omega = (weights[1] / weights.sum()).clamp(0, 1)
    for parameter, a, b in zip(parameters, of_eff, of_rob, strict=True):
        parameter.grad = torch.lerp(a, b, omega.to(a.dtype))
    return omega


def _inner(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    return torch.stack([torch.vdot(x.flatten(), y.flatten()) for x, y in zip(a, b, strict=True)]).sum()
