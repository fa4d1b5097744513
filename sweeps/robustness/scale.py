"""Which robustness comes with scale: how fast each kind's measure falls with N and with D.

The measure of a kind is a loss: a contrastive entropy, the area under an attack's curve, or how far a
preference is from one half. All get the same form, ``A·N^−α·D^−β`` (or one axis of it), so that exponents
compare: α is the mean relative fall of the measure per relative growth of N over the sweep, positive where it
comes with scale, negative where scale makes it worse. The form has no floor, so it describes the sweep and
predicts nothing. The difference from effectiveness is the exponent of the ratio of the two, which pairs them
run by run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from retrieval.errors import ParetrieveError
from retrieval.run.metric_names import CONTRASTIVE_ENTROPY
from sweeps.fitting.fit import prepare_fit
from sweeps.fitting.points import PAIRS, SIZE
from sweeps.fitting.result import FitOptions
from sweeps.table.cells import numbers

EFFECTIVENESS = f"eff/{CONTRASTIVE_ENTROPY}"

MIN_CONFIGURATIONS = 4
"""Of a law in both axes, which has three parameters."""

MIN_LEVELS = 3
"""Of a law in one axis."""

_RATIO = "kind over effectiveness"
_SIZES = {"N": SIZE, "D": PAIRS}


@dataclass(frozen=True)
class Measure:
    """The loss by which a kind is measured."""

    name: str
    column: str
    preference: bool = False
    """The column is a preference, whose distance from one half is the loss."""

    def values(self, runs: pd.DataFrame) -> np.ndarray:
        """float64[runs], NaN where it is not known."""
        values = numbers(runs[self.column])
        return np.abs(values - 0.5) if self.preference else values


@dataclass(frozen=True)
class Exponent:
    """How fast one kind's measure falls with one resource."""

    label: str
    kind: str
    column: str
    axis: str
    value: float
    low: float | None
    high: float | None
    difference: tuple[float, float | None, float | None] | None
    """From that of effectiveness: estimate, low and high; ``None`` for effectiveness itself."""
    runs: int

    @property
    def verdict(self) -> str:
        """Whether it comes with scale, as far as the interval decides."""
        if self.low is not None and self.low > 0:
            return "comes with scale"
        return "grows worse" if self.high is not None and self.high < 0 else "not shown"


def measures(runs: pd.DataFrame) -> list[Measure]:
    """The measures of all kinds that any run has: effectiveness first, then OOD, then the others by name."""
    columns = [
        str(name) for name in runs if numbers(runs[name]).size and np.isfinite(numbers(runs[name])).any()
    ]
    found = [
        Measure(name, column)
        for name, column in (("effectiveness", EFFECTIVENESS), ("OOD", f"ood/{CONTRASTIVE_ENTROPY}"))
        if column in columns
    ]
    return found + sorted(_others(columns), key=lambda one: one.name)


def _others(columns: list[str]) -> Iterator[Measure]:
    for column in columns:
        if column == "adv/auc":
            yield Measure("attack: wsra", column)
        # The same as adv/auc.
        elif column == "adv/wsra/auc" and "adv/auc" in columns:
            continue
        elif match := re.fullmatch(r"adv/([^/]+)/auc", column):
            yield Measure(f"attack: {match[1]}", column)
        elif match := re.fullmatch(rf"var/([^/]+)/{CONTRASTIVE_ENTROPY}", column):
            yield Measure(f"queries: {match[1]}", column)
        elif match := re.fullmatch(r"bias/([^/]+)/preference", column):
            yield Measure(f"bias: {match[1]}", column, preference=True)


def exponents(runs: pd.DataFrame, label: str, level: float = 0.95) -> tuple[list[Exponent], list[str]]:
    """The exponents of every kind in the runs of one label, and why others have none.

    ``runs``: labelled, of one family.
    """
    own = runs[runs["label"] == label]
    found: list[Exponent] = []
    refused = []
    for measure in measures(own):
        values = measure.values(own)
        positive = np.isfinite(values) & (values > 0)
        usable = own[positive].assign(**{measure.column: values[positive]})
        try:
            found += _fitted(usable, measure, label, level)
        except ParetrieveError as error:
            refused.append(f"{label}, {measure.name}: {error}")
        if left := int((values <= 0).sum()):
            refused.append(f"{label}, {measure.name}: {left} runs at 0, which has no logarithm, are left out")
    return found, refused


def _axes(runs: pd.DataFrame) -> list[tuple[str, ...]]:
    """The axes of the laws that the runs allow: both at once where they can be told apart."""
    levels = {axis: runs[key].nunique() if key in runs else 0 for axis, key in _SIZES.items()}
    together = len(runs[[SIZE, PAIRS]].drop_duplicates()) if min(levels.values()) > 1 else 0
    if together >= MIN_CONFIGURATIONS:
        logs = np.log(runs[[SIZE, PAIRS]].to_numpy(float))
        if np.linalg.matrix_rank(np.column_stack([np.ones(len(logs)), logs])) == 3:
            return [("N", "D")]
    return [(axis,) for axis, count in levels.items() if count >= MIN_LEVELS]


def _fitted(runs: pd.DataFrame, measure: Measure, label: str, level: float) -> Iterator[Exponent]:
    options = FitOptions(bootstrap=0, level=level)
    ratio = None
    if EFFECTIVENESS in runs and measure.column != EFFECTIVENESS:
        ratio = runs.assign(**{_RATIO: runs[measure.column] / numbers(runs[EFFECTIVENESS])})
    for axes in _axes(runs):
        own = _exponents(runs, measure.column, axes, options)
        beside = None if ratio is None else _exponents(ratio, _RATIO, axes, options)
        for axis, (value, low, high) in own.items():
            difference = None if beside is None else beside[axis]
            yield Exponent(label, measure.name, measure.column, axis, value, low, high, difference, len(runs))


def _exponents(
    runs: pd.DataFrame, column: str, axes: tuple[str, ...], options: FitOptions
) -> dict[str, tuple[float, float | None, float | None]]:
    """Axis -> exponent with its interval, positive where the column falls."""
    law = "joint" if len(axes) > 1 else {"N": "model", "D": "data"}[axes[0]]
    fit = prepare_fit(runs, f"{law}-growing", column, options=options, compare_forms=False)
    published = dict(zip(fit.estimate.law.parameters, map(float, fit.estimate.published)))
    found = {}
    for axis in axes:
        name = {"N": "alpha", "D": "beta"}[axis]
        low, high = fit.profile.intervals[name]
        found[axis] = (-published[name], None if high is None else -high, None if low is None else -low)
    return found
