"""Any sentence-transformers model as an encoder of the evaluation suite."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from retrieval.errors import ConfigError
from retrieval.evaluation.ranking import FloatArray
from retrieval.evaluation.suite import Encode
from retrieval.evaluation.testset import EvaluationSet

SIMILARITIES = ("dot", "cosine")


def sentence_transformer_encoder(
    model: str | Path,
    *,
    similarity: str | None = None,
    temperature: float = 1.0,
    batch_size: int = 64,
    device: str | None = None,
) -> Encode:
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

    def encode(evaluation_set: EvaluationSet) -> tuple[FloatArray, FloatArray]:
        options = {
            "batch_size": batch_size,
            "normalize_embeddings": measure == "cosine",
            "show_progress_bar": False,
            "convert_to_numpy": True,
        }
        queries = encoder.encode_query(evaluation_set.queries(), **options).astype(np.float32)
        passages = np.empty((len(evaluation_set.passage_rows), queries.shape[1]), dtype=np.float32)
        start = 0
        for texts in evaluation_set.passage_blocks():
            passages[start : start + len(texts)] = encoder.encode_document(texts, **options)
            start += len(texts)
        return queries / np.float32(temperature), passages

    return encode


def _load(model: str | Path, device: str | None) -> Any:
    from sentence_transformers import SentenceTransformer

    if isinstance(model, Path) and not model.is_dir():
        raise ConfigError(f"{model}: no such folder; give a sentence-transformers folder or a hub id")
    try:
        return SentenceTransformer(str(model), device=device)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(f"{model}: not loadable as a sentence-transformers model: {reason}") from error
