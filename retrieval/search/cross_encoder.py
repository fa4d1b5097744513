"""Any sentence-transformers cross-encoder as a retriever: it reads query and passage together."""

from __future__ import annotations

from typing import Any

import numpy as np

from retrieval.data.arrays import FloatArray
from retrieval.data.collection import Collection
from retrieval.data.testset import IntArray
from retrieval.errors import ConfigError, first_line
from retrieval.search.retriever import TextScorer

_PAIRS_A_BATCH = 64


class CrossEncoderRetriever(TextScorer):
    """A score is a forward pass of the pair."""

    def __init__(self, collection: Collection, source: str) -> None:
        """Raise :class:`ConfigError` where the model cannot be loaded, or gives several scores a pair."""
        super().__init__(collection)
        self._model = _load(source)

    def matrix(self, queries: FloatArray, passages: FloatArray) -> FloatArray:
        """See :class:`Scores`."""
        return self.listed(queries, passages, np.tile(np.arange(len(passages)), (len(queries), 1)))

    def listed(self, queries: FloatArray, passages: FloatArray, columns: IntArray) -> FloatArray:
        """See :class:`Scores`; all pairs together."""
        query_texts = self._collection.query_texts(np.asarray(queries))
        owners, places = np.nonzero(columns >= 0)
        wanted, texts_of = np.unique(passages[columns[owners, places]], return_inverse=True)
        texts = self._collection.passage_texts(wanted)
        pairs = [(query_texts[owner], texts[place]) for owner, place in zip(owners, texts_of, strict=True)]
        found = np.full(columns.shape, -np.inf, np.float32)
        if pairs:
            options = {"batch_size": _PAIRS_A_BATCH, "show_progress_bar": False, "convert_to_numpy": True}
            found[owners, places] = self._model.predict(pairs, **options)
        return found


def _load(source: str) -> Any:
    from sentence_transformers import CrossEncoder

    try:
        model = CrossEncoder(source)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{source}: not loadable as a cross-encoder: {first_line(error)}") from error
    if model.num_labels != 1:
        raise ConfigError(
            f"{source}: a cross-encoder with {model.num_labels} labels has no single relevance score; "
            "give one that has"
        )
    return model
