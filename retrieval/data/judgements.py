"""Judgements from the lines of a qrels file: checked, sorted, each pair once, grades above zero alone."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrieval.data import records
from retrieval.errors import DataError

_A_BLOCK = 50_000

ReadLines = Callable[[Path], Iterator[tuple[int, str, str, int]]]
"""Line number, query id, passage id and grade of each line of a file."""
RowsOf = Callable[[Sequence[str]], NDArray[np.int64]]
"""Rows of ids, −1 where unknown."""


def relevant_pairs(
    path: Path, read: ReadLines, queries: RowsOf, passages: RowsOf, left_out: NDArray[np.int64]
) -> tuple[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]], dict[str, int]]:
    """Query rows, passage rows and grades of the relevant pairs of a file, sorted, and counts.

    ``left_out``: passage rows whose pairs are dropped. Names of counts have a place for the ``{split}``.

    Raises:
        DataError: a line is malformed, names something unknown or contradicts another; no pair is relevant.
    """
    numbers, query_rows, passage_rows, scores = _read(path, read, queries, passages)
    order = np.lexsort((passage_rows, query_rows))
    query_rows, passage_rows = query_rows[order], passage_rows[order]
    grades = scores[order]
    repeated = np.zeros(len(order), dtype=bool)
    repeated[1:] = (query_rows[1:] == query_rows[:-1]) & (passage_rows[1:] == passage_rows[:-1])
    for at in (np.flatnonzero(repeated[1:] & (grades[1:] != grades[:-1])) + 1).tolist():
        other = f"{grades[at - 1]} on line {numbers[order[at - 1]]}"
        records.refuse(
            path, numbers[order[at]], f"the pair has score {grades[at]} here and {other}; keep one"
        )
    irrelevant = ~repeated & (grades <= 0)
    without_text = ~repeated & (grades > 0) & np.isin(passage_rows, left_out)
    kept = ~(repeated | irrelevant | without_text)
    if not kept.any():
        raise DataError(f"{path}: no relevant pair (a score of 1 or more); remove the file or add judgements")
    return (query_rows[kept], passage_rows[kept], grades[kept]), {
        "pairs/{split}": int(kept.sum()),
        "queries/{split}": len(np.unique(query_rows[kept])),
        "dropped/{split}/repeated": int(repeated.sum()),
        "dropped/{split}/not_relevant": int(irrelevant.sum()),
        "dropped/{split}/empty_passage": int(without_text.sum()),
        "dropped/{split}/queries": len(np.unique(query_rows)) - len(np.unique(query_rows[kept])),
    }


def _read(
    path: Path, read: ReadLines, queries: RowsOf, passages: RowsOf
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
    """Line numbers, query rows, passage rows and scores of a file; ids are held a block at a time."""
    lines, blocks = read(path), []
    while block := list(islice(lines, _A_BLOCK)):
        numbers, query_ids, passage_ids, scores = zip(*block, strict=True)
        parts = (numbers, queries(query_ids), passages(passage_ids), scores)
        blocks.append([np.array(part, dtype=np.int64) for part in parts])
    columns = [np.concatenate(parts) for parts in zip(*blocks, strict=True)] or [np.empty(0, np.int64)] * 4
    for kind, file, rows in (("query", records.QUERIES, columns[1]), ("passage", records.CORPUS, columns[2])):
        _refuse_unknown(path, read, kind, file, columns[0][rows < 0])
    return columns[0], columns[1], columns[2], columns[3].astype(np.int32)


def _refuse_unknown(path: Path, read: ReadLines, kind: str, file: str, unknown: NDArray[np.int64]) -> None:
    """Refuse a file whose lines ``unknown`` name a query or passage that is not in ``file``."""
    if not len(unknown):
        return
    first = int(unknown[0])
    query, passage = next((query, passage) for line, query, passage, _ in read(path) if line == first)
    identifier = query if kind == "query" else passage
    reason = f"{kind} id {identifier!r} is not in {file}; add the {kind} or remove the judgement"
    more = f" ({len(unknown) - 1} more such lines)" if len(unknown) > 1 else ""
    records.refuse(path, first, reason + more)
