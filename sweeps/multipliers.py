"""How efficiency multipliers are written down: intervals, the headline, and what limits them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from sweeps.diagnostics import Diagnostic, diagnose
from sweeps.laws import Floats
from sweeps.result import EXTRAPOLATION_LIMIT

UNBOUNDED = "unbounded"
"""How an infinite multiplier is written."""

NOT_CONSTANT = 1.5
"""Ratio of the largest to the smallest multiplier over the runs' scale from which it is called so."""

MIN_DRAWS = 20
"""Bootstrap draws below which no interval is given."""

JOINT = "joint"
"""Key of the multiplier for all metrics together, the largest of theirs."""


def summary(multiplier: Floats, draws: Floats, level: float) -> dict[str, Any]:
    """Estimate, percentile interval and share of unbounded draws; no interval with too few draws.

    Draws whose law cannot be evaluated (an exponent so near 0 that its scale overflows) are left out.
    """
    record: dict[str, Any] = {"multiplier": [_number(value) for value in multiplier]}
    asked = len(draws)
    draws = draws[~np.isnan(draws).any(axis=1)]
    if len(draws) < max(MIN_DRAWS, 0.9 * asked):
        return record | {"low": None, "high": None, "unbounded_share": None}
    tail = (1 - level) / 2
    # Order statistics, not interpolation: an unbounded draw must not make its neighbours infinite.
    low, high = np.quantile(draws, [tail, 1 - tail], axis=0, method="nearest")
    # The draws of a law that fits badly can all miss the estimate; an interval must hold it.
    low, high = np.minimum(low, multiplier), np.maximum(high, multiplier)
    share = np.isinf(draws).mean(axis=0)
    record |= {"low": [_number(value) for value in low], "high": [_number(value) for value in high]}
    return record | {"unbounded_share": share.tolist()}


def _number(value: float) -> float | str:
    return float(value) if np.isfinite(value) else UNBOUNDED


def headline(item: dict[str, Any]) -> dict[str, Any]:
    """The multiplier at the largest scale of a curve."""
    return {
        "at": item["at"],
        "scale": item["scale"][-1],
        **{
            name: {key: None if values is None else values[-1] for key, values in summary.items()}
            for name, summary in item["by"].items()
        },
    }


def doubts(curves: list[dict[str, Any]], strategy: str) -> list[Diagnostic]:
    """What limits the multipliers, one finding a code, metric and resource."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for item in curves:
        for name, summary in item["by"].items():
            if name == JOINT:
                continue
            for code, text in _curve_doubts(item, summary):
                found.setdefault((code, name, item["resource"]), []).append(f"{item['at']['name']}{text}")
    return [
        diagnose(code, f"{name}, {strategy}, multiplier on {resource}: {'; '.join(places)}")
        for (code, name, resource), places in found.items()
    ]


def _curve_doubts(item: dict[str, Any], summary: dict[str, Any]) -> Iterator[tuple[str, str]]:
    values = summary["multiplier"]
    finite = [value for value in values if value != UNBOUNDED]
    if len(finite) < len(values):
        first = item["scale"][values.index(UNBOUNDED)]
        yield "TARGET_BELOW_FLOOR", f" (from {first:.3g} on)"
    if finite and max(finite) / max(min(finite), 1e-12) > NOT_CONSTANT:
        yield "MULTIPLIER_NOT_CONSTANT", f" ({min(finite):.3g} to {max(finite):.3g})"
    if values[-1] == UNBOUNDED:
        return
    needed = values[-1] * item["scale"][-1]
    least, most = item["baseline_range"]
    if needed > EXTRAPOLATION_LIMIT * most:
        reach = f"{needed / most:.3g} × the largest"
    elif needed < least / EXTRAPOLATION_LIMIT:
        reach = f"{needed / least:.3g} × the least"
    else:
        return
    yield "EXTRAPOLATION_FACTOR", f" (the baseline would need {reach} it was run with)"
