"""Weights between two models of one origin, the place on the line chosen on dev losses."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

COEFFICIENTS = tuple(step / 10 for step in range(11))
"""Places that are tried; 0 is the first model, 1 the second."""

Weights = Mapping[str, Tensor]
"""Parameters by name."""

Measure = Callable[[], tuple[float, float]]
"""Dev losses E and R of the model as it is."""


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """A copy of the parameters that are trained, on the CPU."""
    named = model.named_parameters()
    return {name: part.detach().cpu().clone() for name, part in named if part.requires_grad}


@torch.no_grad()  # type: ignore[untyped-decorator, unused-ignore]
def set_weights(model: nn.Module, first: Weights, second: Weights, coefficient: float) -> None:
    """Give ``model`` the parameters (1 − c)·first + c·second."""
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parameter.copy_(torch.lerp(first[name], second[name], coefficient))


def interpolate(model: nn.Module, first: Weights, second: Weights, measure: Measure) -> float:
    """Leave in ``model`` the weights of the least E + R on the line; returns their coefficient."""
    found = {}
    for coefficient in COEFFICIENTS:
        set_weights(model, first, second, coefficient)
        found[coefficient] = sum(measure())
    best = min(found, key=lambda coefficient: found[coefficient])
    set_weights(model, first, second, best)
    return best
