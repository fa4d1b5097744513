"""``status.json`` as read back: whatever stands in the file, known fields have their types."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from retrieval.run.files import read_json

TEXTS = ("state", "identity", "started", "finished", "updated", "phase", "host", "process_started")
NUMBERS = ("pid", "step", "steps", "first_step")


def read_status(path: Path) -> dict[str, Any] | None:
    """The fields of a status file that have their type; ``None`` where no object is found."""
    found = read_json(path)
    if found is None:
        return None
    return {key: value for key, value in found.items() if value is None or _fits(key, value)}


def _fits(key: str, value: Any) -> bool:
    if key in NUMBERS:
        return type(value) is int and 0 <= value < 2**63
    return isinstance(value, str if key in TEXTS else dict if key == "error" else object)
