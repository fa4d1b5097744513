"""A dual encoder in the evaluation suite: it reads token stores, not texts."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from retrieval.data.testset import EvaluationSet
from retrieval.data.tokens import TokenStore
from retrieval.models.encoder import DualEncoder
from retrieval.models.encoding import encode_rows
from retrieval.models.flops import Work
from retrieval.run.hardware import heap_trimmer
from retrieval.search.ranking import FloatArray

if TYPE_CHECKING:
    from retrieval.data.collection import Collection

Store = Callable[["Collection", str], TokenStore]
"""Token store of the ``queries`` or ``passages`` of a collection."""


class StoredTexts:
    """An encoder of :mod:`retrieval.evaluation.vectors`: a dual encoder and the token stores it reads."""

    def __init__(self, encoder: DualEncoder, store: Store, *, progress: bool = False) -> None:
        """``progress``: show a bar while passages are encoded."""
        self._encoder = encoder
        self._store = store
        self._progress = progress
        self._trim = heap_trimmer()
        self.work = Work()
        """What was put through the encoder so far."""

    def queries(self, evaluation_set: EvaluationSet) -> FloatArray:
        """Return float32[q, d]: the vectors of a set's queries."""
        store = self._store(evaluation_set.collection, "queries")
        return self._encode(store, evaluation_set.query_rows, None)

    def passages(self, evaluation_set: EvaluationSet, span: slice) -> FloatArray:
        """Return float32[n, d]: the vectors of the candidates at the pool positions of ``span``."""
        store = self._store(evaluation_set.collection, "passages")
        shown = f"encoding {evaluation_set.name}" if self._progress else None
        vectors = self._encode(store, evaluation_set.passage_rows[span], shown)
        if self._trim is not None:
            # Every batch has another number of tokens: bert-tiny's heap grew by 1.2 GB in 100,000 passages.
            self._trim(0)
        return vectors

    def _encode(self, store: TokenStore, rows: NDArray[np.int64], shown: str | None) -> FloatArray:
        lengths = store.lengths(rows).astype(np.float64)
        self.work += Work(float(lengths.sum()), float((lengths**2).sum()), len(rows))
        return encode_rows(self._encoder, store, rows, shown)
