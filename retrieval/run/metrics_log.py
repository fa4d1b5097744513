"""``metrics.jsonl``: one line a logged step, append-only, cut back to the checkpoint on a resume."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from retrieval.run.files import plain


class MetricsLog:
    """Append-only ``metrics.jsonl``: one JSON object a line, ``step`` first, non-finite numbers as null."""

    def __init__(self, path: Path, resume_step: int | None = None) -> None:
        """Open ``path``; lines after ``resume_step`` and a torn last line are cut (``None`` = all lines)."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._handle = path.open("ab+")
        self._handle.seek(0)
        self._handle.truncate(sum(map(len, _lines(self._handle, resume_step))))

    def append(self, step: int, values: Mapping[str, Any]) -> None:
        """Write one line; it is with the operating system (safe from a kill) when this returns."""
        line = json.dumps(plain({"step": step, **values}), allow_nan=False)
        self._handle.write(line.encode() + b"\n")
        self._handle.flush()

    def sync(self) -> None:
        """Force the lines to the disk; call it where a checkpoint is written."""
        os.fsync(self._handle.fileno())

    def close(self) -> None:
        """Close the file."""
        self._handle.close()

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """All whole lines of ``path``; empty when there is no such file."""
    try:
        with path.open("rb") as handle:
            return [json.loads(line) for line in _lines(handle, float("inf"))]
    except FileNotFoundError:
        return []


def _lines(handle: BinaryIO, last_step: float | None) -> Iterator[bytes]:
    """Whole lines up to ``last_step``; stops at the first that is later or torn."""
    for line in handle:
        try:
            step = json.loads(line)["step"]
        except (ValueError, TypeError, KeyError):
            return
        if last_step is None or step > last_step or not line.endswith(b"\n"):
            return
        yield line
