"""Puts the report together: analyses a table of runs and writes page, figures, tables and records."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from retrieval.files import write_json
from sweeps.configurations import label_runs
from sweeps.errors import TableError
from sweeps.points import PAIRS, SIZE
from sweeps.report.figures.omega import omega_panels
from sweeps.report.figures.style import FORMATS
from sweeps.report.page import Fact, Finding, Page, Section, write_page
from sweeps.report.scaling import joint_fits, scaling, slug
from sweeps.report.tables import fits_table, runs_table, write_csv
from sweeps.report.traces import omega_traces
from sweeps.table import Collected, write_table


@dataclass(frozen=True)
class ReportOptions:
    """What the report is about."""

    title: str = "How effectiveness and robustness scale"
    runs_folder: Path | None = None
    """Run directories, for ω traces and provenance; ``None`` where the table came from elsewhere."""
    formats: tuple[str, ...] = tuple(FORMATS)
    """File formats of the figures; ``svg`` must be among them."""


def build_report(collected: Collected, out: Path, options: ReportOptions | None = None) -> Path:
    """Analyse finished runs and write the report.

    Args:
        collected: the runs and, by name, those left out.
        out: folder to write to; files of the same names are replaced.
        options: title and run folder.

    Returns: path of the page, ``out``/index.html.

    Raises:
        TableError: there is no finished run.
    """
    options = options or ReportOptions()
    if collected.frame.empty:
        where = options.runs_folder or "the table"
        raise TableError(
            f"{where} has no finished run ({collected.summary()}); run `python train.py …` first"
        )
    runs = label_runs(collected.frame)
    data, model = scaling(runs, "D"), scaling(runs, "N")
    joint = joint_fits(runs)
    fits = Section("fits", "Fitted laws")
    fits.tables.append(fits_table([*data.curves, *model.curves], joint))
    table = Section("runs", "Runs", [f"{collected.summary()}."])
    table.paragraphs += [f"Left out: {run.run}: {run.state} ({run.reason})." for run in collected.skipped]
    table.tables.append(runs_table(runs))
    sections = [data.section, model.section, _omega(runs, options.runs_folder), fits, table]
    findings = [
        Finding(warning, f"{item.label}, {item.metric}, {item.where}")
        for item in [*data.curves, *model.curves]
        if item.fit is not None
        for warning in item.fit.warnings
    ]
    page = Page(options.title, [], _facts(runs), sections, findings, [])
    out.mkdir(parents=True, exist_ok=True)
    for section in sections:
        for part in section.tables:
            write_csv(part, out)
    write_table(collected.frame, out / "tables" / "runs.csv")
    for item in [*data.curves, *model.curves]:
        if item.fit is not None:
            write_json(out / "fits" / f"{item.name}.json", item.fit.to_json())
    for label, metric, fit in joint:
        write_json(out / "fits" / f"joint-{metric.split('/')[0]}-{slug(label)}.json", fit.to_json())
    return write_page(page, out, options.formats)


def _omega(runs: pd.DataFrame, folder: Path | None) -> Section:
    section = Section("omega", "Pareto training: how ω moved")
    traces = omega_traces(runs, folder)
    if not traces:
        section.notes.append(
            "NO_PARETO_RUNS: no run with a moving ω; "
            "add some with `python train.py -m strategy=standard,pareto …`."
        )
        return section
    order = {str(row["configuration"]): (float(row[SIZE]), float(row[PAIRS])) for _, row in runs.iterrows()}
    section.panels = omega_panels(traces, order)
    return section


def _facts(runs: pd.DataFrame) -> list[Fact]:
    return [
        Fact(str(len(runs)), "finished runs"),
        Fact(str(runs["model"].nunique()), "models"),
        Fact(str(runs["frac"].nunique()), "data fractions"),
    ]
