"""The checkpoint of a run: atomically replaced, the previous one kept until the new one is whole."""

import logging
import os
import zipfile
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from retrieval.errors import TrainingError

log = logging.getLogger(__name__)


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
        for path in (self.last, self.previous):
            if path.exists():
                if _load(path) is not None:
                    return path
                log.warning("%s is damaged and not used", path)
        return None

    def step(self, module: pl.LightningModule) -> int:
        """Optimisation steps done in the newest checkpoint, 0 without one.

        Raises:
            TrainingError: it holds other weights than ``module`` has.
        """
        path = self.newest()
        state = None if path is None else _load(path)
        if state is None:
            return 0
        found, expected = (
            {name: tuple(value.shape) for name, value in weights.items()}
            for weights in (state["state_dict"], module.state_dict())
        )
        if found != expected:
            raise TrainingError(
                "CHECKPOINT_MISMATCH",
                f"{path} holds other weights than this run's model: the code changed since it was written",
            )
        return int(state["global_step"])

    def drop_previous(self) -> None:
        """Free the older checkpoint once the run is done."""
        self.previous.unlink(missing_ok=True)


def _load(path: Path) -> dict[str, Any] | None:
    """The state in a checkpoint, mapped and not copied; ``None`` if the file is not whole.

    A checkpoint is a zip archive with checksums, which a torn write fails.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:
                return None
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception:  # damage can make the readers of either format raise anything
        return None
    return state if isinstance(state, dict) and {"state_dict", "global_step"} <= state.keys() else None
