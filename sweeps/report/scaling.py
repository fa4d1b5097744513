"""Sections on scaling: curves along D and along N, with their laws."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd

from retrieval.errors import ParetrieveError
from sweeps.fitting.fit import fit_law
from sweeps.fitting.points import PAIRS, SIZE
from sweeps.fitting.result import FitResult
from sweeps.report.curves import COLUMN, Axis, Curve, best_slice, curve, curves_along, labels_for_curves
from sweeps.report.figures.curves import AXIS_NAME, curve_panel, objective_name, sizes_panel
from sweeps.report.figures.style import Panel
from sweeps.report.page import Section
from sweeps.report.tables import PageTable, interval, percent
from sweeps.report.written import Written

OBJECTIVES = ("eff/contrastive_entropy", "ood/contrastive_entropy", "adv/contrastive_entropy")

TITLES = {"D": "More training pairs", "N": "Larger models"}
MAX_SIZES = 8
"""Slices drawn in one panel of sizes."""


def measured(runs: pd.DataFrame) -> list[str]:
    """The objectives' contrastive entropies that at least one run has."""
    return [metric for metric in OBJECTIVES if metric in runs and runs[metric].notna().any()]


def scaling(runs: pd.DataFrame, axis: Axis, written: Written) -> tuple[Section, list[Curve]]:
    """The section on ``axis``, and its curves of every strategy and objective, fitted where levels allow."""
    section = Section("data" if axis == "D" else "model", TITLES[axis])
    found: list[Curve] = []
    other = best_slice(runs, axis)
    levels = (
        0
        if other is None
        else runs[runs[COLUMN["D" if axis == "N" else "N"]] == other][COLUMN[axis]].nunique()
    )
    if other is None or levels < 2:
        what = "training fractions" if axis == "D" else "model sizes"
        option = "data.frac=0.1,0.3,1" if axis == "D" else "model=bert-tiny,bert-mini,bert-small"
        section.missing(
            "FEWER_THAN_3_LEVELS",
            f"the runs have {levels} of the {what} a curve needs (for more, give {option})",
        )
        return section, found
    if levels < 3:
        section.missing("FEWER_THAN_3_LEVELS", f"{levels} values of {axis} give a line, not a law")
    if axis == "D":
        section.paragraphs.append(
            "Contrastive entropy is −ln of the probability that a relevant passage gets among random "
            "irrelevant ones, in nats: lower is better, and ln(W + 1) is guessing."
        )
    for metric in measured(runs):
        known = partial(written.fit, section, metric=metric, axes=(axis,), other=other)
        curves = curves_along(runs, axis, metric, other, known=known)
        if curves:
            found += curves
            section.panels.append(_panel(curves, metric))
    fitted = exponents_table(found)
    if fitted.rows:
        section.tables.append(fitted)
    if axis == "D":
        # Along N the joint surface shows the same, and slices of three sizes determine little.
        for metric in measured(runs):
            section.panels += _sizes(runs, metric, found)
    return section, found


def _panel(curves: list[Curve], metric: str) -> Panel:
    first = curves[0]
    objective = objective_name(metric)
    parts = [
        f"{objective}: contrastive entropy against {AXIS_NAME[first.axis]}, {first.where}; lower is better."
    ]
    if any(item.fit is not None for item in curves):
        banded = any(item.band(np.array([1.0])) is not None for item in curves)
        bands = "with 95 % bands of the mean" if banded else "(too few points for a band)"
        parts.append(f"Lines are fitted laws {bands}, dotted beyond the data.")
    if any(item.fit is not None and item.fit.holdout.n for item in curves):
        parts.append("Hollow points were left out in a second fit, which predicts the crosses.")
    if any((item.points["seeds"] > 1).any() for item in curves):
        parts.append("Bars span the seeds.")
    name = f"{'data' if first.axis == 'D' else 'model'}-{metric.split('/')[0]}"
    return curve_panel(curves, name, f"{objective}, {first.where}", " ".join(parts))


def _sizes(runs: pd.DataFrame, metric: str, found: list[Curve]) -> list[Panel]:
    """One panel a strategy with the curves of all model sizes, where there are several."""
    panels = []
    for label in labels_for_curves(runs, limit=4):
        part = runs[(runs["label"] == label) & runs[metric].notna()]
        levels = part.groupby(SIZE)[PAIRS].nunique()
        values = [float(value) for value in levels[levels >= 2].index]
        if len(values) < 2:
            continue
        step = max(1, -(-len(values) // MAX_SIZES))
        curves = [curve(runs, label, "D", metric, value, fitted="quick") for value in values[::-1][::step]]
        objective = objective_name(metric)
        caption = f"{objective} of {label} at every model size; dark is small, light is large."
        name = f"data-{metric.split('/')[0]}-{slug(label)}"
        panels.append(sizes_panel(curves, name, f"{objective}, {label}", caption))
        found += [item for item in curves if not _has(found, item)]
    return panels


def _has(curves: list[Curve], item: Curve) -> bool:
    key = (item.label, item.axis, item.metric, item.other)
    return any((c.label, c.axis, c.metric, c.other) == key for c in curves)


def slug(label: str) -> str:
    """A label as part of a file name or an id."""
    return "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in label)


def exponents_table(curves: Sequence[Curve]) -> PageTable:
    """The fitted exponents of the curves in one slice, for reading; all numbers are in the table of fits."""
    rows = []
    for item in curves:
        if item.fit is None:
            continue
        name = "beta" if item.axis == "D" else "alpha"
        error = item.fit.holdout.relative_error
        rows.append(
            [
                *(objective_name(item.metric), item.label, item.fit.form.formula),
                f"{item.fit.params[name]:.3g}",
                interval(item.fit.intervals.get(name)),
                "" if error is None else percent(error),
            ]
        )
    symbol = "β" if curves and curves[0].axis == "D" else "α"
    headings = ["objective", "strategy", "law", symbol, "95 % interval", "hold-out error"]
    return PageTable(headings, [False] * 3 + [True] * 3, rows)


def joint_fits(runs: pd.DataFrame, written: Written, section: Section) -> list[tuple[str, str, FitResult]]:
    """The joint law of every strategy and objective with at least three sizes and three numbers of pairs."""
    fits = []
    if not {SIZE, PAIRS} <= set(runs):
        return []
    for metric in measured(runs):
        for label in labels_for_curves(runs, limit=4):
            part = runs[(runs["label"] == label) & runs[metric].notna()]
            if min(part[SIZE].nunique(), part[PAIRS].nunique()) < 3:
                continue
            try:
                known = written.fit(section, label, metric, ("N", "D"))
                fit = known or fit_law(part, law="joint", metric=metric)
            except ParetrieveError:
                continue
            fits.append((label, metric, fit))
    return fits
