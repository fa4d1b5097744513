"""The page: sections of prose, figures and tables rendered to one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from retrieval.codes import look_up
from retrieval.run.files import write_text
from retrieval.run.pages import page_of
from sweeps.codes import CODES
from sweeps.diagnostics import Diagnostic
from sweeps.fitting.points import PAIRS, SIZE
from sweeps.fitting.result import FitResult
from sweeps.records import Record
from sweeps.report.curves import Curve
from sweeps.report.figures.style import FORMATS, Panel, inline_svg, save
from sweeps.table.files import write_table


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
    ("run", "run", "{}"),
    ("model", "model", "{}"),
    ("fraction", "frac", "{:g}"),
    ("strategy", "label", "{}"),
    ("seed", "seed", "{:.0f}"),
    ("N", SIZE, "{:,.0f}"),
    ("D", PAIRS, "{:,.0f}"),
    ("CE, eff", "eff/contrastive_entropy", "{:.4f}"),
    ("CE, ood", "ood/contrastive_entropy", "{:.4f}"),
    ("CE, adv", "adv/contrastive_entropy", "{:.4f}"),
    ("nDCG@10, eff", "eff/ndcg@10", "{:.4f}"),
    ("nDCG@10, ood", "ood/ndcg@10", "{:.4f}"),
    ("ω at the end", "omega/final", "{:.3f}"),
    ("train s", "cost/train_seconds", "{:,.0f}"),
    ("pairs/s", "cost/pairs_per_second", "{:,.0f}"),
    ("codes", "warnings", "{}"),
)
"""Heading, column of the table, format of numbers."""


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
    shown = [column for column in RUN_COLUMNS if column[1] in runs and any(map(cell, runs[column[1]]))]
    rows = [[cell(row[key], form) for _, key, form in shown] for _, row in ordered.iterrows()]
    headings, numeric = [heading for heading, *_ in shown], [form != "{}" for *_, form in shown]
    return PageTable(headings, numeric, rows, "tables/runs.csv", ("codes",))


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


@dataclass
class Section:
    """One section: heading, paragraphs, figures and tables in this order."""

    anchor: str
    title: str
    paragraphs: list[str] = field(default_factory=list)
    panels: list[Panel] = field(default_factory=list)
    tables: list[PageTable] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    links: list[tuple[str, str]] = field(default_factory=list)
    """Addresses below the page's folder, and their words."""
    notes: list[str] = field(default_factory=list)
    """What is missing and why, with a code of the registry first."""
    records: dict[str, Record] = field(default_factory=dict)
    """What the section shows, by the name of the file that it is written to."""
    findings: list[Finding] = field(default_factory=list)

    def missing(self, code: str, message: str | None = None) -> None:
        """Note what is not there: ``message``, or else the code's meaning, and the remedy."""
        kind = look_up(code, CODES)
        self.notes.append(f"{code}: {message or kind.meaning}; {kind.remedy}.")

    def hold(
        self, name: str, record: Record, warnings: Iterable[Diagnostic] = (), concerns: str = ""
    ) -> None:
        """Keep a record with its name, and its warnings, which concern what ``concerns`` says."""
        self.records[name] = record
        self.findings += [Finding(item, concerns) for item in warnings]


@dataclass(frozen=True)
class Finding:
    """A diagnostic and what it concerns."""

    diagnostic: Diagnostic
    concerns: str


@dataclass
class Page:
    """Everything the template shows; all text is escaped by it."""

    title: str
    lead: list[str]
    facts: list[tuple[str, str]]
    """Numbers at the head of the page, each with what it is."""
    sections: list[Section]
    findings: list[Finding]
    checklist: list[tuple[str, str | None]]
    """What a scaling-law paper must state, and what this sweep states; ``None`` = not known. May be empty."""


def write_page(page: Page, out: Path, formats: Sequence[str] = tuple(FORMATS)) -> Path:
    """Write figures below ``out``/figures and the page as ``out``/index.html; returns its path.

    ``svg`` must be among the ``formats`` of the figures' files: the page is drawn from it.
    """
    folder = out / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    drawings: dict[str, Markup] = {}
    for section in page.sections:
        for panel in section.panels:
            save(panel, folder, formats)
            # The SVG comes from matplotlib, which escapes all text that goes into it.
            drawings[panel.name] = Markup(inline_svg(folder / f"{panel.name}.svg", panel.caption, panel.name))
    context = {"page": page, "drawings": drawings, "groups": grouped(page.findings), "formats": formats}
    write_text(out / "index.html", page_of("sweeps.report", "page.html", **context))
    return out / "index.html"


def grouped(findings: list[Finding]) -> list[tuple[Diagnostic, list[Finding]]]:
    """Findings by code, errors first, in order of first appearance."""
    rank = {"error": 0, "warning": 1, "info": 2}
    codes: dict[str, list[Finding]] = {}
    for finding in findings:
        codes.setdefault(finding.diagnostic.code, []).append(finding)
    groups = [(members[0].diagnostic, members) for members in codes.values()]
    return sorted(groups, key=lambda group: rank[group[0].level])
