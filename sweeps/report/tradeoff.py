"""Sections on both objectives together: frontier and sensitivities."""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd

from retrieval.errors import ParetrieveError
from sweeps.fitting.sensitivity import SensitivityFile, sensitivities
from sweeps.frontier.record import Front, Frontier
from sweeps.frontier.trace import EFFECTIVENESS, ROBUSTNESS, FrontierOptions, frontier
from sweeps.records import Record
from sweeps.report.curves import labels_for_curves
from sweeps.report.figures.curves import objective_in_text
from sweeps.report.figures.plane import cell_panel, cells_panel, moving_panel, plane_panel
from sweeps.report.page import Finding, Section
from sweeps.report.tables import PageTable, cell, percent, without_blank
from sweeps.report.written import Written


@dataclass
class Tradeoff:
    """A section, the records behind it (file name -> record) and what was found on the way."""

    section: Section
    records: dict[str, Record] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)


def frontier_part(runs: pd.DataFrame, written: Written) -> Tradeoff:
    """The frontier over all runs and of every model and fraction."""
    part = Tradeoff(Section("frontier", "Effectiveness against robustness"))
    by = tuple(name for name in ("model", "frac") if name in runs)
    try:
        # One that steers is drawn in dev metrics; the page reports test metrics.
        record = written.find(Frontier, part.section, lambda found: not found.steers)
        record = record or frontier(runs, FrontierOptions(by=by))
    except ParetrieveError as error:
        part.section.missing("NO_FRONTIER", str(error))
        return part
    part.records["frontier"] = record
    part.findings = [Finding(item, "frontier") for item in record.warnings]
    part.section.paragraphs += [_knee_sentence(record.front), *_moving_sentences(record)]
    part.section.panels = [plane_panel(record)]
    drawn = (cell_panel(record), cells_panel(record), moving_panel(record))
    part.section.panels += [panel for panel in drawn if panel]
    part.section.tables = [_frontier_table(record.front)]
    if runs["label"].nunique() == 1:
        part.section.missing("ONE_STRATEGY")
    return part


def _knee_sentence(front: Front) -> str:
    knee, area = front.knee, front.hypervolume
    text = f"The knee of the frontier is {knee.configuration} ({knee.x:.3f}, {knee.y:.3f})"
    if front.rho is not None:
        text += f": ρ* = R*/E* = {front.rho:.3f}, so ω₀ = R*/(E*+R*) = {front.omega_0:.3f}"
    corner = ", ".join(f"{value:.3f}" for value in area.reference)
    text += f". The hypervolume up to ({corner}) is {area.value:.3f}"
    if area.interval is not None:
        text += f" [{area.interval[0]:.3f}, {area.interval[1]:.3f}] under seed noise"
    return text + "."


def _moving_sentences(record: Frontier) -> list[str]:
    said = []
    for axis, change in record.scaling.items():
        what = {"N": "model size", "D": "training pairs"}[axis]
        parts = []
        for metric, by, ends in (
            (record.front.x, change.x, change.x_interval),
            (record.front.y, change.y, change.y_interval),
        ):
            inside = "" if ends is None else f" [{percent(ends[0])}, {percent(ends[1])}]"
            parts.append(f"{objective_in_text(metric)} by {percent(by)}{inside}")
        said.append(f"Doubling the {what} moves the knee of a cell: {' and '.join(parts)}.")
    return said


def _frontier_table(front: Front) -> PageTable:
    rows = [
        [
            *(point.configuration, cell(point.x, "{:.4f}"), cell(point.y, "{:.4f}")),
            cell(point.probability_non_dominated, "{:.2f}"),
            str(len(point.seeds) or ""),
        ]
        for point in front.best
    ]
    headings = ["non-dominated configuration", front.x, front.y, "P(non-dominated)", "seeds"]
    return without_blank(PageTable(headings, [False, True, True, True, True], rows, "tables/frontier.csv"))


def sensitivity_part(runs: pd.DataFrame, written: Written) -> Tradeoff:
    """Whether effectiveness and robustness respond differently to N and to D, by strategy."""
    part = Tradeoff(Section("sensitivity", "Sensitivity to size and data"))
    rows = []
    file = written.find(SensitivityFile, part.section, lambda found: found.by == "strategy")
    for label in labels_for_curves(runs, limit=3):
        table = runs[runs["label"] == label].drop(columns="strategy", errors="ignore")
        try:
            written_one = file.groups.get(label) if file else None
            found = written_one or sensitivities(
                table.dropna(subset=[EFFECTIVENESS, ROBUSTNESS]), EFFECTIVENESS, ROBUSTNESS
            )
        except (ParetrieveError, KeyError) as error:
            part.section.notes.append(f"{label}: {str(error).strip(chr(39))}")
            continue
        part.records[f"sensitivity-{label}"] = found
        for item in found.differences:
            if item.kind == "local":
                rows.append(
                    [
                        *(label, {"N": "model size", "D": "training pairs"}[item.resource]),
                        f"{item.first:.3f} [{item.first_interval[0]:.3f}, {item.first_interval[1]:.3f}]",
                        f"{item.second:.3f} [{item.second_interval[0]:.3f}, {item.second_interval[1]:.3f}]",
                        f"{item.difference:+.3f} [{item.interval[0]:+.3f}, {item.interval[1]:+.3f}]",
                        f"{item.p:.3f}",
                        item.verdict("effectiveness", "robustness", 0.05),
                    ]
                )
    if rows:
        part.section.paragraphs.append(
            "Local sensitivity: the relative fall of the contrastive entropy per relative growth of the "
            "resource, −∂ ln CE/∂ ln resource, at the centre of the sweep under the joint law; both metrics "
            "are resampled together."
        )
        headings = ["strategy", "resource", "effectiveness", "OOD robustness", "difference", "p", "verdict"]
        numeric = [False, False, True, True, True, True, False]
        part.section.tables.append(PageTable(headings, numeric, rows, "tables/sensitivity.csv", ("verdict",)))
    return part
