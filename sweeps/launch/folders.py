"""How many texts a cell is measured on, where all of its collections are folders of this machine."""

from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from retrieval.data.index import CORPUS, split_files
from retrieval.errors import DataError

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
    """Passages of the in-domain dev set, which are those of its test set; 0 without one."""


def count_texts(config: DictConfig) -> Counts | None:
    """The texts of ``config``'s evaluation sets, by the lines of their files; nothing is prepared.

    Lines of a large corpus are counted by its first ones, which leaves an error of some per cent.
    ``None``: some collection is no folder of this machine, or compressed, and would have to be prepared.
    """
    data = config.get("data")
    if data is None or str(data.get("name")) != "local" or not data.get("path"):
        return None
    try:
        own = Path(str(data.path))
        tests = [_one(own, "test"), *(_one(Path(str(name)), "test") for name in data.get("ood") or [])]
        dev = [_one(Path(str(name)), "dev") for name in data.get("robust_dev") or []]
        splits = split_files(own)
        if {"test", "dev"} <= set(splits):
            dev.append((_queries(splits["dev"]), _lines(own / CORPUS)))
            shared = dev[-1][1]
        else:
            shared = 0
    except (OSError, DataError):
        return None
    sets = [*tests, *dev]
    return Counts([queries for queries, _ in sets], [passages for _, passages in sets], shared)


def _one(folder: Path, wanted: str) -> tuple[int, int]:
    """Queries and passages of a collection that is measured on its split ``wanted``, or on the other one."""
    splits = split_files(folder)
    other = {"test": "dev", "dev": "test"}[wanted]
    path = splits.get(wanted) or splits.get(other)
    if path is None:
        raise DataError(f"{folder}: no split to evaluate on")
    return _queries(path), _lines(folder / CORPUS)


def _queries(path: Path) -> int:
    """Distinct queries of judgements (TSV: query, passage, grade)."""
    if path.suffix == ".gz":
        raise DataError(f"{path}: compressed")
    with path.open(encoding="utf-8") as lines:
        return len({line.partition("\t")[0] for line in lines if line.strip()} - {"query-id"})


def _lines(path: Path) -> int:
    """Lines of a file, by the mean length of those within its first :data:`SAMPLE` bytes."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(SAMPLE)
    if size <= len(head):
        return sum(1 for line in head.splitlines() if line.strip())
    return round(size * head.count(b"\n") / (head.rfind(b"\n") + 1))
