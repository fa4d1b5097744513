"""The weight ω of the robustness loss and the rules that move it (DESIGN: ω control).

The paper (arXiv 2505.24279) gives η = 0.1 and says that ω follows the distance to the frontier; the rule
``dro`` is this project's derivation: multiplicative weights (group DRO) on the two normalised losses.
Everything is a 0-d fp32 tensor on the model's device, so that a step never waits for the host.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from retrieval.config import StrategyConfig
from retrieval.errors import ConfigError

Rule = Callable[[Tensor, Tensor, float], Tensor]
"""(ω_t, d_t, η) → ω_{t+1}, before clipping."""


def dro(omega: Tensor, distance: Tensor, eta: float) -> Tensor:
    """``logit ω ← logit ω + η·d``: exponentiated-gradient ascent on the weights of two losses."""
    return torch.sigmoid(torch.logit(omega) + eta * distance)


def linear(omega: Tensor, distance: Tensor, eta: float) -> Tensor:
    """``ω ← ω + η·d``: projected-gradient ascent."""
    return omega + eta * distance


def fixed(omega: Tensor, distance: Tensor, eta: float) -> Tensor:
    """ω stays where it is: one point of the trade-off curve."""
    return omega


RULES: dict[str, Rule] = {"dro": dro, "linear": linear, "fixed": fixed}


@dataclass(frozen=True)
class Target:
    """The Pareto-efficient point that ω steers to: the frontier's knee (E*, R*)."""

    eff: float
    rob: float
    source: str
    """``prior`` (E* = R*, no frontier known) or the frontier file."""

    @property
    def ratio(self) -> float:
        """ρ* = R*/E*."""
        return self.rob / self.eff

    @property
    def initial_omega(self) -> float:
        """ω₀ = R*/(E* + R*)."""
        return self.rob / (self.eff + self.rob)


def load_target(path: str | None) -> Target:
    """The knee in a ``frontier.json``; the prior ρ* = 1 without one.

    Raises:
        ConfigError: the file is missing or holds no positive knee.
    """
    if path is None:
        return Target(1.0, 1.0, "prior")
    try:
        knee = json.loads(Path(path).read_text(encoding="utf-8"))["knee"]
        eff, rob = float(knee["x"]), float(knee["y"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"strategy.frontier={path}: no frontier with a knee there ({type(error).__name__}: {error}); "
            "write one with `python -m sweeps frontier --out frontier.json`"
        ) from error
    if not (eff > 0 and rob > 0):
        raise ConfigError(f"strategy.frontier={path}: the knee ({eff}, {rob}) must be positive in both")
    return Target(eff, rob, str(path))


class OmegaController:
    """State of ω control: ω, the moving averages of both losses, and the last distance."""

    def __init__(self, config: StrategyConfig, target: Target) -> None:
        self.rule = RULES[config.rule]
        self.target = target
        self.eta = config.eta
        self.decay = config.decay
        # A fixed ω of 0 or 1 is a legitimate point of the curve; only moving rules are clipped.
        moving = config.rule != "fixed"
        self.bounds = (config.omega_min, config.omega_max) if moving else (0.0, 1.0)
        start = config.omega if config.omega is not None else target.initial_omega
        self.omega = torch.tensor(start).clamp(*self.bounds)
        self.mean_eff = torch.tensor(float("nan"))
        self.mean_rob = torch.tensor(float("nan"))
        self.distance = torch.tensor(0.0)

    def to(self, device: torch.device) -> None:
        """Move the state to the model's device."""
        for name in ("omega", "mean_eff", "mean_rob", "distance"):
            setattr(self, name, getattr(self, name).to(device))

    def update(self, eff: Tensor, rob: Tensor) -> None:
        """One step: ``d = R̄/R* − Ē/E*``, then the rule, then clipping.

        ``eff``, ``rob``: 0-d detached losses of this step. The averages start at the first values.
        """
        self.mean_eff = self._average(self.mean_eff, eff)
        self.mean_rob = self._average(self.mean_rob, rob)
        self.distance = self.mean_rob / self.target.rob - self.mean_eff / self.target.eff
        self.omega = self.rule(self.omega, self.distance, self.eta).clamp(*self.bounds)

    def _average(self, mean: Tensor, value: Tensor) -> Tensor:
        value = value.detach().float()
        return torch.where(torch.isnan(mean), value, self.decay * mean + (1 - self.decay) * value)

    def state_dict(self) -> dict[str, Any]:
        """What a resume needs."""
        names = ("omega", "mean_eff", "mean_rob", "distance")
        return {name: getattr(self, name).detach().cpu() for name in names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where :meth:`state_dict` was taken."""
        for name, value in state.items():
            setattr(self, name, value.to(self.omega.device))
