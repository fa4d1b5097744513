"""Two cards of one measurement: differences with 95 % intervals, paired by query where they can be.

A mean over queries has Student's interval of the queries' differences; a mean over OOD sets adds the errors
of their means by squares. A metric whose cards hold intervals (``…/low``, ``…/high``) has the interval of the
difference that these two make up (Zou and Donner 2008, Stat. Med. 27): of independent samples, so it is wider
than a paired one would be. Other metrics have no interval.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm, t

from retrieval.errors import DataError, first_line
from retrieval.evaluation.card.store import Card
from retrieval.run.metric_names import CONTRASTIVE_ENTROPY, RANKING, larger_is_better

LEVEL = 0.95

SHOWN = (CONTRASTIVE_ENTROPY, *RANKING)
"""Scores of queries that are compared."""

UNSCORED = ("eff/", "ood/", "var/", "bias/", "adv/")
"""Beginnings of the keys that are compared without scores by query."""

_LEFT_OUT = (
    *(
        "/low",
        "/high",
        "/pairs",
        "/changed",
        "/curve/",
        "/clean/",
        "/random/",
        "/targets",
        "queries",
        "/flops",
    ),
    *("/words_", "/passages", "/rank_before", "adv/wsra/"),
)
"""Parts of keys of counts, costs, controls and ends of intervals; the keys of wsra stand twice."""

NO_PREFERENCE = 0.5


@dataclass(frozen=True)
class Line:
    """One metric of both cards."""

    metric: str
    first: float
    second: float
    difference: float
    """Second less first."""
    low: float | None
    high: float | None
    method: str
    """``paired``, ``independent`` or ``none``."""
    verdict: str
    """``A better``, ``B better``, or empty where the interval decides nothing."""


@dataclass(frozen=True)
class Comparison:
    """All metrics that both cards hold."""

    first: str
    second: str
    queries: int
    """Queries that both have a score of, in all sets together."""
    lines: list[Line]

    def to_json(self) -> dict[str, Any]:
        """As written to ``--out``."""
        return asdict(self)


def compare(first: Card, second: Card) -> Comparison:
    """Hold the second card against the first.

    Raises:
        DataError: they were measured on other collections, or differently.
    """
    _check(first, second)
    paired, queries = _paired(first, second)
    lines = [
        _line(metric, first.metrics[metric], second.metrics[metric], paired.get(metric), (first, second))
        for metric in _order(first.metrics, second.metrics)
    ]
    return Comparison(first.model, second.model, queries, lines)


def _check(first: Card, second: Card) -> None:
    for prefix in sorted(set(first.collections) & set(second.collections)):
        if first.collections[prefix] != second.collections[prefix]:
            name = first.names.get(prefix, prefix)
            raise DataError(
                f"the cards have other texts or judgements under {prefix} ({name}); measure both alike"
            )
    if "eff" not in first.collections or "eff" not in second.collections:
        raise DataError("a card does not say which collection it is of; write it anew with --card DIR")
    for key in ("eval/negatives", "eval/draws", "eval/pool", "eval/queries"):
        values = first.metrics.get(key), second.metrics.get(key)
        if values[0] != values[1]:
            raise DataError(f"the cards differ in {key} ({values[0]} and {values[1]}); measure both alike")


def _order(first: Mapping[str, float], second: Mapping[str, float]) -> list[str]:
    """Metrics that both hold, in order of the card."""
    shared = [key for key in first if key in second and key.startswith(UNSCORED)]
    shown = [key for key in shared if not any(part in key for part in _LEFT_OUT)]
    return sorted(shown, key=lambda key: (UNSCORED.index(f"{key.split('/')[0]}/"), key.count("/"), key))


Scored = dict[str, tuple[float, float]]
"""Metric -> difference of means and its half interval."""


def _paired(first: Card, second: Card) -> tuple[Scored, int]:
    """Differences that are paired by query, by metric, and the number of queries."""
    if first.scores is None or second.scores is None:
        return {}, 0
    tables = [_read(path) for path in (first.scores, second.scores)]
    both = tables[0].merge(tables[1], on=["set", "query_id"], suffixes=("|a", "|b"))
    found: Scored = {}
    errors: dict[tuple[str, str], list[tuple[float, float, int]]] = {}
    for name, part in both.groupby("set", sort=False):
        for metric in SHOWN:
            if f"{metric}|a" not in part:
                continue
            gaps = (part[f"{metric}|b"] - part[f"{metric}|a"]).dropna().to_numpy(np.float64)
            if len(gaps) < 2:
                continue
            error = float(gaps.std(ddof=1)) / len(gaps) ** 0.5
            found[f"{name}/{metric}"] = float(gaps.mean()), _quantile(len(gaps) - 1) * error
            group, _, domain = str(name).partition("/")
            if group == "ood" and domain:
                errors.setdefault((group, metric), []).append((float(gaps.mean()), error, len(gaps)))
    for (group, metric), parts in errors.items():
        error = float(np.linalg.norm([error for _, error, _ in parts])) / len(parts)
        mean = float(np.mean([gap for gap, *_ in parts]))
        found[f"{group}/{metric}"] = mean, float(norm.ppf((1 + LEVEL) / 2)) * error
    return found, len(both)


def _quantile(freedom: int) -> float:
    return float(t.ppf((1 + LEVEL) / 2, freedom))


def _read(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_parquet(path)
        kept = ["set", "query_id", *(name for name in SHOWN if name in table)]
        return table[kept].drop_duplicates(["set", "query_id"])
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path}: cannot be read as scores of queries ({first_line(error)})") from None


def _line(
    metric: str, a: float, b: float, paired: tuple[float, float] | None, cards: tuple[Card, Card]
) -> Line:
    gap, low, high, method = b - a, None, None, "none"
    if paired is not None:
        # Contrastive entropy is a mean over pairs; its interval is that of the mean over queries.
        low, high, method = gap - paired[1], gap + paired[1], "paired"
    elif ends := _made_up(metric, a, b, cards):
        low, high, method = *ends, "independent"
    verdict = ""
    if low is not None and high is not None and not low <= 0 <= high:
        verdict = "B better" if _second_better(metric, a, b) else "A better"
    return Line(metric, a, b, gap, low, high, method, verdict)


def _made_up(metric: str, a: float, b: float, cards: tuple[Card, Card]) -> tuple[float, float] | None:
    ends = [card.metrics.get(f"{metric}/{end}") for card in cards for end in ("low", "high")]
    known = [end for end in ends if end is not None]
    if len(known) < 4:
        return None
    low_a, high_a, low_b, high_b = known
    below, above = np.hypot(b - low_b, high_a - a), np.hypot(high_b - b, a - low_a)
    return float(b - a - below), float(b - a + above)


def _second_better(metric: str, a: float, b: float) -> bool:
    """Whether the second value is better; of a preference, the one nearer to one half."""
    if metric.endswith("/preference"):
        return abs(b - NO_PREFERENCE) < abs(a - NO_PREFERENCE)
    return (b > a) == larger_is_better(metric)
