"""The weight ω of the robustness loss and the rules that move it (DESIGN: ω control).

The paper (arXiv 2505.24279) gives η = 0.1 and says that ω follows the distance to the frontier; the rule
``dro`` is this project's derivation: multiplicative weights (group DRO) on the two normalised losses.
Everything is a 0-d fp32 tensor on the model's device, so that a step never waits for the host. The rules
that look at gradients are in :mod:`retrieval.training.gradients`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from retrieval.config import StrategyConfig
from retrieval.errors import ConfigError
from retrieval.ranges import GRADIENT_RULES
from retrieval.training.gradients import weighting_of

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
    group: str = "all"
    """Which of the file's frontiers: ``all`` runs, or the group of this run's model and fraction."""
    metrics: tuple[str, str] = ("", "")
    """Keys of ``result.json`` that the frontier was drawn in."""
    front: tuple[tuple[float, float], ...] = ()
    """Its non-dominated points."""

    @property
    def ratio(self) -> float:
        """ρ* = R*/E*."""
        return self.rob / self.eff

    @property
    def initial_omega(self) -> float:
        """ω₀ = R*/(E* + R*)."""
        return self.rob / (self.eff + self.rob)


ROBUSTNESS_METRICS: dict[str, tuple[str, ...]] = {
    "ood": ("ood/",),
    "adversarial": ("adv/",),
    "both": ("ood/", "adv/"),
}
"""What a frontier's robustness may be measured by, for each ``strategy.robust``."""


def load_target(path: str | None, robust: str = "ood", where: Mapping[str, Any] | None = None) -> Target:
    """The knee in a ``frontier.json``; the prior ρ* = 1 without one.

    ``robust``: ``strategy.robust``; ``where``: ``model`` and ``frac`` of the run. Where the file has a
    frontier of these alone, its knee is the target: another size's cannot be reached.

    Raises:
        ConfigError: the file is missing, holds no positive knee of two losses, or measures another kind of
            robustness.
    """
    if path is None:
        return Target(1.0, 1.0, "prior")
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
        group, chosen = _group(record, where or {})
        eff, rob = float(chosen["knee"]["x"]), float(chosen["knee"]["y"])
        metrics = (str(record.get("x", "")), str(record.get("y", "")))
        points = [point for point in chosen.get("points", []) if point["non_dominated"]]
        front = tuple((float(point["x"]), float(point["y"])) for point in points)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigError(
            f"strategy.frontier={path}: no frontier with a knee there ({type(error).__name__}: {error}); "
            "write one with `python -m sweeps frontier --out frontier.json`"
        ) from error
    _check_metrics(path, metrics, robust)
    if not (0 < eff < math.inf and 0 < rob < math.inf):
        raise ConfigError(f"strategy.frontier={path}: the knee ({eff}, {rob}) must be positive in both")
    return Target(eff, rob, str(path), group, metrics, front)


def _group(record: dict[str, Any], where: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Name and record of the frontier that was drawn for ``where`` alone; of the whole one without any."""
    for group in record.get("groups", []):
        wanted = group["where"]
        if wanted and all(key in where and _same(where[key], value) for key, value in wanted.items()):
            return ", ".join(f"{key}={value}" for key, value in wanted.items()), group
    return "all", record


def _same(ours: Any, theirs: Any) -> bool:
    both_numbers = isinstance(ours, int | float) and isinstance(theirs, int | float)
    return math.isclose(ours, theirs, rel_tol=1e-9) if both_numbers else str(ours) == str(theirs)


def _check_metrics(path: str, metrics: tuple[str, str], robust: str) -> None:
    for name in filter(None, metrics):
        if not name.endswith("contrastive_entropy"):
            raise ConfigError(
                f"strategy.frontier={path} was drawn in {name}; ω compares losses, so draw one in "
                "contrastive entropies (--x eff/contrastive_entropy --y ood/contrastive_entropy)"
            )
    if metrics[1] and not metrics[1].startswith(ROBUSTNESS_METRICS[robust]):
        wanted = " or ".join(f"{prefix}contrastive_entropy" for prefix in ROBUSTNESS_METRICS[robust])
        raise ConfigError(
            f"strategy.frontier={path} was drawn in {metrics[1]}, which strategy.robust={robust} does not "
            f"train for; draw one with --y {wanted}"
        )


class OmegaController:
    """State of ω control: ω, the moving averages of both losses, and the last distance.

    Training losses stand in for the contrastive entropies of the target. A recalibration measures both on
    dev pairs and scales the averages by what it finds.
    """

    STATE = ("omega", "mean_eff", "mean_rob", "distance", "scale_eff", "scale_rob", "history")

    def __init__(self, config: StrategyConfig, target: Target) -> None:
        by_gradients = config.rule in GRADIENT_RULES
        self.rule = fixed if by_gradients else RULES[config.rule]
        self.weighting = weighting_of(config.rule) if by_gradients else None
        """Gives the weights of the losses from their gradients; ``None``: ω follows the distance."""
        self.target = target
        self.eta = config.eta
        self.decay = config.decay
        # A fixed ω of 0 or 1 is a legitimate point of the curve; only moving rules are clipped.
        moving = config.rule in ("dro", "linear")
        self.bounds = (config.omega_min, config.omega_max) if moving else (0.0, 1.0)
        start = config.omega if config.omega is not None else target.initial_omega
        self.omega = torch.tensor(start).clamp(*self.bounds)
        self.mean_eff = torch.tensor(float("nan"))
        self.mean_rob = torch.tensor(float("nan"))
        self.distance = torch.tensor(0.0)
        self.scale_eff = torch.tensor(1.0)
        self.scale_rob = torch.tensor(1.0)
        self.history = torch.empty(0, 5, dtype=torch.float64)
        """Recalibrations, fp64 ``[k, 5]``: step, Ē, R̄, contrastive entropy of both on dev pairs."""

    def to(self, device: torch.device) -> None:
        """Move the state to the model's device; the history stays with the host."""
        for name in self.STATE[:-1]:
            setattr(self, name, getattr(self, name).to(device))

    def update(self, eff: Tensor, rob: Tensor) -> None:
        """One step: ``d = R̄/R* − Ē/E*``, then the rule, then clipping.

        ``eff``, ``rob``: 0-d detached losses of this step. The averages start at the first values.
        """
        self.mean_eff = self._average(self.mean_eff, eff)
        self.mean_rob = self._average(self.mean_rob, rob)
        rob_share = self.scale_rob * self.mean_rob / self.target.rob
        self.distance = rob_share - self.scale_eff * self.mean_eff / self.target.eff
        self.omega = self.rule(self.omega, self.distance, self.eta).clamp(*self.bounds)

    def recalibrate(self, step: int, eff: Tensor, rob: Tensor) -> None:
        """Scale the averages to the contrastive entropies measured at ``step`` (0-d)."""
        measured = [self.mean_eff, self.mean_rob, eff, rob]
        row = torch.tensor([[float(step), *(float(value) for value in measured)]], dtype=torch.float64)
        self.history = torch.cat([self.history, row])
        self.scale_eff, self.scale_rob = eff / self.mean_eff, rob / self.mean_rob

    def _average(self, mean: Tensor, value: Tensor) -> Tensor:
        value = value.detach().float()
        return torch.where(torch.isnan(mean), value, self.decay * mean + (1 - self.decay) * value)

    def logged(self) -> dict[str, float]:
        """For ``metrics.jsonl``: ω, its distance, and the latest recalibration if there was one."""
        values = {"train/omega": float(self.omega), "train/omega_distance": float(self.distance)}
        if len(self.history):
            keys = ("val/eff_contrastive_entropy", "val/rob_contrastive_entropy")
            values |= dict(zip(keys, self.history[-1, 3:].tolist(), strict=True))
        return values

    def ratios(self) -> Tensor:
        """ln(R/E) by training losses and by dev contrastive entropy at each recalibration: ``[2, k]``."""
        logarithms = self.history[:, 1:].log()
        return torch.stack([logarithms[:, 1] - logarithms[:, 0], logarithms[:, 3] - logarithms[:, 2]])

    def proxy(self) -> dict[str, float]:
        """For ``result.json``: correlation of the two ratios over three recalibrations or more."""
        if len(self.history) < 3:
            return {}
        correlation = float(torch.corrcoef(self.ratios())[0, 1])
        return {"omega/proxy_correlation": correlation} if math.isfinite(correlation) else {}

    def state_dict(self) -> dict[str, Any]:
        """What a resume needs."""
        return {name: getattr(self, name).detach().cpu() for name in self.STATE}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where :meth:`state_dict` was taken."""
        for name, value in state.items():
            setattr(self, name, value.to(getattr(self, name).device))
