"""A card as Markdown and as one HTML page that needs no other file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from retrieval.evaluation.card.compare import Comparison
from retrieval.evaluation.card.layout import Layout, Table, layout
from retrieval.evaluation.card.store import Card, save_json
from retrieval.run.files import write_text
from retrieval.run.pages import page_of


def markdown(page: Layout) -> str:
    """The card as Markdown; what could be read as markup is escaped."""
    parts = [f"# Robustness of {_plain(page.model)}", ""]
    parts += [f"* {_plain(name)}: {_plain(value)}" for name, value in page.facts]
    parts += ["", *(f"* {_plain(text)}" for text in page.sentences), ""]
    for table in page.tables:
        parts += [f"## {table.title}", ""]
        parts += [_plain(table.note), ""] if table.note else []
        parts += [*_rows(table), ""]
    if page.warnings:
        parts += ["## Warnings", ""]
        parts += [
            f"* {_plain(each.get('code', ''))}: {_plain(each.get('message', ''))}" for each in page.warnings
        ]
        parts.append("")
    return "\n".join(parts)


def _rows(table: Table) -> list[str]:
    lines = [table.headings, ["---", *["---:"] * (len(table.headings) - 1)]]
    return [
        f"| {' | '.join(row)} |" for row in (*lines, *([_plain(cell) for cell in row] for row in table.rows))
    ]


_SPECIAL = str.maketrans({sign: f"\\{sign}" for sign in "\\`*_{}<>#|"})


def _plain(text: str) -> str:
    return " ".join(text.split()).translate(_SPECIAL)


def html(page: Layout) -> str:
    """The card as a page; all text is escaped."""
    return page_of("retrieval.evaluation.card", "card.html", page=page)


def save_card(card: Card, folder: Path) -> list[Path]:
    """Write ``card.json``, ``card.md`` and ``card.html``; returns the files."""
    page = layout(card)
    paths = [save_json(card, folder), folder / "card.md", folder / "card.html"]
    write_text(paths[1], markdown(page))
    write_text(paths[2], html(page))
    return paths


def terminal(page: Layout) -> list[str]:
    """The card as lines for a terminal."""
    lines = [f"Robustness of {page.model}", ""]
    lines += [f"{name}: {value}" for name, value in page.facts]
    lines += ["", *page.sentences]
    for table in page.tables:
        lines += ["", table.title, *([table.note] if table.note else [])]
        lines += aligned([table.headings, *table.rows])
    return lines


def compared(found: Comparison) -> list[str]:
    """Two cards side by side as lines for a terminal."""
    lines = [
        f"A: {found.first}",
        f"B: {found.second}",
        f"{found.queries} scored queries in common, over all sets.",
        "",
    ]
    rows = [["metric", "A", "B", "B less A, 95 % interval", "decided"]]
    for one in found.lines:
        ends = "" if one.low is None or one.high is None else f" [{_signed(one.low)}, {_signed(one.high)}]"
        difference = f"{_signed(one.difference)}{ends}"
        rows.append([one.metric, f"{one.first:.3f}", f"{one.second:.3f}", difference, one.verdict])
    return [*lines, *aligned(rows)]


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines with columns of one width, the first flush left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if k == 0 else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in rows
    ]
