"""Files of a run, valid at any kill: small ones are replaced as a whole, ``metrics.jsonl`` grows by lines."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

UNFINISHED = ".tmp"

TEXTS = ("state", "identity", "started", "finished", "updated", "phase", "host", "process_started")
NUMBERS = ("pid", "step", "steps", "first_step")
"""Fields of a status file by their type."""


def write_text(path: Path, text: str) -> None:
    """Replace ``path`` by ``text`` (UTF-8): temporary name, fsync, rename. Raises ``OSError``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=UNFINISHED, dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
            handle.write(text)
            handle.flush()
            os.fsync(handle.fileno())
        # mkstemp makes the file private; a run directory is read by others on a shared file system.
        Path(temporary).chmod(0o644)
        os.replace(temporary, path)  # noqa: PTH105 - named for what it is: the atomic step
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise


def file_hash(path: Path, algorithm: str = "sha256") -> str:
    """Hexadecimal hash of the content of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def remove_unfinished(folder: Path) -> None:
    """Delete what a killed :func:`write_text` left in ``folder``; nobody else may be writing there."""
    for path in folder.glob(f".*{UNFINISHED}"):
        with contextlib.suppress(OSError):
            path.unlink()


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Replace ``path`` by ``value`` as indented JSON; see :func:`plain` for what is converted."""
    write_text(path, json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in ``path``, or ``None`` when the file is missing or does not hold a JSON object."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def plain(value: Any) -> Any:
    """``value`` in JSON's types: paths become text, NumPy scalars numbers, NaN and ±inf ``None``."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):  # NumPy scalars and arrays, and torch tensors, without importing either
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


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
