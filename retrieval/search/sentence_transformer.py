"""Any sentence-transformers model as an encoder of the evaluation suite."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.data.testset import EvaluationSet
from retrieval.errors import ConfigError
from retrieval.search.ranking import FloatArray

SIMILARITIES = ("dot", "cosine")


class SentenceTransformerEncoder:
    """An encoder around a sentence-transformers model; see :func:`sentence_transformer_encoder`."""

    def __init__(self, model: Any, *, normalize: bool, temperature: float, batch_size: int) -> None:
        self.model = model
        self.normalize = normalize
        self._temperature = np.float32(temperature)
        self._options = {
            "batch_size": batch_size,
            "normalize_embeddings": normalize,
            "show_progress_bar": False,
            "convert_to_numpy": True,
        }

    def queries(self, evaluation_set: EvaluationSet) -> FloatArray:
        """Return float32[q, d]: the vectors of a set's queries."""
        return self.encode_queries(evaluation_set.queries())

    def passages(self, evaluation_set: EvaluationSet, span: slice) -> FloatArray:
        """Return float32[n, d]: the vectors of the candidates at the pool positions of ``span``."""
        vectors: FloatArray = np.empty((0, 0), dtype=np.float32)
        start = 0
        for texts in evaluation_set.passage_blocks(span):
            block = self.encode_passages(texts)
            if start == 0:
                vectors = np.empty((len(evaluation_set.passage_rows[span]), block.shape[1]), dtype=np.float32)
            vectors[start : start + len(block)] = block
            start += len(block)
        return vectors

    def encode_queries(self, texts: Sequence[str]) -> FloatArray:
        """Return float32[n, d]; the temperature is in the queries' vectors."""
        vectors: FloatArray = self.model.encode_query(list(texts), **self._options).astype(np.float32)
        return vectors / self._temperature

    def encode_passages(self, texts: Sequence[str]) -> FloatArray:
        """Return float32[n, d]."""
        vectors: FloatArray = self.model.encode_document(list(texts), **self._options).astype(np.float32)
        return vectors


def sentence_transformer_encoder(
    model: str | Path,
    *,
    similarity: str | None = None,
    temperature: float = 1.0,
    batch_size: int = 64,
    device: str | None = None,
) -> SentenceTransformerEncoder:
    """Return an encoder around a sentence-transformers folder or hub id.

    Queries and passages get the prompts that the model defines for them. With cosine similarity
    vectors are normalised, so that inner products are the scores.

    Args:
        model: Local folder or hub id.
        similarity: ``dot`` or ``cosine``; ``None`` takes the model's own.
        temperature: Scores are divided by it; contrastive entropy depends on it, rankings do not.
        batch_size: Texts a forward pass.
        device: A torch device; ``None`` lets sentence-transformers choose.

    Raises:
        ConfigError: The model cannot be loaded, or its scores are not inner products of its vectors.
    """
    encoder = _load(model, device)
    measure = similarity or encoder.similarity_fn_name or "cosine"
    if measure not in SIMILARITIES:
        raise ConfigError(
            f"{model}: similarity {measure!r} is no inner product; valid: {', '.join(SIMILARITIES)}"
        )
    return SentenceTransformerEncoder(
        encoder, normalize=measure == "cosine", temperature=temperature, batch_size=batch_size
    )


def check_folder(model: str | Path, option: str = "") -> None:
    """Refuse a missing folder; text that is no explicit path may be a hub id.

    Raises:
        ConfigError: there is none; the line begins with ``option``.
    """
    is_path = isinstance(model, Path) or model.startswith(("/", "./", "../"))
    if is_path and not Path(model).is_dir():
        raise ConfigError(f"{option}{model}: no such folder; give a sentence-transformers folder or a hub id")


def _load(model: str | Path, device: str | None) -> Any:
    from sentence_transformers import SentenceTransformer

    check_folder(model)
    try:
        return SentenceTransformer(str(model), device=device)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(f"{model}: not loadable as a sentence-transformers model: {reason}") from error
