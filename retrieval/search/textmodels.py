"""Models of text that rank or judge passages for training: encoders and cross-encoders by name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.data.collection import Collection
from retrieval.errors import ConfigError, first_line
from retrieval.run.identity import content_hash
from retrieval.search.bm25 import K1, B
from retrieval.search.bm25 import VERSION as BM25_VERSION
from retrieval.search.sentence_transformer import SentenceTransformerEncoder, sentence_transformer_encoder

BM25 = "bm25"
_TEXTS_A_BLOCK = 16_384
_PAIRS_A_BATCH = 64


def model_identity(source: str) -> str:
    """What identifies a model in a cache key: BM25's version, the content of a folder, or the hub id."""
    return f"{BM25_VERSION}, k1={K1}, b={B}" if source == BM25 else content_hash(source)


def model_folder(source: str) -> str:
    """The folder or hub id to load: of a run folder its encoder.

    Raises:
        ConfigError: ``source`` is a run that has no encoder yet.
    """
    folder = Path(source)
    if (folder / "model").is_dir():
        return str(folder / "model")
    if (folder / "status.json").is_file():
        raise ConfigError(f"{source}: this run has no model/ folder; finish the run first")
    return source


class BiEncoder:
    """An encoder and the collection it is applied to."""

    def __init__(self, collection: Collection, source: str) -> None:
        self.collection = collection
        self._encoder = load_encoder(source)

    def queries(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Vectors of the queries at ``rows``, float32 ``[n, d]``."""
        return self._encoder.encode_queries(self.collection.query_texts(rows))

    def passages(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Vectors of the passages at ``rows``, float32 ``[n, d]``."""
        return self._encoder.encode_passages(self.collection.passage_texts(rows))

    def passage_blocks(self) -> Iterator[NDArray[np.float32]]:
        """Vectors of all passages in row order, float32 ``[n, d]`` a block."""
        texts = (text for _, text in self.collection.passages())
        while block := list(islice(texts, _TEXTS_A_BLOCK)):
            yield self._encoder.encode_passages(block)


def load_encoder(source: str) -> SentenceTransformerEncoder:
    """The encoder of a run folder, a sentence-transformers folder or a hub id.

    Raises:
        ConfigError: there is none, or its scores are no inner products.
    """
    name = model_folder(source)
    # Similarity and temperature of a run are part of its vectors.
    return sentence_transformer_encoder(name, similarity="dot" if name != source else None)


def is_cross_encoder(source: str) -> bool:
    """Whether a folder or hub id holds a cross-encoder, by what its configuration files say.

    Raises:
        ConfigError: the hub cannot be reached and the model is not cached.
    """
    settings = _settings(source, "config_sentence_transformers.json")
    if "model_type" in settings:
        return bool(settings["model_type"] == "CrossEncoder")
    if settings or _settings(source, "modules.json"):
        return False
    kinds = _settings(source, "config.json").get("architectures") or []
    return any(str(kind).endswith("ForSequenceClassification") for kind in kinds)


def load_cross_encoder(source: str) -> Any:
    """The cross-encoder of a folder or hub id.

    Raises:
        ConfigError: it cannot be loaded, or gives more than one score a pair.
    """
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


def cross_scores(model: Any, pairs: list[tuple[str, str]]) -> NDArray[np.float32]:
    """Scores of (query, passage) pairs, float32 ``[n]``."""
    if not pairs:
        return np.empty(0, np.float32)
    found = model.predict(pairs, batch_size=_PAIRS_A_BATCH, show_progress_bar=False, convert_to_numpy=True)
    scores: NDArray[np.float32] = np.asarray(found, dtype=np.float32)
    return scores


def _settings(source: str, name: str) -> dict[str, Any]:
    from sentence_transformers.util import load_file_path

    try:
        path = load_file_path(source, name)
    except Exception as error:
        raise ConfigError(f"{source}: {name} cannot be read: {first_line(error)}") from error
    if path is None:
        return {}
    found = json.loads(Path(path).read_text(encoding="utf-8"))
    return found if isinstance(found, dict) else {name: found}
