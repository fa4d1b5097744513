"""Collections that already are BEIR folders: ``data.path``, ``data.robust`` and ``data.ood``."""

from dataclasses import dataclass
from pathlib import Path

from retrieval.config.data import SOURCES, DataConfig
from retrieval.data.sources import references
from retrieval.errors import ConfigError


@dataclass
class LocalConfig(DataConfig):
    """A folder in BEIR format (``data.path``); the other roles are lists of folders."""

    name: str = "local"


def _in_domain(config: DataConfig) -> references.Folder:
    if not config.path:
        raise ConfigError(
            "data=local needs data.path=FOLDER in BEIR format (corpus.jsonl, queries.jsonl, qrels/)"
        )
    return references.folder("data.path", config.path)


def _label(config: DataConfig) -> str | None:
    return Path(config.path).resolve().name if config.path else None


SOURCES.register("local", references.referenced_source(LocalConfig, "data.path", _in_domain, label=_label))
