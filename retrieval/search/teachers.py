"""Teachers judge how relevant mined passages are, so that false negatives can be told from true ones."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from retrieval.data.arrays import new_array
from retrieval.data.collection import Collection
from retrieval.search.bm25 import bm25_index
from retrieval.search.textmodels import BM25, BiEncoder, cross_scores, is_cross_encoder, load_cross_encoder

_ENCODED_AT_ONCE = 16_384


class Teacher(Protocol):
    """Scores passages for queries; a higher score is a more relevant passage."""

    def prepare(self, passage_rows: NDArray[np.int64]) -> None:
        """Announce all passages (ascending rows) that will be scored."""
        ...

    def scores(self, query_rows: NDArray[np.int64], passage_rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Scores of the passages ``[n, m]`` (−1: none, scored −inf) of each query: float32 ``[n, m]``."""
        ...


def load_teacher(collection: Collection, source: str, scratch: Path, cache: Path) -> Teacher:
    """The teacher that ``source`` names.

    Args:
        collection: whose queries and passages are scored.
        source: ``bm25``, a run folder, or a folder or hub id of a sentence-transformers model, which may be
            a cross-encoder.
        scratch: an existing folder for vectors while the teacher works.
        cache: where the BM25 index is kept.

    Raises:
        ConfigError: ``source`` cannot be loaded.
    """
    if source == BM25:
        return Bm25Teacher(collection, cache)
    if is_cross_encoder(source):
        return CrossEncoderTeacher(collection, source)
    return BiEncoderTeacher(collection, source, scratch)


class Bm25Teacher:
    """BM25 scores with the statistics of the whole collection."""

    def __init__(self, collection: Collection, cache: Path) -> None:
        self._collection = collection
        self._index = bm25_index(collection, cache)

    def prepare(self, passage_rows: NDArray[np.int64]) -> None:
        """Nothing to do."""

    def scores(self, query_rows: NDArray[np.int64], passage_rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """See :class:`Teacher`."""
        found = np.empty(passage_rows.shape, np.float32)
        for at, text in enumerate(self._collection.query_texts(query_rows)):
            found[at] = self._index.scores(text)[np.maximum(passage_rows[at], 0)]
        return _masked(found, passage_rows)


class CrossEncoderTeacher:
    """Scores of a cross-encoder, one forward pass a pair."""

    def __init__(self, collection: Collection, source: str) -> None:
        self._collection = collection
        self._model = load_cross_encoder(source)

    def prepare(self, passage_rows: NDArray[np.int64]) -> None:
        """Nothing to do."""

    def scores(self, query_rows: NDArray[np.int64], passage_rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """See :class:`Teacher`."""
        queries = self._collection.query_texts(query_rows)
        owners, columns = np.nonzero(passage_rows >= 0)
        wanted, places = np.unique(passage_rows[owners, columns], return_inverse=True)
        texts = self._collection.passage_texts(wanted)
        pairs = [(queries[owner], texts[place]) for owner, place in zip(owners, places, strict=True)]
        found = np.full(passage_rows.shape, -np.inf, np.float32)
        found[owners, columns] = cross_scores(self._model, pairs)
        return found


class BiEncoderTeacher:
    """Inner products of an encoder's vectors; each passage is encoded once, its vector kept on disk."""

    def __init__(self, collection: Collection, source: str, scratch: Path) -> None:
        self._model = BiEncoder(collection, source)
        self._scratch = scratch
        self._rows: NDArray[np.int64] = np.empty(0, np.int64)
        self._vectors: NDArray[np.float32] = np.empty((0, 0), np.float32)

    def prepare(self, passage_rows: NDArray[np.int64]) -> None:
        """Encode the passages into the scratch folder."""
        self._rows = passage_rows
        for start in range(0, len(passage_rows), _ENCODED_AT_ONCE):
            block = self._model.passages(passage_rows[start : start + _ENCODED_AT_ONCE])
            if start == 0:
                shape = (len(passage_rows), block.shape[1])
                self._vectors = new_array(self._scratch / "vectors.npy", np.float32, shape)
            self._vectors[start : start + len(block)] = block

    def scores(self, query_rows: NDArray[np.int64], passage_rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """See :class:`Teacher`."""
        queries = self._model.queries(query_rows)
        places = np.searchsorted(self._rows, np.maximum(passage_rows, self._rows[0]))
        found = np.empty(passage_rows.shape, np.float32)
        for at, vector in enumerate(queries):
            found[at] = self._vectors[places[at]] @ vector
        return _masked(found, passage_rows)


def _masked(scores: NDArray[np.float32], passage_rows: NDArray[np.int64]) -> NDArray[np.float32]:
    scores[passage_rows < 0] = -np.inf
    return scores
