"""The head of the page: what the runs show, in sentences and numbers a reader takes away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from sweeps.configurations import label_order
from sweeps.efficiency import JOINT, UNBOUNDED
from sweeps.frontier import EFFECTIVENESS, ROBUSTNESS
from sweeps.points import PAIRS, SIZE
from sweeps.report.curves import Curve
from sweeps.report.figures.curves import objective_in_text
from sweeps.report.figures.style import quantity
from sweeps.report.page import Fact, Finding
from sweeps.report.tables import with_interval
from sweeps.report.tradeoff import times


def facts(runs: pd.DataFrame, records: dict[str, dict[str, Any]]) -> list[Fact]:
    """Numbers at the head of the page."""
    count = runs["configuration"].nunique()
    found = [
        Fact(str(len(runs)), f"finished {plural('run', len(runs))}"),
        Fact(str(count), plural("configuration", count)),
    ]
    if SIZE in runs:
        found.append(Fact(_span(runs[SIZE]), f"parameters N, {_count(runs[SIZE], 'size')}"))
    if PAIRS in runs:
        found.append(Fact(_span(runs[PAIRS]), f"training pairs D, {_count(runs[PAIRS], 'amount')}"))
    frontier = records.get("frontier")
    if frontier is not None and frontier["rho"] is not None:
        found.append(Fact(f"{frontier['rho']:.2f}", "ρ* = R*/E* at the frontier's knee"))
    pareto = records.get("efficiency-pareto")
    if pareto is not None and "D" in pareto["headline"]:
        value = pareto["headline"]["D"][JOINT]["multiplier"]
        text = value if value == UNBOUNDED else f"{value:.2g}×"
        found.append(Fact(text, f"data {pareto['baseline']} needs to match pareto on both objectives"))
    return found


def _span(values: pd.Series) -> str:
    low, high = float(values.min()), float(values.max())
    return quantity(low) if low == high else f"{quantity(low)} – {quantity(high)}"


def _count(values: pd.Series, word: str) -> str:
    count = values.nunique()
    return f"{count} {plural(word, count)}"


def plural(word: str, count: int) -> str:
    """The word as it follows the count."""
    return word if count == 1 else f"{word}s"


def lead(
    runs: pd.DataFrame,
    curves: Sequence[Curve],
    records: dict[str, dict[str, Any]],
    findings: Sequence[Finding],
) -> list[str]:
    """Two or three sentences: what was run, how it scales, what to be careful about."""
    said = [_what(runs)]
    said += _scales(curves)
    pareto = records.get("efficiency-pareto")
    if pareto is not None and "D" in pareto["headline"]:
        head = pareto["headline"]["D"]
        parts = [
            f"{times(head[m])} on {objective_in_text(m)}" for m in (EFFECTIVENESS, ROBUSTNESS) if m in head
        ]
        said.append(
            f"Training pairs that {pareto['baseline']} needs to match pareto at {head['at']['name']}: "
            f"{' and '.join(parts)} ({100 * pareto['level']:g} % intervals)."
        )
    errors = {item.diagnostic.code for item in findings if item.diagnostic.severity == "error"}
    cautions = {item.diagnostic.code for item in findings if item.diagnostic.severity == "warning"}
    counts = [f"{len(c)} {plural(w, len(c))}" for c, w in ((errors, "error"), (cautions, "warning")) if c]
    if counts:
        codes = ", ".join([*sorted(errors), *sorted(cautions)][:4])
        said.append(f"Before quoting a number, read the {' and '.join(counts)} below, among them {codes}.")
    return said


def _what(runs: pd.DataFrame) -> str:
    def listed(column: str) -> str:
        return ", ".join(sorted(set(map(str, runs[column])), key=label_order)) if column in runs else ""

    seeds = runs["seed"].nunique() if "seed" in runs else 0
    text = f"{len(runs)} finished {plural('run', len(runs))} on {listed('data') or 'one table'}"
    text += f"; {listed('label')}"
    return f"{text}; {seeds} {plural('seed', seeds)}." if seeds else f"{text}."


def _scales(curves: Sequence[Curve]) -> list[str]:
    """How effectiveness and OOD robustness of the first strategy fall with data."""
    parts = []
    for metric in (EFFECTIVENESS, ROBUSTNESS):
        fitted = [
            item for item in curves if item.metric == metric and item.axis == "D" and item.fit is not None
        ]
        if fitted and fitted[0].fit is not None:
            fit = fitted[0].fit
            beta = with_interval(fit.params["beta"], fit.intervals.get("beta"))
            parts.append(f"β = {beta} for {objective_in_text(metric)}")
            where = f"{fitted[0].where}, {fitted[0].label}"
    if not parts:
        return []
    return [
        f"Contrastive entropy falls with the training pairs as a power law ({where}): {' and '.join(parts)}."
    ]
