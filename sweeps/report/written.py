"""What the commands wrote before the report is made: the page shows these numbers and fits the rest."""

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TypeVar

import pandas as pd

from retrieval.errors import DataError
from sweeps.fitting.configurations import label_runs
from sweeps.fitting.groups import FitFile
from sweeps.fitting.result import FitOptions, FitResult
from sweeps.records import Record
from sweeps.report.page import Section
from sweeps.table.runs import Source, keep_where

R = TypeVar("R", bound=Record)


class Written:
    """Records in a folder, as far as they are of the report's runs."""

    def __init__(self, folder: Path | None, table: pd.DataFrame, whole: pd.DataFrame | None = None) -> None:
        """``folder``: of the commands' files, ``None`` for none; ``table``: the runs as collected.

        ``whole``: the runs that ``table`` was chosen from; what was made from all of them is no record of
        this page and is passed over.
        """
        self._folder, self._table, self._whole = folder, table, whole
        self._read: dict[type[Record], list[tuple[Path, Record]]] = {}
        self._refused: dict[type[Record], list[str]] = {}

    def find(
        self,
        kind: type[R],
        section: Section,
        wanted: Callable[[R], bool] = lambda _: True,
        *,
        of_some: bool = False,
    ) -> R | None:
        """The record of ``kind`` that is ``wanted``; the section says which file it is.

        ``wanted``: whether its metrics and options are those that the section is about. ``of_some``: whether
        a record of some of the page's runs will do; the section then says of which.
        """
        for path, record in self._of(kind, section):
            assert isinstance(record, kind)
            source: Source = record.source  # type: ignore[attr-defined]
            whole = source.n_runs == len(self._table)
            if (whole or of_some) and wanted(record):
                of = "" if whole else f" from the runs with {', '.join(source.where)}"
                text = f"{path.name}, written by `python -m sweeps {kind.command}`{of}, is shown."
                _say(section.paragraphs, text)
                return record
        return None

    def every(self, kind: type[R], section: Section) -> list[tuple[Path, R]]:
        """All records of ``kind`` that are of the page's runs or of some of them, with their files."""
        return [(path, record) for path, record in self._of(kind, section) if isinstance(record, kind)]

    def fit(
        self, section: Section, label: str, metric: str, axes: tuple[str, ...], other: float | None = None
    ) -> FitResult | None:
        """The law of one strategy and metric in ``axes``; ``other``: value of the axis that it lacks."""
        for path, file in self._of(FitFile, section):
            assert isinstance(file, FitFile)
            for name, fit in file.groups.items():
                if (
                    self._label(file, name) == label
                    and (fit.metric, fit.form.axes) == (metric, axes)
                    and (other is None or _at(fit, other))
                ):
                    text = f"{path.name} gives the law of {label}, {metric}: {fit.law}"
                    _say(section.paragraphs, f"{text}, {_settings(fit.options)}.")
                    return fit
        return None

    def _of(self, kind: type[Record], section: Section) -> list[tuple[Path, Record]]:
        if kind not in self._read:
            self._read[kind], self._refused[kind] = [], []
            for path in self._files(kind.command):
                try:
                    record, reason = kind.load(path), ""
                    source = getattr(record, "source", None)
                    if source is None:
                        reason = "it does not say which runs it was made from"
                    elif source.is_of(self._table):
                        if source.held_out is not None:
                            reason = f"it was fitted without the runs of --held-out {source.held_out}"
                    elif self._whole is not None and source.is_of(self._whole):
                        continue
                    else:
                        reason = "it is older: the runs that it was made from have changed"
                except DataError as error:
                    reason = str(error)
                if reason:
                    self._refused[kind].append(f"{path.name} is not used: {reason}. The page fits anew.")
                else:
                    self._read[kind].append((path, record))
        for reason in self._refused[kind]:
            _say(section.notes, reason)
        return self._read[kind]

    def _files(self, command: str) -> list[Path]:
        """What a command may have written: first the file that is called as the command is."""
        found = self._folder.glob(f"{command}*.json") if self._folder else ()
        return sorted(found, key=lambda path: (path.stem != command, path.name))

    def _label(self, file: FitFile, group: str) -> str | None:
        """The strategy of a group, if it is one."""
        if file.by is not None:
            return group if file.by == "strategy" else None
        assert file.source is not None
        labels = label_runs(keep_where(self._table, file.source.where))["label"].unique()
        return str(labels[0]) if len(labels) == 1 else None


def with_conditions(title: str, source: Source | None) -> str:
    """``title``, and in brackets the conditions on the runs that a record was made from."""
    return title if source is None or not source.where else f"{title} ({', '.join(source.where)})"


def _at(fit: FitResult, other: float) -> bool:
    (axis,) = fit.form.axes
    low, high = fit.range["D" if axis == "N" else "N"]
    return low == high and abs(low - other) <= 1e-3 * other


def _settings(options: FitOptions) -> str:
    usual = FitOptions()
    changed = [own.name for own in fields(options) if getattr(options, own.name) != getattr(usual, own.name)]
    said = ", ".join(f"{name} {getattr(options, name)}" for name in changed)
    return f"fitted with {said}" if said else "fitted with the usual settings"


def _say(lines: list[str], text: str) -> None:
    if text not in lines:
        lines.append(text)
