"""How many texts a cell is measured on, where all of its collections are folders of this machine."""

from collections.abc import Callable, Container
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import cast

from omegaconf import DictConfig

from retrieval.config.data import DataConfig
from retrieval.data.index import CORPUS, split_files
from retrieval.data.sources import references
from retrieval.errors import ParetrieveError
from retrieval.evaluation.roles import split_of_dev, split_of_robust_dev, split_of_test

SAMPLE = 1 << 20
"""Bytes of a corpus by whose lines the others are counted."""


@dataclass(frozen=True)
class Counts:
    """Texts of evaluation sets without limits."""

    queries: list[int]
    """Of each set."""
    passages: list[int]
    """Of each set's collection."""
    shared: int
    """Passages of the in-domain collection where it has a dev set beside its test set, else 0."""


def count_texts(config: DictConfig) -> Counts | None:
    """The texts of ``config``'s evaluation sets, by the lines of their files; nothing is prepared.

    Lines of a large corpus are counted by its first ones, which leaves an error of some per cent.
    ``None``: some collection is no folder of this machine, is compressed or cannot be read, so that only its
    preparation can tell.
    """
    if str(config.data.name) != "local" or not config.data.path:
        return None
    try:
        own = _folder(config, "path", str(config.data.path))
        tests = [own, *(_folder(config, "ood", str(name)) for name in config.data.ood)]
        dev = [_folder(config, "robust_dev", str(name)) for name in config.data.robust_dev]
        return _counts(tuple(tests), tuple(dev))
    except (OSError, ParetrieveError):
        return None


def _folder(config: DictConfig, role: str, text: str) -> Path:
    """Raises ConfigError where ``text`` names no folder of this machine."""
    if role == "path":
        return references.folder("data.path", text).path
    found = references.resolve(f"data.{role}", text, cast(DataConfig, config.data))
    if not isinstance(found, references.Folder):
        raise ParetrieveError(f"{text} is no folder")
    return found.path


@cache  # the cells of a sweep have the same folders
def _counts(tests: tuple[Path, ...], dev: tuple[Path, ...]) -> Counts:
    splits = split_files(tests[0])
    sets = [
        *(_one(folder, split_of_test) for folder in tests),
        *(_one(folder, split_of_robust_dev) for folder in dev),
    ]
    shared, own_dev = 0, split_of_dev(splits)
    if own_dev is not None:
        shared = sets[0][1]
        sets.append((_queries(splits[own_dev]), shared))
    return Counts([queries for queries, _ in sets], [passages for _, passages in sets], shared)


def _one(folder: Path, choose: Callable[[Container[str]], str | None]) -> tuple[int, int]:
    """Queries and passages of a collection, on the split that its role asks for."""
    splits = split_files(folder)
    split = choose(splits)
    if split is None:
        raise ParetrieveError(f"{folder}: no split to evaluate on")
    return _queries(splits[split]), _lines(folder / CORPUS)


def _queries(path: Path) -> int:
    """Distinct queries of judgements (TSV: query, passage, grade) with a grade above zero."""
    if path.suffix == ".gz":
        raise ParetrieveError(f"{path}: compressed")
    found = set()
    with path.open("rb") as lines:
        for line in lines:
            query, _, rest = line.partition(b"\t")
            grade = rest.rpartition(b"\t")[2].strip()
            if grade.isdigit() and int(grade) > 0:
                found.add(query)
    return len(found)


def _lines(path: Path) -> int:
    """Lines of a file, by the mean length of those within its first :data:`SAMPLE` bytes."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(SAMPLE)
    if size <= len(head):
        return sum(1 for line in head.splitlines() if line.strip())
    if b"\n" not in head:
        raise ParetrieveError(f"{path}: no line ends within {SAMPLE} bytes")
    return round(size * head.count(b"\n") / (head.rfind(b"\n") + 1))
