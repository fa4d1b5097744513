"""Refusals of the analysis, each one line that names the value, the reason and the way out."""

from __future__ import annotations

from retrieval.errors import DataError


class TableError(DataError):
    """A runs table cannot be used: a missing column, a value that is not a positive number, no rows."""


class FitRefusedError(DataError):
    """Rows that must not share one fit, or too few of them; ``code`` is the diagnostic's stable name."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
