"""A run from its configuration: checked, fingerprinted and placed, once, by all that run or look one up."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from retrieval.config import Config
from retrieval.config.validation import validate
from retrieval.data import sources
from retrieval.run.directory import RunDirectory
from retrieval.run.storage import storage_errors


@dataclass(frozen=True)
class Run:
    """What a configuration describes; nothing of it is read or written yet."""

    config: DictConfig
    cell: Config
    """``config``, typed."""
    fingerprint: str
    """Of the data's content."""
    directory: RunDirectory

    @classmethod
    def open(cls, config: DictConfig, fingerprint: str | None = None) -> Run:
        """Check ``config`` and find its directory.

        Args:
            config: A composed configuration.
            fingerprint: That of its data, where it is known; ``None``: look at the data.

        Raises:
            ConfigError: A value is not valid, or the data are not there.
            StorageError: The disk refused.
        """
        cell = validate(config)
        if fingerprint is None:
            with storage_errors(config):
                fingerprint = sources.fingerprint(cell.data, Path(cell.cache))
        return cls(config, cell, fingerprint, RunDirectory.of(config, fingerprint))
