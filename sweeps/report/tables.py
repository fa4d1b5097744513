"""Tables of the report: what stands on the page, and the same in full as CSV."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sweeps.fitting.points import PAIRS, SIZE
from sweeps.fitting.result import FitResult
from sweeps.report.curves import Curve
from sweeps.table.runs import write_table


@dataclass(frozen=True)
class Column:
    """One column on the page: heading, table key, format of numbers."""

    heading: str
    key: str
    form: str = "{}"


@dataclass(frozen=True)
class PageTable:
    """Text of a table on the page; ``numeric`` says which columns are set flush right."""

    headings: list[str]
    numeric: list[bool]
    rows: list[list[str]]
    download: str | None = None
    wrapped: tuple[str, ...] = ()
    """Headings of columns with long text."""


RUN_COLUMNS = (
    Column("run", "run"),
    Column("model", "model"),
    Column("fraction", "frac", "{:g}"),
    Column("strategy", "label"),
    Column("seed", "seed", "{:.0f}"),
    Column("N", SIZE, "{:,.0f}"),
    Column("D", PAIRS, "{:,.0f}"),
    Column("CE, eff", "eff/contrastive_entropy", "{:.4f}"),
    Column("CE, ood", "ood/contrastive_entropy", "{:.4f}"),
    Column("CE, adv", "adv/contrastive_entropy", "{:.4f}"),
    Column("nDCG@10, eff", "eff/ndcg@10", "{:.4f}"),
    Column("nDCG@10, ood", "ood/ndcg@10", "{:.4f}"),
    Column("ω at the end", "omega/final", "{:.3f}"),
    Column("train s", "cost/train_seconds", "{:,.0f}"),
    Column("pairs/s", "cost/pairs_per_second", "{:,.0f}"),
    Column("codes", "warnings"),
)


def cell(value: Any, form: str = "{}") -> str:
    """A value as text: numbers by ``form``, nothing for missing ones."""
    if value is None or (isinstance(value, float | np.floating) and not np.isfinite(value)):
        return ""
    if isinstance(value, int | float | np.number) and not isinstance(value, bool):
        return form.format(float(value)) if form != "{}" else str(value)
    return str(value)


def runs_table(runs: pd.DataFrame) -> PageTable:
    """One row a run, by size, data, strategy and seed; columns nobody measured are left out."""
    keys = [key for key in (SIZE, PAIRS, "label", "seed", "run") if key in runs]
    ordered = runs.sort_values(keys, kind="stable")
    shown = [column for column in RUN_COLUMNS if column.key in runs and _known(runs[column.key])]
    rows = [[cell(row[c.key], c.form) for c in shown] for _, row in ordered.iterrows()]
    return PageTable(
        [c.heading for c in shown], [c.form != "{}" for c in shown], rows, "tables/runs.csv", ("codes",)
    )


def _known(column: pd.Series) -> bool:
    return bool(column.map(lambda value: cell(value) != "").any())


def interval(ends: Sequence[float | None] | None, form: str = "{:.3g}") -> str:
    """``[0.31, 0.52]``; an interval that the data leave open at an end is a bound, or nothing at all."""
    low, high = ends if ends is not None else (None, None)
    if low is None and high is None:
        return "undetermined"
    if low is None or high is None:
        return f"≤ {form.format(high)}" if low is None else f"≥ {form.format(low)}"
    return f"[{form.format(low)}, {form.format(high)}]"


def with_interval(value: float, ends: Sequence[float | None] | None) -> str:
    """``0.42 [0.31, 0.52]``, or with a bound in parentheses."""
    text = interval(ends)
    if text.startswith("["):
        return f"{value:.3g} {text}"
    return f"{value:.3g} (interval undetermined)" if text == "undetermined" else f"{value:.3g} ({text})"


def percent(share: float) -> str:
    """A signed percentage with a true minus: ``−3.1 %``."""
    return f"{100 * share:+.1f} %".replace("-", "−")


def without_blank(table: PageTable) -> PageTable:
    """The table without the columns that say nothing."""
    kept = [k for k in range(len(table.headings)) if any(row[k] for row in table.rows)]
    return replace(
        table,
        headings=[table.headings[k] for k in kept],
        numeric=[table.numeric[k] for k in kept],
        rows=[[row[k] for k in kept] for row in table.rows],
    )


def fits_table(curves: Sequence[Curve], joint: Sequence[tuple[str, str, FitResult]]) -> PageTable:
    """One row a fitted law: exponents and floor with their intervals, goodness, hold-out error, codes."""
    rows = []
    for curve in curves:
        if curve.fit is not None:
            rows.append(_fit_row(curve.label, curve.metric, curve.where, curve.fit))
        elif curve.refusal is not None:
            blank = [""] * 8
            rows.append([curve.label, curve.metric, curve.where, "no fit", *blank[:6], curve.refusal])
    rows += [_fit_row(label, metric, "all sizes and fractions", fit) for label, metric, fit in joint]
    text, numbers = (
        ["strategy", "metric", "at", "law"],
        ["α", "β", "δ", "R² (ln)", "hold-out error", "configs"],
    )
    headings = [*text, *numbers, "codes"]
    numeric = [False] * 4 + [True] * 6 + [False]
    return without_blank(PageTable(headings, numeric, rows, "tables/fits.csv", ("codes",)))


def _fit_row(label: str, metric: str, where: str, fit: FitResult) -> list[str]:
    def parameter(name: str) -> str:
        if name not in fit.params:
            return ""
        return with_interval(fit.params[name], fit.intervals.get(name))

    error = fit.holdout.relative_error
    return [
        *(label, metric, where, fit.form.formula),
        *(parameter("alpha"), parameter("beta"), parameter("delta")),
        f"{fit.r2['log']:.4f}",
        "" if error is None else percent(error),
        str(fit.n_configs),
        " ".join(code for code in dict.fromkeys(fit.codes) if code != "SLICE_USED"),
    ]


def write_csv(table: PageTable, out: Path) -> None:
    """The table as on the page, below ``out``; only for tables with a download."""
    if table.download is not None:
        write_table(pd.DataFrame(table.rows, columns=table.headings), out / table.download)
