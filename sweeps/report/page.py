"""The page: sections of prose, figures and tables rendered to one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from retrieval.codes import look_up
from retrieval.run.files import write_text
from sweeps.codes import CODES
from sweeps.diagnostics import Diagnostic
from sweeps.report.figures.style import FORMATS, Panel, inline_svg, save
from sweeps.report.tables import PageTable


@dataclass
class Section:
    """One section: heading, paragraphs, figures and tables in this order."""

    anchor: str
    title: str
    paragraphs: list[str] = field(default_factory=list)
    panels: list[Panel] = field(default_factory=list)
    tables: list[PageTable] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What is missing and why, with a code of the registry first."""

    def missing(self, code: str, message: str | None = None) -> None:
        """Note what is not there: ``message``, or else the code's meaning, and the remedy."""
        kind = look_up(code, CODES)
        self.notes.append(f"{code}: {message or kind.meaning}; {kind.remedy}.")


@dataclass(frozen=True)
class Finding:
    """A diagnostic and what it concerns."""

    diagnostic: Diagnostic
    concerns: str


@dataclass(frozen=True)
class Fact:
    """One number at the head of the page."""

    value: str
    label: str


@dataclass
class Page:
    """Everything the template shows; all text is escaped by it."""

    title: str
    lead: list[str]
    facts: list[Fact]
    sections: list[Section]
    findings: list[Finding]
    checklist: list[tuple[str, str | None]]
    """What a scaling-law paper must state, and what this sweep states; ``None`` = not known."""


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
    environment = Environment(
        loader=PackageLoader("sweeps.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    context: dict[str, Any] = {"page": page, "drawings": drawings, "groups": grouped(page.findings)}
    context["formats"] = formats
    write_text(out / "index.html", environment.get_template("page.html").render(context))
    return out / "index.html"


def grouped(findings: list[Finding]) -> list[tuple[Diagnostic, list[Finding]]]:
    """Findings by code, errors first, in order of first appearance."""
    rank = {"error": 0, "warning": 1, "info": 2}
    codes: dict[str, list[Finding]] = {}
    for finding in findings:
        codes.setdefault(finding.diagnostic.code, []).append(finding)
    groups = [(members[0].diagnostic, members) for members in codes.values()]
    return sorted(groups, key=lambda group: rank[group[0].level])
