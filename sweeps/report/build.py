"""Puts the report together: analyses a table of runs and writes page, figures, tables and records."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from retrieval.codes import Code
from retrieval.run.files import write_json
from sweeps.codes import CODES
from sweeps.diagnostics import Diagnostic, TableError
from sweeps.fitting.configurations import label_runs
from sweeps.fitting.points import PAIRS, SIZE
from sweeps.fitting.result import FitResult
from sweeps.records import Record
from sweeps.report.attacks import attacks_section
from sweeps.report.baseline import comparison_section, efficiency_section
from sweeps.report.comparisons import comparisons_section
from sweeps.report.curves import Curve
from sweeps.report.families import families_sections
from sweeps.report.figures.curves import surface_panel
from sweeps.report.figures.omega import omega_panels, omega_traces
from sweeps.report.figures.style import FORMATS
from sweeps.report.page import Finding, Page, Section, fits_table, runs_table, write_csv, write_page
from sweeps.report.provenance import checklist
from sweeps.report.proxies import proxies_section
from sweeps.report.reproduce import PARTIAL, commands
from sweeps.report.robustness import kinds_section, statistics_section
from sweeps.report.scaling import (
    OBJECTIVES,
    cost_section,
    domains_section,
    joint_fits,
    measured,
    ranking_section,
    scaling,
    slug,
)
from sweeps.report.summary import facts, lead
from sweeps.report.tradeoff import frontier_section, mixture_section, sensitivity_section
from sweeps.report.trained_on import trained_on_section
from sweeps.report.transfer import transfer_section
from sweeps.report.written import Written
from sweeps.table.cells import cell_text, with_sound
from sweeps.table.families import FAMILY, families_of, in_order
from sweeps.table.files import write_table
from sweeps.table.runs import Collected


@dataclass(frozen=True)
class ReportOptions:
    """What the report is about."""

    title: str = "How effectiveness and robustness scale"
    runs_folder: Path | None = None
    """Run directories, for ω traces and provenance; ``None`` where the table came from elsewhere."""
    formats: tuple[str, ...] = tuple(FORMATS)
    """File formats of the figures; ``svg`` must be among them."""
    records: Path | None = None
    """Folder of what the commands wrote; ``None`` for none."""
    whole: pd.DataFrame | None = None
    """Of a page on some runs, as those of one family: all, whose records are not this page's."""
    study: str | None = None
    """Name and options of the study that made the runs."""


@dataclass
class Analysis:
    """Everything computed from the runs, before it is written."""

    runs: pd.DataFrame
    """Labelled runs."""
    sections: list[Section] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    joint: list[tuple[str, str, FitResult]] = field(default_factory=list)

    @property
    def fits(self) -> list[FitResult]:
        """Every fitted law."""
        return [item.fit for item in self.curves if item.fit is not None] + [fit for *_, fit in self.joint]

    @property
    def records(self) -> dict[str, Record]:
        """What the sections show, by file name."""
        return {name: record for section in self.sections for name, record in section.records.items()}

    @property
    def findings(self) -> list[Finding]:
        """What the runs, the fits and the sections warn of."""
        fits = [(f"{c.label}, {c.metric}, {c.where}", c.fit) for c in self.curves if c.fit is not None]
        fits += [(f"{label}, {metric}, joint law", fit) for label, metric, fit in self.joint]
        of_fits = [Finding(warning, name) for name, fit in fits for warning in fit.warnings]
        of_sections = [found for section in self.sections for found in section.findings]
        return [*_run_findings(self.runs), *of_fits, *of_sections]


def build_report(collected: Collected, out: Path, options: ReportOptions | None = None) -> Path:
    """Analyse finished runs and write the report.

    Files of the same names in the folder ``out`` are replaced. Where the runs are of several model families,
    each has its page in a folder of its name below ``out``, and this page compares them.

    Returns the path of the page, its index.html.

    Raises TableError: there is no finished run, or the table lacks what identifies a run.
    """
    options = options or ReportOptions()
    if collected.frame.empty:
        where = options.runs_folder or "the table"
        raise TableError(
            f"{where} has no finished run ({collected.summary()}); run `python train.py …` first"
        )
    if not measured(collected.frame):
        raise TableError(
            f"no run has a contrastive entropy ({', '.join(OBJECTIVES)}); evaluate with eval=quick"
        )
    names = in_order(collected.frame)
    if len(names) > 1:
        for name in names:
            own = collected.frame[families_of(collected.frame) == name]
            title = f"{options.title}: {name}"
            whole = collected.frame if options.whole is None else options.whole
            build_report(Collected(own), out / slug(name), replace(options, title=title, whole=whole))
        return _build_families(collected, out, options)
    analysis = analyse(collected.frame, options.runs_folder, options.records, options.whole)
    analysis.sections += _appendix(collected, analysis, options)
    page = Page(
        options.title,
        lead(analysis.runs, analysis.curves, analysis.records, analysis.findings),
        facts(analysis.runs, analysis.records),
        analysis.sections,
        analysis.findings,
        checklist(Collected(analysis.runs, collected.skipped), analysis.fits, options.runs_folder),
    )
    _write_records(analysis, collected, out)
    return write_page(page, out, options.formats)


def _build_families(collected: Collected, out: Path, options: ReportOptions) -> Path:
    """The page that holds several families against each other, and leads to the page of each."""
    runs = _labelled(collected.frame)
    analysis = Analysis(runs)
    written = Written(options.records, collected.frame)
    analysis.sections = families_sections(runs, written)
    _add_comparisons(analysis, written)
    analysis.sections += _appendix(collected, analysis, options)[1:]
    counts = runs[FAMILY].value_counts()
    page = Page(
        options.title,
        [f"The runs are of {len(counts)} model families, and nothing here is fitted across them."],
        [(str(counts[name]), f"runs of {name}") for name in in_order(runs)],
        analysis.sections,
        analysis.findings,
        [],
    )
    _write_records(analysis, collected, out)
    return write_page(page, out, options.formats)


def analyse(
    table: pd.DataFrame, folder: Path | None, records: Path | None = None, whole: pd.DataFrame | None = None
) -> Analysis:
    """All sections that show results, with the fits and records behind them.

    ``whole``: the runs that ``table`` was chosen from, by its family or by conditions.
    """
    runs, written = _labelled(table), Written(records, table, whole)
    analysis = Analysis(runs)
    (data, along_data), (model, along_model) = (scaling(runs, "D", written), scaling(runs, "N", written))
    analysis.curves = [*along_data, *along_model]
    surface = Section("surface", "Size and data together")
    analysis.joint = joint_fits(runs, written, surface)
    for label, metric, fit in analysis.joint:
        if label in (analysis.joint[0][0], "pareto"):
            surface.panels.append(surface_panel(label, metric, fit, _joint_name(label, metric)))
    analysis.sections = [data, model, *([surface] if analysis.joint else [])]
    analysis.sections += [
        section
        for section in (
            frontier_section(runs, written),
            mixture_section(runs, written),
            comparison_section(runs, written),
            efficiency_section(runs, written),
            sensitivity_section(runs, written) if analysis.joint else None,
            _omega(runs, folder),
            ranking_section(runs),
            domains_section(runs),
            trained_on_section(written),
            kinds_section(runs),
            attacks_section(runs),
            transfer_section(runs, written),
            statistics_section(written),
            proxies_section(written),
            cost_section(runs),
        )
        if section is not None
    ]
    _add_comparisons(analysis, written)
    return analysis


def _add_comparisons(analysis: Analysis, written: Written) -> None:
    """The written comparisons that no section shows so far."""
    section = comparisons_section(written, analysis.records.values())
    if section is not None:
        analysis.sections.append(section)


def _labelled(table: pd.DataFrame) -> pd.DataFrame:
    """The runs with their labels, and numbers in all columns that hold measurements."""
    return label_runs(with_sound(table, [name for name in map(str, table) if name.startswith(_MEASURED)]))


_MEASURED = ("eff/", "ood/", "adv/", "var/", "bias/", "dev/", "bm25/", "cost/", "omega/final")
"""How the names of columns begin that hold numbers."""

_UNKNOWN = ("another version of this project recorded this code", "see the warnings in the run's result.json")
"""Meaning and remedy of a code that the registry does not hold."""


def _run_findings(runs: pd.DataFrame) -> list[Finding]:
    if "warnings" not in runs:
        return []
    found = []
    for _, row in runs.iterrows():
        for code in cell_text(row["warnings"]).split():
            kind = CODES.get(code) or Code(code, "warning", *_UNKNOWN)
            said = "recorded by the run, with its numbers in result.json"
            found.append(Finding(Diagnostic(**vars(kind), message=said), str(row.get("run", "a run"))))
    return found


def _joint_name(label: str, metric: str) -> str:
    return f"joint-{metric.split('/')[0]}-{slug(label)}"


def _omega(runs: pd.DataFrame, folder: Path | None) -> Section:
    section = Section("omega", "Pareto training: how ω moved")
    traces = omega_traces(runs, folder)
    if not traces:
        section.missing("NO_PARETO_RUNS")
        return section
    sized = {SIZE, PAIRS} <= set(runs)
    order = {
        str(row["configuration"]): (float(row[SIZE]), float(row[PAIRS])) if sized else (0.0, 0.0)
        for _, row in runs.iterrows()
    }
    section.panels = omega_panels(traces, order)
    return section


def _appendix(collected: Collected, analysis: Analysis, options: ReportOptions) -> list[Section]:
    fits = Section("fits", "Fitted laws")
    fits.tables.append(fits_table(analysis.curves, analysis.joint))
    if not analysis.fits:
        fits.missing("NO_FIT")
        fits.tables.clear()
    table = Section("runs", "Runs", [f"{collected.summary()}."])
    table.paragraphs += [f"Left out: {run.run}: {run.state} ({run.reason})." for run in collected.skipped]
    table.tables.append(runs_table(analysis.runs))
    listed = commands(analysis.runs, options.runs_folder, options.study)
    again = Section("reproduce", "Commands to reproduce", [PARTIAL], commands=listed)
    return [fits, table, again]


def _write_records(analysis: Analysis, collected: Collected, out: Path) -> None:
    for section in analysis.sections:
        for part in section.tables:
            write_csv(part, out)
    # In full, not as on the page.
    write_table(collected.frame, out / "tables" / "runs.csv")
    for item in analysis.curves:
        if item.fit is not None:
            write_json(out / "fits" / f"{item.name}.json", item.fit.to_json())
    for label, metric, fit in analysis.joint:
        write_json(out / "fits" / f"{_joint_name(label, metric)}.json", fit.to_json())
    for name, record in analysis.records.items():
        write_json(out / f"{slug(name)}.json", record.to_json())
