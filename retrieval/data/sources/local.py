"""Collections that already are BEIR folders: ``data.path``, ``data.robust`` and ``data.ood``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from retrieval.config.data import SOURCES, DataConfig, Source
from retrieval.data.sources import Suite, references
from retrieval.errors import ConfigError


@dataclass
class LocalConfig(DataConfig):
    """A folder in BEIR format (``data.path``); the other roles are lists of folders."""

    name: str = "local"


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


def _in_domain(config: DataConfig) -> references.Folder:
    if not config.path:
        raise ConfigError(
            "data=local needs data.path=FOLDER in BEIR format (corpus.jsonl, queries.jsonl, qrels/)"
        )
    return references.folder("data.path", config.path)


def _label(config: DataConfig) -> str | None:
    return Path(config.path).resolve().name if config.path else None


SOURCES.register("local", Source(LocalConfig, fingerprint, prepare, label=_label))
