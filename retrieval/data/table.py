"""Ids, line offsets and text hashes of the records of a file, as memory-mapped arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from retrieval.data import records


class Table:
    """Ids, line offsets and text hashes of the records of one file, memory-mapped."""

    def __init__(self, folder: Path, table: str) -> None:
        self._ids = np.memmap(folder / f"{table}.ids.bin", dtype=np.uint8, mode="r")
        self._id_ends = np.load(folder / f"{table}.id_ends.npy", mmap_mode="r")
        self._line_ends = np.load(folder / f"{table}.line_ends.npy", mmap_mode="r")
        self._id_order = np.load(folder / f"{table}.id_order.npy", mmap_mode="r")
        self._id_hashes = np.load(folder / f"{table}.id_hashes.npy", mmap_mode="r")
        self.hashes: NDArray[np.uint64] = np.load(folder / f"{table}.hashes.npy", mmap_mode="r")

    def __len__(self) -> int:
        return len(self.hashes)

    def ids(self, rows: ArrayLike) -> list[str]:
        """Ids at ``rows`` (int64 ``[k]``)."""
        wanted = np.asarray(rows, dtype=np.int64)
        starts, ends = self._id_ends[wanted].tolist(), self._id_ends[wanted + 1].tolist()
        return [self._ids[start:end].tobytes().decode() for start, end in zip(starts, ends, strict=True)]

    def rows(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Row of each id, −1 where unknown (int64 ``[k]``)."""
        wanted = np.array([records.hash_id(identifier) for identifier in ids], dtype=np.uint64)
        starts = np.searchsorted(self._id_hashes, wanted, side="left")
        ends = np.searchsorted(self._id_hashes, wanted, side="right")
        rows = np.full(len(ids), -1, dtype=np.int64)
        found = ends > starts
        rows[found] = self._id_order[starts[found]]
        # Among millions of ids two may share a 64-bit hash; only then are the ids themselves compared.
        for at in np.flatnonzero(ends - starts > 1).tolist():
            candidates = self._id_order[starts[at] : ends[at]]
            rows[at] = dict(zip(self.ids(candidates), candidates.tolist(), strict=True)).get(ids[at], -1)
        return rows

    def duplicate(self) -> tuple[int, int]:
        """The two rows of the duplicate id that a reader of the file meets first; (−1, −1) if none."""
        same = np.flatnonzero(self._id_hashes[1:] == self._id_hashes[:-1])
        pairs = [(int(self._id_order[at]), int(self._id_order[at + 1])) for at in same.tolist()]
        real = [(first, second) for first, second in pairs if len(set(self.ids([first, second]))) == 1]
        return min(real, key=lambda pair: pair[1], default=(-1, -1))

    def lines(self, path: Path, rows: ArrayLike) -> Iterator[tuple[bytes, int]]:
        """Bytes and number (from 1) of the lines at ``rows`` of ``path``."""
        wanted = np.asarray(rows, dtype=np.int64)
        starts, ends = self._line_ends[wanted].tolist(), self._line_ends[wanted + 1].tolist()
        with path.open("rb") as file:
            for row, start, end in zip(wanted.tolist(), starts, ends, strict=True):
                file.seek(start)
                yield file.read(end - start), row + 1
