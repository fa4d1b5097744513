"""Which runs each scaling curve of the report shows, and the law fitted to them."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from retrieval.errors import ParetrieveError
from sweeps.fitting.configurations import aggregate, label_order
from sweeps.fitting.fit import fit_law
from sweeps.fitting.laws import alone
from sweeps.fitting.points import PAIRS, SIZE
from sweeps.fitting.result import FitOptions, FitResult

Axis = Literal["N", "D"]
Fitting = Literal["full", "quick", "none"]

COLUMN: dict[str, str] = {"N": SIZE, "D": PAIRS}
ACROSS: dict[str, str] = {"N": PAIRS, "D": SIZE}
"""Column of an axis, and of the other one."""


@dataclass(frozen=True)
class Curve:
    """One series along N or D: configuration means, and the law where one can be fitted."""

    label: str
    """Strategy, as in :func:`sweeps.fitting.configurations.strategy_label`."""
    axis: Axis
    metric: str
    where: str
    """The slice in words, such as ``bert-mini``."""
    points: pd.DataFrame
    """``x, y, low, high, seeds`` in order of x; low and high are the extremes over seeds."""
    fit: FitResult | None = None
    refusal: str | None = None
    """Why there is no fit."""
    other: float = field(default=float("nan"))
    """N (of a curve along D) or D (of a curve along N) of the slice."""

    @property
    def name(self) -> str:
        """File name of the curve's record, without suffix."""
        law, kind = alone(self.axis, floor=True).name, self.metric.split("/")[0]
        words = f"{law}-{kind}-{self.label}-{self.where}".lower()
        return "-".join(re.findall(r"[a-z0-9.]+", words))

    def predict(self, x: np.ndarray) -> np.ndarray:
        """The fitted law at x; NaN without a fit."""
        return np.full_like(x, np.nan) if self.fit is None else self.fit.predict(*self._sizes(x))

    def band(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """95 % interval of the fitted law at x.

        ``None`` without a fit, and with fewer than two configurations more than parameters: an interval
        from one degree of freedom covers the whole figure, and the bootstrap's is far too narrow.
        """
        if self.fit is None or self.fit.n_configs < self.fit.form.size + 2:
            return None
        return self.fit.mean_band(*self._sizes(x))

    def _sizes(self, x: np.ndarray) -> tuple[ArrayLike, ArrayLike]:
        return (x, self.other) if self.axis == "N" else (self.other, x)


def best_slice(runs: pd.DataFrame, axis: Axis) -> float | None:
    """Value of the other axis at which most levels of ``axis`` were run (the largest of ties)."""
    along, across = COLUMN[axis], ACROSS[axis]
    if along not in runs or across not in runs or not len(runs):
        return None
    levels = runs.groupby(across)[along].nunique()
    return None if levels.empty else float(levels[levels == levels.max()].index.max())


def curve(
    runs: pd.DataFrame,
    label: str,
    axis: Axis,
    metric: str,
    other: float,
    fitted: Fitting = "full",
    known: FitResult | None = None,
) -> Curve:
    """The curve of one strategy along ``axis`` at N (or D) = ``other``.

    Args:
        runs: labelled runs of all strategies (:func:`sweeps.fitting.configurations.label_runs`).
        fitted: ``quick`` fits without bootstrap and without comparing forms, for panels that show no
            band; ``none`` is for metrics that follow no law.
        known: the law, where it has been fitted already.

    The law has a floor from four levels on; three levels determine no more than scale and exponent.
    """
    across = ACROSS[axis]
    part = runs[(runs["label"] == label) & (runs[across] == other) & runs[metric].notna()]
    where = _slice_name(part, axis, other)
    points = _points(part, axis, metric)
    if known is not None or fitted == "none" or len(points) < 3:
        return Curve(label, axis, metric, where, points, known, other=other)
    law = alone(axis, floor=len(points) >= 4).name
    try:
        options = FitOptions() if fitted == "full" else FitOptions(bootstrap=0)
        fit = fit_law(part, law=law, metric=metric, options=options, compare_forms=fitted == "full")
    except ParetrieveError as error:
        return Curve(label, axis, metric, where, points, refusal=str(error), other=other)
    return Curve(label, axis, metric, where, points, fit, other=other)


def _points(part: pd.DataFrame, axis: Axis, metric: str) -> pd.DataFrame:
    if part.empty:
        return pd.DataFrame({name: pd.Series(dtype=float) for name in ("x", "y", "low", "high", "seeds")})
    means = aggregate(part, (metric,)).table
    spread = part.groupby("configuration")[metric].agg(["min", "max"])
    return pd.DataFrame(
        {
            "x": means[COLUMN[axis]].to_numpy(float),
            "y": means[metric].to_numpy(float),
            "low": spread.loc[means["configuration"], "min"].to_numpy(float),
            "high": spread.loc[means["configuration"], "max"].to_numpy(float),
            "seeds": means["n_runs"].to_numpy(int),
        }
    ).sort_values("x", ignore_index=True)


def _slice_name(part: pd.DataFrame, axis: Axis, other: float) -> str:
    if axis == "D":
        names = part["model"].unique().tolist() if "model" in part else []
        return str(names[0]) if len(names) == 1 else f"N = {other:.4g}"
    return f"{other:,.0f} training pairs"


def curves_along(
    runs: pd.DataFrame,
    axis: Axis,
    metric: str,
    other: float,
    fitted: Fitting = "full",
    known: Callable[[str], FitResult | None] = lambda _: None,
) -> list[Curve]:
    """The curve of every strategy that has points; arguments as :func:`curve`, ``known`` by label."""
    labels = labels_for_curves(runs)
    found = [curve(runs, label, axis, metric, other, fitted, known(label)) for label in labels]
    return [item for item in found if len(item.points)]


def labels_for_curves(runs: pd.DataFrame, limit: int = 6) -> list[str]:
    """Strategies drawn as curves: ``standard`` first; fixed ω only where there is room for all."""
    labels = sorted(runs["label"].unique(), key=label_order)
    if len(labels) > limit:
        labels = [label for label in labels if not label.startswith("fixed")][:limit]
    return labels
