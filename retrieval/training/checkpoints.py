"""The checkpoint of a run: atomically replaced, the previous one kept until the new one is whole."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch


class Checkpoints:
    """``last.ckpt`` and ``previous.ckpt`` in a run's ``checkpoints`` folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.last = folder / "last.ckpt"
        self.previous = folder / "previous.ckpt"

    def save(self, trainer: pl.Trainer) -> None:
        """Write the trainer's full state: temporary name, flushed to disk, renamed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.folder / "writing.tmp"
        state = trainer._checkpoint_connector.dump_checkpoint()
        with temporary.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        if self.last.exists():
            self.last.replace(self.previous)
        temporary.replace(self.last)

    def newest(self) -> Path | None:
        """The newest whole checkpoint; a truncated or damaged one is passed over."""
        return next((path for path in (self.last, self.previous) if _is_whole(path)), None)

    def step(self) -> int:
        """Optimisation steps done in the newest checkpoint, 0 without one."""
        path = self.newest()
        if path is None:
            return 0
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        return int(state["global_step"])

    def drop_previous(self) -> None:
        """Free the older checkpoint once the run is done."""
        self.previous.unlink(missing_ok=True)


def _is_whole(path: Path) -> bool:
    """A checkpoint is a zip archive with checksums; a torn write fails them."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, zipfile.BadZipFile, EOFError):
        return False
