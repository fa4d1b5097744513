"""A collection in BEIR folder format: validated once, indexed, then read with flat memory."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from retrieval.data import gzipped, index, records
from retrieval.data.cache import build_once
from retrieval.data.index import Table
from retrieval.data.judgements import ReadLines, relevant_pairs
from retrieval.run.files import file_hash


@dataclass(frozen=True, eq=False)
class Judgements:
    """Relevant pairs of a split, sorted by (query row, passage row); every grade is positive."""

    query_rows: NDArray[np.int64]
    """``[m]``, row in ``queries.jsonl``, counted from 0."""
    passage_rows: NDArray[np.int64]
    """``[m]``, row in ``corpus.jsonl``, counted from 0."""
    grades: NDArray[np.int32]
    """``[m]``, graded relevance, 1 or more."""
    source: str = ""
    """Hash of the file that they come from, where they stand in place of the collection's own."""

    def __len__(self) -> int:
        return len(self.query_rows)

    def take(self, indexes: ArrayLike) -> Judgements:
        """The pairs at ``indexes`` (int64[k]), in that order."""
        chosen = np.asarray(indexes, dtype=np.int64)
        rows = self.query_rows[chosen], self.passage_rows[chosen]
        return Judgements(*rows, self.grades[chosen], self.source)


class Collection:
    """Passages, queries and judgements of a folder; made by :func:`open_collection`.

    Passages and queries are rows in line order; no line is left out, so row r is line r + 1.
    A passage without title and text stays a candidate like any other (published collections hold
    some and their rankings count them); it is counted as ``passages/empty``, and a training pair
    that points to one is dropped and counted, because there is nothing to learn from.
    """

    name: str
    folder: Path
    fingerprint: str
    """SHA-256 of the content (not of the path)."""
    counts: dict[str, int]
    """``passages``, ``queries``, ``pairs/<split>``, ``queries/<split>`` and every drop."""
    splits: tuple[str, ...]
    """Names of the files under ``qrels/``: train, dev, test first."""
    drop_identical: bool
    """Whether the passage with a query's own id never counts for it; ``collection.json`` says so."""

    def __init__(
        self,
        folder: Path,
        index_folder: Path,
        name: str,
        judged: Mapping[str, Judgements] | None = None,
        counts: Mapping[str, int] | None = None,
    ) -> None:
        """``judged``: judgements of splits in place of the folder's own, ``counts``: theirs."""
        meta: dict[str, Any] = json.loads((index_folder / "meta.json").read_text(encoding="utf-8"))
        self.folder = folder
        self.name = name
        self.fingerprint = meta["fingerprint"]
        self.counts = {**meta["counts"], **(counts or {})}
        self.splits = tuple(meta["splits"])
        self.drop_identical = bool(meta.get("drop_identical", False))
        self._index = index_folder
        self._replaced = dict(judged or {}), dict(counts or {})

    def __reduce__(self) -> tuple[type[Collection], tuple[Any, ...]]:
        # A worker process maps the arrays again instead of receiving copies of them.
        return Collection, (self.folder, self._index, self.name, *self._replaced)

    def __repr__(self) -> str:
        return f"Collection({self.name!r}, {self.counts['passages']} passages, splits={self.splits})"

    def passages(self) -> Iterator[tuple[str, str]]:
        """Id and text (title and text joined by one space) of each passage, streamed."""
        return self._records(index.CORPUS, records.parse_passage)

    def queries(self) -> Iterator[tuple[str, str]]:
        """Id and text of each query, streamed."""
        return self._records(index.QUERIES, records.parse_query)

    def _records(self, name: str, parse: index.Parse) -> Iterator[tuple[str, str]]:
        path = self.folder / name
        with path.open("rb") as file:
            for line, raw in enumerate(file, start=1):
                yield parse(raw, path, line)

    def passage_texts(self, rows: ArrayLike) -> list[str]:
        """Texts of some passages (int64[k] rows), read at their place in the file."""
        path = self.folder / index.CORPUS
        return [records.parse_passage(raw, path, line)[1] for raw, line in self._passages.lines(path, rows)]

    def query_texts(self, rows: ArrayLike) -> list[str]:
        """Texts of some queries (int64[k] rows), read at their place in the file."""
        path = self.folder / index.QUERIES
        return [records.parse_query(raw, path, line)[1] for raw, line in self._queries.lines(path, rows)]

    def passage_ids(self, rows: ArrayLike) -> list[str]:
        """Ids of some passages (int64[k] rows)."""
        return self._passages.ids(rows)

    def query_ids(self, rows: ArrayLike) -> list[str]:
        """Ids of some queries (int64[k] rows)."""
        return self._queries.ids(rows)

    def passage_rows(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Row of the passage of each id, −1 where there is none (int64[k])."""
        return self._passages.rows(ids)

    def query_rows(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Row of the query of each id, −1 where there is none (int64[k])."""
        return self._queries.rows(ids)

    def id_with_space(self) -> str | None:
        """The first id of a query, or else of a passage, that holds white space; ``None`` without one."""
        return self._queries.id_with_space() or self._passages.id_with_space()

    def passage_hashes(self) -> NDArray[np.uint64]:
        """``[passages]`` hash of each text without case and white space, memory-mapped."""
        return self._passages.hashes

    def query_hashes(self) -> NDArray[np.uint64]:
        """``[queries]`` the same of queries."""
        return self._queries.hashes

    def judgements(self, split: str) -> Judgements:
        """Relevant pairs of ``split``.

        Raises:
            KeyError: the collection has no such split.
        """
        if split not in self.splits:
            raise KeyError(f"{self.name} has no split {split!r}; it has {', '.join(self.splits)}")
        if split in self._replaced[0]:
            return self._replaced[0][split]
        files = (self._index / f"qrels-{split}.{column}.npy" for column in index.COLUMNS)
        return Judgements(*(np.load(file, mmap_mode="r") for file in files))

    def judged_by(self, split: str, path: Path, read: ReadLines) -> Collection:
        """The same collection with the judgements of a file in place of those of ``split``.

        ``read``: the lines of the file.

        Raises:
            DataError: a line is malformed or names an unknown id; no pair is relevant.
        """
        nothing = np.empty(0, dtype=np.int64)
        columns, counts = relevant_pairs(path, read, self.query_rows, self.passage_rows, nothing)
        judged = {split: Judgements(*columns, file_hash(path))}
        named = {name.format(split=split): count for name, count in counts.items()}
        return Collection(self.folder, self._index, self.name, judged, named)

    @cached_property
    def _passages(self) -> Table:
        return Table(self._index, "passages")

    @cached_property
    def _queries(self) -> Table:
        return Table(self._index, "queries")


def open_collection(folder: Path, cache: Path, name: str | None = None) -> Collection:
    """Open a BEIR folder; the first time it is validated and indexed under ``cache/collections/``.

    Files packed with gzip (``corpus.jsonl.gz``, …) are unpacked under ``cache/unpacked/``.

    ``name``: how the collection is called in results; the folder's name by default.

    Raises:
        DataError: a file is missing or malformed; the message names file, line, reason and fix.
    """
    folder = Path(folder)
    fingerprint = index.fingerprint(folder, cache)
    plain = gzipped.unpacked(folder, index.files_of(folder), cache, fingerprint)
    index_folder = build_once(
        cache / "collections" / f"{fingerprint[:32]}-v{index.VERSION}",
        lambda target: index.build(plain, target, fingerprint),
        describe=f"index of {folder}",
    )
    return Collection(plain, index_folder, name or folder.resolve().name)
