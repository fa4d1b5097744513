"""Refusals of the analysis, each one line that names the value, the reason and the way out."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from retrieval.codes import look_up
from retrieval.errors import DataError
from sweeps.codes import CODES

_SHOWN = 8


class TableError(DataError):
    """A runs table cannot be used: a missing column, a value that is not a positive number, no rows."""


class FitRefusedError(DataError):
    """Rows that must not share one fit, or too few of them; ``code`` is one of the registry."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = look_up(code, CODES).name


def missing_column(name: str, columns: Iterable[object]) -> TableError:
    """The error for a column that is not there: it names the nearest, or all when they are few."""
    known = [str(column) for column in columns]
    near = get_close_matches(name, known, n=_SHOWN, cutoff=0.5)
    if len(known) <= _SHOWN:
        hint = f"it has {', '.join(known) or 'no columns'}"
    elif near:
        hint = f"nearest of its {len(known)}: {', '.join(near)}"
    else:
        hint = f"it has {len(known)}: {', '.join(known[:_SHOWN])}, …"
    return TableError(f"column {name!r} is not in the table; {hint}")
