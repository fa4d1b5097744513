"""One finding on a fit or a run: a code of the registry and a message with the numbers of the case."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from retrieval.codes import Code, Level, look_up
from sweeps.codes import CODES


@dataclass(frozen=True)
class Diagnostic:
    """One finding: what kind it is, and the message."""

    kind: Code
    message: str

    @property
    def code(self) -> str:
        """The stable name."""
        return self.kind.name

    @property
    def level(self) -> Level:
        """How grave it is."""
        return self.kind.level

    @property
    def meaning(self) -> str:
        """What the code says, whatever the case."""
        return self.kind.meaning

    @property
    def remedy(self) -> str:
        """What to do about it."""
        return self.kind.remedy

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
    return Diagnostic(look_up(code, CODES), message)
