"""A card on disk: ``card.json`` with every metric, pages for people, scores by query."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from retrieval.errors import DataError, first_line
from retrieval.run.files import write_json

FILE = "card.json"
SCORES = "scores/queries.parquet"
VERSION = 1

MAKE = "write one with python -m retrieval.evaluate --model MODEL suite=robustness --card DIR"


@dataclass(frozen=True)
class Card:
    """What was measured of one model."""

    model: str
    """As it was asked for."""
    collections: dict[str, str]
    """Metric prefix of a set (``eff``, ``ood/<domain>``) -> fingerprint of its texts and judgements."""
    names: dict[str, str]
    """The same prefixes -> the collection as people call it."""
    metrics: dict[str, float]
    """Under the keys of ``result.json``."""
    about: dict[str, str] = field(default_factory=dict)
    """What is said beside numbers."""
    warnings: list[dict[str, str]] = field(default_factory=list)
    """``code``, ``message`` … of each."""
    seconds: float = 0.0
    """That the measurement took."""
    folder: Path | None = None
    """Where the scores by query lie, if they do."""

    @property
    def scores(self) -> Path | None:
        """The scores by query, where there are some."""
        path = self.folder / SCORES if self.folder is not None else None
        return path if path is not None and path.is_file() else None


def save_json(card: Card, folder: Path) -> Path:
    """Write ``card.json``; returns its path."""
    content = {
        "card": VERSION,
        "model": card.model,
        "collections": card.collections,
        "names": card.names,
        "metrics": dict(sorted(card.metrics.items())),
        "about": card.about,
        "warnings": card.warnings,
        "seconds": round(card.seconds, 1),
    }
    write_json(folder / FILE, content)
    return folder / FILE


def load_card(path: Path) -> Card:
    """The card in a folder that ``--card`` wrote, or in a file of its name.

    Raises:
        DataError: there is none, or the file is no card; one line that says how to write one.
    """
    file = path / FILE if path.is_dir() else path
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path}: there is no card; {MAKE}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{file}: cannot be read as JSON ({first_line(error)}); {MAKE}") from None
    if not isinstance(content, dict) or content.get("card") != VERSION:
        raise DataError(f"{file}: is no card; {MAKE}")
    try:
        return Card(
            model=str(content["model"]),
            collections=_texts(content["collections"]),
            names=_texts(content["names"]),
            metrics=_numbers(content["metrics"]),
            about=_texts(content["about"]),
            warnings=[_texts(each) for each in _list(content["warnings"])],
            seconds=float(content["seconds"]),
            folder=file.parent,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{file}: is a damaged card ({first_line(error)}); {MAKE}") from None


def _texts(value: Mapping[str, Any]) -> dict[str, str]:
    return {str(key): str(each) for key, each in value.items()}


def _numbers(value: Mapping[str, Any]) -> dict[str, float]:
    return {str(key): float(each) for key, each in value.items() if each is not None}


def _list(value: Any) -> Sequence[Any]:
    if not isinstance(value, list):
        raise TypeError("warnings is not a list")
    return value
