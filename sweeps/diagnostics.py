"""What the analysis says: findings and refusals, each with a code of the registry and the case's numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from retrieval.codes import Code, look_up
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


def require_columns(table: Iterable[object], *names: str) -> None:
    """Raise TableError on the first name that is no column: it tells the nearest, or all if they are few."""
    known = [str(column) for column in table]
    for name in names:
        if name in known:
            continue
        near = get_close_matches(name, known, n=_SHOWN, cutoff=0.5)
        if len(known) <= _SHOWN:
            hint = f"it has {', '.join(known) or 'no columns'}"
        elif near:
            hint = f"nearest of its {len(known)}: {', '.join(near)}"
        else:
            hint = f"it has {len(known)}: {', '.join(known[:_SHOWN])}, …"
        raise TableError(f"column {name!r} is not in the table; {hint}")


@dataclass(frozen=True)
class Diagnostic(Code):
    """One finding: its code, and the message."""

    message: str

    @property
    def code(self) -> str:
        """The stable name."""
        return self.name

    def to_json(self) -> dict[str, str]:
        """As written in ``fit.json`` under ``warnings``."""
        return {"code": self.code, "level": self.level, "message": self.message, "remedy": self.remedy}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Diagnostic:
        """Inverse of :meth:`to_json`; raises ValueError on a code that is not in the registry."""
        return diagnose(data["code"], data["message"])


def diagnose(code: str, message: str) -> Diagnostic:
    """The finding ``code``, with the numbers of this case in ``message``.

    Raises ValueError: the code is not in the registry.
    """
    return Diagnostic(**vars(look_up(code, CODES)), message=message)
