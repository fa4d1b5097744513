"""Rows of query, passage and score -> a BEIR folder, with each query and passage once.

Memory grows by about 60 bytes a row (hashes), never with the texts.
"""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.config.data import HubDataset
from retrieval.data import index, records
from retrieval.errors import ConfigError, DataError

BATCH = 1000


@dataclass(frozen=True)
class Text:
    """A query or passage of a row."""

    identifier: str | None
    """As the dataset gives it; ``None`` where the text is its own identity."""
    title: str
    text: str

    @property
    def empty(self) -> bool:
        """Whether there is nothing to encode."""
        return not self.title and not self.text

    @property
    def content(self) -> int:
        """64-bit hash of title and text."""
        return records.hash_id(f"{self.title}\0{self.text}")

    @property
    def key(self) -> int:
        """64-bit hash of what identifies it."""
        return self.content if self.identifier is None else records.hash_id(self.identifier)


@dataclass(frozen=True)
class Row:
    """One pair of a dataset."""

    query: Text
    passage: Text
    score: int


def write_collection(parts: Mapping[str, Any], settings: HubDataset, source: str, folder: Path) -> None:
    """Write the splits of a dataset as a BEIR folder; what was left out is counted in ``collection.json``.

    ``parts``: split -> ``datasets.Dataset``; ``source``: the dataset in messages; ``folder``: does not exist
    yet.

    Raises:
        ConfigError: a column is not there.
        DataError: a value has the wrong type, or an id has two texts.
    """
    _check_columns(parts, settings, source)
    queries, passages, dropped = _Register("query"), _Register("passage"), Counter[str]()
    for split, part in parts.items():
        for row in _rows(part, split, settings, source):
            if row.query.empty or row.passage.empty:
                dropped[f"{split}/empty_{'query' if row.query.empty else 'passage'}"] += 1
                continue
            queries.add(row.query)
            passages.add(row.passage)
    queries.close(source)
    passages.close(source)
    (folder / "qrels").mkdir(parents=True)
    _write(parts, settings, source, folder, queries, passages)
    about = {"dropped": dict(sorted(dropped.items()))}
    (folder / index.ABOUT).write_text(json.dumps(about), encoding="utf-8")


def _write(
    parts: Mapping[str, Any],
    settings: HubDataset,
    source: str,
    folder: Path,
    queries: _Register,
    passages: _Register,
) -> None:
    at = 0
    with (
        (folder / index.CORPUS).open("w", encoding="utf-8") as corpus,
        (folder / index.QUERIES).open("w", encoding="utf-8") as asked,
    ):
        for split, part in parts.items():
            with (folder / "qrels" / f"{split}.tsv").open("w", encoding="utf-8") as qrels:
                qrels.write("\t".join(records.QRELS_HEADER) + "\n")
                for row in _rows(part, split, settings, source):
                    if row.query.empty or row.passage.empty:
                        continue
                    query, passage = queries.name(at, row.query), passages.name(at, row.passage)
                    if queries.is_first(at):
                        _line(asked, {"_id": query, "text": row.query.text})
                    if passages.is_first(at):
                        _line(corpus, {"_id": passage, "title": row.passage.title, "text": row.passage.text})
                    qrels.write(f"{query}\t{passage}\t{row.score}\n")
                    at += 1


def _line(file: Any, record: dict[str, str]) -> None:
    file.write(json.dumps(record, ensure_ascii=False) + "\n")


class _Register:
    """Which of the texts that come one after the other are the first with their key."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._keys, self._contents = array("Q"), array("Q")
        self._first: NDArray[np.int64] = np.empty(0, dtype=np.int64)

    def add(self, text: Text) -> None:
        self._keys.append(text.key)
        self._contents.append(text.content)

    def close(self, source: str) -> None:
        """Find first occurrences; refuse an id that has two texts."""
        keys = np.frombuffer(self._keys, dtype=np.uint64)
        contents = np.frombuffer(self._contents, dtype=np.uint64)
        _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
        self._first = first[inverse].astype(np.int64)
        other = np.flatnonzero(contents != contents[self._first])
        if len(other):
            raise DataError(
                f"{source}: the {self._kind} of pair {other[0] + 1} has the id of that of pair "
                f"{self._first[other[0]] + 1} and another text; correct the ids, or name no column of ids"
            )

    def is_first(self, at: int) -> bool:
        return bool(self._first[at] == at)

    def name(self, at: int, text: Text) -> str:
        """The id that the text of position ``at`` goes by."""
        return text.identifier if text.identifier is not None else f"{self._kind[0]}{self._first[at]}"


def _check_columns(parts: Mapping[str, Any], settings: HubDataset, source: str) -> None:
    for split, part in parts.items():
        for role, column in _columns(settings).items():
            if column not in part.column_names:
                raise ConfigError(
                    f"{source}: split {split} has no column {column!r} ({role}); its columns are "
                    f"{', '.join(part.column_names)}"
                )


def _columns(settings: HubDataset) -> dict[str, str]:
    roles = ("query", "passage", "title", "query_id", "passage_id", "score")
    return {role: getattr(settings, role) for role in roles if getattr(settings, role)}


def _rows(part: Any, split: str, settings: HubDataset, source: str) -> Iterator[Row]:
    columns = _columns(settings)
    number = 0
    for batch in part.select_columns(list(dict.fromkeys(columns.values()))).iter(BATCH):
        for values in zip(*(batch[column] for column in columns.values()), strict=True):
            number += 1
            yield from _pairs(dict(zip(columns, values, strict=True)), f"{source}: {split} row {number}")


def _pairs(row: dict[str, Any], place: str) -> Iterator[Row]:
    """The pairs of a row: one for each passage of a list; title, id and score may be lists as well."""
    query = Text(_identifier(row.get("query_id")), "", _string(row["query"], "query", place))
    several = isinstance(row["passage"], list)
    count = len(row["passage"]) if several else 1
    parts = {role: _spread(row.get(role), role, count, several, place) for role in _PER_PASSAGE}
    for text, title, identifier, score in zip(*parts.values(), strict=True):
        heading, body = _string(title, "title", place), _string(text, "passage", place)
        yield Row(query, Text(_identifier(identifier), heading, body), _score(score, place))


_PER_PASSAGE = ("passage", "title", "passage_id", "score")


def _spread(value: Any, role: str, count: int, several: bool, place: str) -> list[Any]:
    if not isinstance(value, list):
        return [value] * count
    if not several or len(value) != count:
        raise DataError(f"{place}: {role} is a list of {len(value)}, and there are {count} passages")
    return value


def _identifier(value: Any) -> str | None:
    return None if value is None else str(value)


def _string(value: Any, role: str, place: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise DataError(f"{place}: {role} is a {type(value).__name__}; it must be text")
    return value.strip()


def _score(value: Any, place: str) -> int:
    if value is None:
        return 1
    if isinstance(value, int | float) and float(value).is_integer():
        return int(value)
    raise DataError(f"{place}: score {value!r} is no whole number; relevant passages have 1 or more")
