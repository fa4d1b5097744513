"""Which runs a record was made from, so that a reader can tell whether it is of the runs on disk now."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from sweeps.errors import TableError
from sweeps.records import Record
from sweeps.table.runs import keep_where

_NUMBERS, _LEFT_ASIDE = "{:.10g}", ("cost/", "warnings")


@dataclass(frozen=True)
class Source(Record):
    """The rows of a table that a command used."""

    where: list[str]
    """The conditions of ``--where``."""
    n_runs: int
    digest: str
    """Of names and values of these runs, whatever their order and whichever file they come from."""

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
    """Fingerprint of a table's runs: all that a row says but for what it cost."""
    columns = sorted(name for name in map(str, table.columns) if not name.startswith(_LEFT_ASIDE))
    rows = sorted(
        ";".join(f"{name}={_text(value)}" for name, value in zip(columns, row) if not _missing(value))
        for row in table[columns].itertuples(index=False, name=None)
    )
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()[:16]


def _missing(value: Any) -> bool:
    return value is None or value != value or value == ""


def _text(value: Any) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return _NUMBERS.format(float(value)) if number or hasattr(value, "dtype") else str(value)
