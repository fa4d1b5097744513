"""Collections that already are BEIR folders: ``data.path``, ``data.robust`` and ``data.ood``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from retrieval.config.data import DataConfig
from retrieval.data import index
from retrieval.data.sources import Suite, references
from retrieval.errors import ConfigError


@dataclass(frozen=True)
class Folder:
    """A reference to a BEIR folder; nothing is copied."""

    path: Path

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name

    @property
    def splits(self) -> tuple[str, ...]:
        """The files under ``qrels/``."""
        return tuple(index.split_files(self.path))

    def fingerprint(self, cache: Path | None) -> str:
        """Hash of the content; the path does not matter."""
        return index.fingerprint(self.path, cache)

    def folder(self, cache: Path) -> Path:
        """The folder itself."""
        return self.path

    def __str__(self) -> str:
        return str(self.path)


def fingerprint(config: DataConfig, cache: Path | None = None) -> str:
    """Hash of the content of all folders and of their roles; their paths do not matter.

    Raises:
        ConfigError: as :func:`prepare`.
    """
    return references.fingerprint_of(config, "data.path", _in_domain(config), cache)


def prepare(config: DataConfig, cache: Path) -> Suite:
    """The suite of the folders as they are; nothing is copied.

    Raises:
        ConfigError: a folder is missing, lacks the split its role needs, or has two roles.
        DataError: a folder lacks one of the files of the BEIR format.
    """
    return references.in_domain_suite(config, "data.path", _in_domain(config), cache)


def reference(key: str, path: str) -> Folder:
    """The folder that ``key`` names.

    Raises:
        ConfigError: there is no such folder.
    """
    folder = Path(path).expanduser().resolve()
    if not folder.is_dir():
        reason = "is not a folder" if folder.exists() else "does not exist"
        raise ConfigError(f"{key}={path} {reason} (looked at {folder}); give a folder in BEIR format")
    return Folder(folder)


def _in_domain(config: DataConfig) -> Folder:
    if not config.path:
        raise ConfigError(
            "data=local needs data.path=FOLDER in BEIR format (corpus.jsonl, queries.jsonl, qrels/)"
        )
    return reference("data.path", config.path)
