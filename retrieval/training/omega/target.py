"""The Pareto-efficient point that ω steers to, read from a frontier file."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retrieval.errors import ConfigError
from retrieval.run.metric_names import is_contrastive_entropy


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


DEV_EFF = "dev/eff/"
DEV_ROBUSTNESS = {"ood": "dev/ood/", "both": "dev/ood/"}
"""What a frontier's robustness is measured by, for each ``strategy.robust`` that has a dev metric."""

HOW = "python -m sweeps frontier --dev --out frontier.json"


def load_target(path: str | None, robust: str = "ood", where: Mapping[str, Any] | None = None) -> Target:
    """The knee in a ``frontier.json``; the prior ρ* = 1 without one.

    ``robust``: ``strategy.robust``; ``where``: ``model`` and ``frac`` of the run. Where the file has a
    frontier of these alone, its knee is the target: another size's cannot be reached.

    Raises:
        ConfigError: the file is missing, holds no positive knee of two losses, was drawn in test metrics,
            or measures another kind of robustness.
    """
    if path is None:
        return Target(1.0, 1.0, "prior")
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
        group, chosen = _group(record, where or {})
        eff, rob = float(chosen["knee"]["x"]), float(chosen["knee"]["y"])
        metrics = (str(record["x"]), str(record["y"]))
        points = [point for point in chosen.get("points", []) if point["non_dominated"]]
        front = tuple((float(point["x"]), float(point["y"])) for point in points)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigError(
            f"strategy.frontier={path}: no frontier with a knee there ({type(error).__name__}: {error}); "
            f"write one with `{HOW}`"
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
    """Test metrics report and dev metrics steer: training reads no frontier of anything else."""
    if robust not in DEV_ROBUSTNESS:
        raise ConfigError(
            f"strategy.frontier={path} cannot steer strategy.robust={robust}, which no dev metric measures; "
            "leave it out, or use strategy.robust=ood or both"
        )
    wanted = (DEV_EFF, DEV_ROBUSTNESS[robust])
    for name, prefix in zip(metrics, wanted, strict=True):
        if not name.startswith(prefix):
            raise ConfigError(
                f"strategy.frontier={path} was drawn in {name} and training is steered by {prefix}… alone, "
                f"never by test metrics; make one with `{HOW}`"
            )
        if not is_contrastive_entropy(name):
            raise ConfigError(
                f"strategy.frontier={path} was drawn in {name}; ω compares losses, so draw one in "
                f"contrastive entropies: `{HOW}`"
            )
