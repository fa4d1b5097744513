"""The runs table: one row a finished run, from run directories, from W&B or from a file.

Runs that are unfinished, failed or unreadable are never dropped silently: they come back by name and reason.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from retrieval.run.files import read_metrics
from sweeps.diagnostics import TableError, require_columns
from sweeps.records import OPTIONAL, Record
from sweeps.table import READERS, run_names
from sweeps.table.cells import cell_number, is_blank, numbers, texts_of
from sweeps.table.families import FAMILY, column_of, with_families
from sweeps.table.files import cell
from sweeps.table.traces import columns


@dataclass(frozen=True)
class Skipped:
    """A run that is not in the table."""

    run: str
    state: str
    """``unfinished``, ``failed``, ``unreadable`` or ``repeated``."""
    reason: str


@dataclass(frozen=True)
class Collected:
    """Finished runs and, by name, the others."""

    frame: pd.DataFrame
    """One row a run, ordered by run name; columns are the keys of ``result.json`` and
    ``trace/…``."""
    skipped: list[Skipped] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, int]:
        """Number of runs: ``done`` and each state of the skipped ones."""
        return {"done": len(self.frame), **Counter(run.state for run in self.skipped)}

    def summary(self) -> str:
        """One line for people, e.g. ``118 done, 1 failed, 1 unfinished``."""
        return ", ".join(f"{count} {state}" for state, count in self.counts.items())


def collect_runs(folder: Path) -> Collected:
    """Read ``status.json`` and ``result.json`` of every run directory below ``folder`` (one level).

    Folders without ``status.json`` are not runs and are ignored. Raises TableError when ``folder`` is
    missing.
    """
    with ThreadPoolExecutor(READERS) as pool:
        read = list(pool.map(lambda name: _read_run(folder / name), run_names(folder), chunksize=32))
    return assemble(item for item in read if item is not None)


def _read_run(folder: Path) -> dict[str, Any] | Skipped | None:
    try:
        status = json.loads((folder / "status.json").read_bytes())
        state = status["state"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        return Skipped(folder.name, "unreadable", f"status.json: {_short(error)}")
    if state == "failed":
        return Skipped(folder.name, "failed", _failure(status))
    if state != "done":
        return Skipped(
            folder.name, "unfinished", f"{state} at step {status.get('step')} of {status.get('steps')}"
        )
    try:
        result = json.loads((folder / "result.json").read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        return Skipped(folder.name, "unreadable", f"result.json: {_short(error)}")
    if not isinstance(result, dict):
        return Skipped(folder.name, "unreadable", "result.json: not an object")
    # A result that was taken up from a table has no log, and its columns with it.
    return {"run": folder.name, **columns(read_metrics(folder / "metrics.jsonl")), **result}


def _short(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'empty'}"


def _failure(status: dict[str, Any]) -> str:
    error = status.get("error")
    if isinstance(error, dict):
        message = str(error.get("message", "")).strip()
        return f"{error.get('type', 'error')}: {message.splitlines()[0] if message else 'no message'}"
    return str(error or "no reason recorded").splitlines()[0]


def assemble(items: Iterable[dict[str, Any] | Skipped]) -> Collected:
    """Results (with key ``run``) and skipped runs as a table in order of run name; repeats are named."""
    rows: dict[str, dict[str, Any]] = {}
    skipped = []
    for item in items:
        if isinstance(item, Skipped):
            skipped.append(item)
        elif item["run"] in rows:
            skipped.append(
                Skipped(str(item["run"]), "repeated", "a run of this name is in the table already")
            )
        else:
            rows[str(item["run"])] = {key: cell(key, value) for key, value in item.items()}
    frame = pd.DataFrame([rows[name] for name in sorted(rows)])
    return Collected(frame, sorted(skipped, key=lambda run: run.run))


def keep_where(frame: pd.DataFrame, conditions: Sequence[str]) -> pd.DataFrame:
    """Rows that satisfy every ``COLUMN=VALUE``; commas separate alternatives, numbers compare as such.

    An empty alternative (``COLUMN=VALUE,``) keeps the rows without a value.

    Raises TableError on a malformed condition, an unknown column, or when no row is left.
    """
    for condition in conditions:
        frame = frame[matches(frame, condition, "--where", "leaves no rows")]
    return frame


def matches(frame: pd.DataFrame, condition: str, option: str, none: str) -> pd.Series:
    """The mask, bool[runs], of the rows that satisfy ``COLUMN=VALUE[,VALUE]``, given by ``option``.

    Raises TableError on a malformed condition, an unknown column, and in the words ``none`` without a row.
    """
    column, equals, wanted = condition.partition("=")
    if not equals:
        raise TableError(f"{option} {condition}: expected COLUMN=VALUE[,VALUE]")
    column = column if column in frame else column_of(column)
    if column == FAMILY:
        frame = with_families(frame)
    require_columns(frame, column)
    values = frame[column]
    texts, blank = texts_of(values), is_blank(values)
    mask = pd.Series(False, index=frame.index)
    for value in map(str.strip, wanted.split(",")):
        mask |= blank if not value else texts == value
        number = cell_number(value)
        if np.isfinite(number):
            mask |= numbers(values) == number
    if not mask.any():
        known = ", ".join(text or "blank" for text in list(dict.fromkeys(texts.tolist()))[:8])
        raise TableError(f"{option} {condition} {none}; {column} has the values {known}")
    return mask


def ood_domains(runs: pd.DataFrame, metric: str) -> list[str]:
    """OOD test domains with columns ``ood/<domain>/<metric>``, in their order."""
    parts = (str(column).split("/") for column in runs)
    return [part[1] for part in parts if len(part) == 3 and (part[0], part[2]) == ("ood", metric)]


_NUMBERS, _LEFT_ASIDE = "{:.10g}", ("cost/", "trace/", "warnings")


@dataclass(frozen=True)
class Source(Record):
    """The rows of a table that a command used."""

    where: list[str]
    """The conditions of ``--where``."""
    n_runs: int
    digest: str
    """Of names and values of these runs, whatever their order and whichever file they come from."""
    held_out: str | None = field(default=None, metadata=OPTIONAL)
    """The condition of ``--held-out``: the law was not fitted to the runs that satisfy it."""

    @classmethod
    def of(cls, table: pd.DataFrame, where: Sequence[str] = ()) -> Source:
        """The source that ``table`` is; ``where``: the conditions that it satisfies already."""
        return cls(list(where), len(table), digest(table))

    def is_of(self, table: pd.DataFrame) -> bool:
        """Whether the same conditions choose the same runs of ``table``."""
        try:
            kept = keep_where(table, self.where)
        except TableError:
            return False
        return len(kept) == self.n_runs and digest(kept) == self.digest


def digest(table: pd.DataFrame) -> str:
    """Fingerprint of a table's runs: all that a row says but for costs and traces."""
    if FAMILY in table:
        table = with_families(table)  # files leave the default blank, commands name it: the same runs
    columns = sorted(name for name in map(str, table.columns) if not name.startswith(_LEFT_ASIDE))
    rows = sorted(
        ";".join(
            f"{name}={_text(value)}"
            for name, value in zip(columns, row)
            if not (value is None or value != value or value == "")
        )
        for row in table[columns].itertuples(index=False, name=None)
    )
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()[:16]


def _text(value: Any) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return _NUMBERS.format(float(value)) if number or hasattr(value, "dtype") else str(value)
