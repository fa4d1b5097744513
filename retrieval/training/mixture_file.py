"""Reads ``mixture.json``, the file of ``python -m sweeps mixture``: the best ω at a given N and D.

The file holds, for each goal, logit ω*(N, D) = a + b·ln D + c·ln N with draws of (a, b, c), the conditions
that it was fitted under and the range of N and D. ``knee`` minimises the sum of both objectives, ``eff`` and
``rob`` one of them each.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retrieval.errors import ConfigError, first_line

GOALS = ("knee", "eff", "rob")

EDGE = 0.005
"""ω is kept within [EDGE, 1 − EDGE], where the logits of the file were taken."""

FAR = 2.0
"""N or D more than this factor outside the fitted range is extrapolation."""

_COEFFICIENTS = ("intercept", "ln_train_pairs", "ln_params_non_embedding")
_MAKE = "write one with `python -m sweeps mixture --out mixture.json`"
_DEV = (
    "fit dev metrics: `python -m sweeps mixture --eff dev/eff/contrastive_entropy "
    "--rob dev/ood/contrastive_entropy --out mixture.json`"
)

Coefficients = Sequence[float]


@dataclass(frozen=True)
class OptimumLaw:
    """The law of one goal's best ω."""

    coefficients: Coefficients
    """a, b (of ln D), c (of ln N)."""
    draws: tuple[Coefficients, ...]
    max_error: float
    """Largest difference in ω to the joint law behind it, over the fitted range."""
    params_non_embedding: tuple[float, float]
    """Fitted range of N."""
    train_pairs: tuple[float, float]
    """Fitted range of D."""


@dataclass(frozen=True)
class MixtureFile:
    """A mixture law that training may follow."""

    path: Path
    conditions: Mapping[str, Any]
    """``train_steps, pairs_per_step, robust, base_strategy, data, mixing`` of the runs behind it."""
    level: float
    """Level of the intervals."""
    optimum: Mapping[str, OptimumLaw]

    def omega(self, goal: str, params_non_embedding: float, train_pairs: float) -> tuple[float, float, float]:
        """The best ω and the ends of its interval, each within [.005, .995]; N and D as the run has them.

        Raises ConfigError on an unknown goal or a size that is not positive.
        """
        law = self._law(goal)
        for name, value in (("params_non_embedding", params_non_embedding), ("train_pairs", train_pairs)):
            if not (math.isfinite(value) and value > 0):
                raise ConfigError(f"strategy.mixture={self.path}: {name} = {value} must be a positive number")
        log_d, log_n = math.log(train_pairs), math.log(params_non_embedding)
        best = _logit(law.coefficients, log_d, log_n)
        drawn = sorted(_logit(row, log_d, log_n) for row in law.draws)
        tail = (1 - self.level) / 2
        return _share(best), _share(_quantile(drawn, tail)), _share(_quantile(drawn, 1 - tail))

    def extrapolation(self, goal: str, params_non_embedding: float, train_pairs: float) -> str | None:
        """What lies far outside, for ``OMEGA_EXTRAPOLATED``, where N or D is far outside the fitted range."""
        law = self._law(goal)
        texts = []
        for axis, value, (low, high) in (
            ("N", params_non_embedding, law.params_non_embedding),
            ("D", train_pairs, law.train_pairs),
        ):
            factor = max(value / high, low / value)
            if factor > FAR:
                texts.append(f"{axis}={value:.4g} lies {factor:.3g}× outside {low:.4g} to {high:.4g}")
        return "; ".join(texts) or None

    def check(
        self, train_steps: int, pairs_per_step: float, robust: str, base_strategy: str, mixing: str = "steps"
    ) -> None:
        """Raise ConfigError where a run's conditions are not those the law was fitted under."""
        asked = {
            "train_steps": train_steps,
            "pairs_per_step": pairs_per_step,
            "robust": robust,
            "base_strategy": base_strategy,
            "mixing": mixing,
        }
        for name, value in asked.items():
            fitted = self.conditions.get(name)
            if fitted is not None and not _same(fitted, value):
                here, there = _text(value), _text(fitted)
                raise ConfigError(
                    f"strategy.mixture={self.path} was fitted with {name} = {there}, this run has {here}; "
                    f"use {there}, or fit another from fixed-ω runs with {here}"
                )

    def _law(self, goal: str) -> OptimumLaw:
        if goal not in self.optimum:
            raise ConfigError(
                f"strategy.mixture={self.path} has no goal {goal!r}; choose one of {', '.join(self.optimum)}"
            )
        return self.optimum[goal]


def load_mixture(path: Path) -> MixtureFile:
    """Read a mixture file.

    Raises ConfigError (one line) when it is missing, is not a mixture record, lacks or garbles a value, or
    was fitted to test metrics: those may not steer training.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"strategy.mixture={path}: no such file; {_MAKE}") from None
    except (OSError, ValueError, RecursionError) as error:
        reason = first_line(error)
        raise ConfigError(f"strategy.mixture={path}: cannot be read as JSON ({reason}); {_MAKE}") from None
    kind = record.get("kind") if isinstance(record, dict) else type(record).__name__
    if kind != "mixture":
        raise ConfigError(f"strategy.mixture={path}: kind is {kind!r}, expected 'mixture'; {_MAKE}")
    if record.get("steers") is not True:
        metrics = record.get("metrics")
        names = ", ".join(map(str, metrics.values())) if isinstance(metrics, dict) else "unknown metrics"
        raise ConfigError(
            f"strategy.mixture={path} was fitted to {names}, which may not steer training; {_DEV}"
        )
    try:
        optimum = {goal: _read_law(record["optimum"][goal], goal) for goal in GOALS}
        level = _number(record["level"], "level")
        conditions = dict(record["conditions"])
    except (KeyError, TypeError, ValueError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise ConfigError(f"strategy.mixture={path}: not a whole mixture record ({what}); {_MAKE}") from None
    if not 0 < level < 1:
        raise ConfigError(f"strategy.mixture={path}: level = {level} must lie between 0 and 1; {_MAKE}")
    return MixtureFile(path, conditions, level, optimum)


def _read_law(data: Mapping[str, Any], goal: str) -> OptimumLaw:
    name = f"optimum.{goal}"
    drawn = tuple(_numbers(row, "three", f"{name}.draws") for row in data["draws"])
    if not drawn:
        raise ValueError(f"{name}.draws is empty")
    return OptimumLaw(
        _numbers([data[key] for key in _COEFFICIENTS], "three", name),
        drawn,
        _number(data["max_error"], f"{name}.max_error"),
        _ends(data["range"]["params_non_embedding"], f"{name}.range"),
        _ends(data["range"]["train_pairs"], f"{name}.range"),
    )


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name} = {value!r} is not a number")
    return float(value)


def _numbers(values: Any, count: str, name: str) -> list[float]:
    """A list of ``count`` numbers, ``two`` or ``three``."""
    if not isinstance(values, list) or len(values) != {"two": 2, "three": 3}[count]:
        raise ValueError(f"{name} needs {count} numbers")
    return [_number(value, name) for value in values]


def _ends(values: Any, name: str) -> tuple[float, float]:
    low, high = _numbers(values, "two", name)
    if not 0 < low <= high:
        raise ValueError(f"{name} = {values} is not a range of positive numbers")
    return low, high


def _logit(coefficients: Coefficients, log_d: float, log_n: float) -> float:
    a, b, c = coefficients
    return a + b * log_d + c * log_n


def _share(logit: float) -> float:
    """ω of a logit, within [EDGE, 1 − EDGE]."""
    if abs(logit) > 50:
        return EDGE if logit < 0 else 1 - EDGE
    return min(max(1 / (1 + math.exp(-logit)), EDGE), 1 - EDGE)


def _quantile(ordered: list[float], share: float) -> float:
    if len(ordered) == 1:
        return ordered[0]
    place = share * (len(ordered) - 1)
    below = min(int(place), len(ordered) - 2)
    return ordered[below] + (place - below) * (ordered[below + 1] - ordered[below])


def _same(fitted: Any, value: Any) -> bool:
    if isinstance(fitted, int | float) and isinstance(value, int | float):
        return math.isclose(fitted, value, rel_tol=1e-3)
    return bool(fitted == value)


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float) else str(value)
