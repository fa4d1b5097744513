"""Where a run keeps its attacked passages."""

from __future__ import annotations

from pathlib import Path

ATTACK_FILE = "attack.jsonl"
"""Attacked passages in a run directory."""


def attack_file(source: str | Path) -> Path:
    """Return the file of attacked passages in a run folder; ``source`` itself where it is no folder."""
    path = Path(source)
    return path / ATTACK_FILE if path.is_dir() else path
