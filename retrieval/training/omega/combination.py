"""The gradient of a mixture of two losses, its ω chosen from the inner products of their gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

Weighting = Callable[[Tensor], Tensor]
"""Inner products of the gradients float32 ``[2, 2]`` → weights ``[2]``."""


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
